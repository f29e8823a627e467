"""longjump_client.py and jobs: what is submitted is found again, waited for, and cancelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from longjump_client import Client, ServerError

from .conftest import Start, eventually


def test_job_is_submitted_waited_for_and_fetched(start: Start, images: Path) -> None:
    server = start(images)
    with Client(str(server.client.base_url)) as client:
        job = client.submit(seed=7, steps=4, label="dog")
        ended = client.wait(job)
        assert (ended["id"], ended["state"]) == (job, "done")
        image = client.result(job)
        assert image.data == client.generate(seed=7, steps=4, label="dog").data
        assert (image.seed, image.steps, image.label_name) == (7, 4, "dog")
        assert client.result(client.wait(client.submit(3, seed=7))["id"]).label.count(",") == 2  # type: ignore[union-attr]
        client.cancel(job)
        with pytest.raises(ServerError) as refused:
            client.job(job)
        assert refused.value.status == 404


def test_job_is_cancelled_while_somebody_waits(start: Start, images: Path) -> None:
    held = start(images, held=True)
    with Client(str(held.client.base_url)) as client:
        job = client.submit(seed=7)
        eventually(lambda: held.accepted() == 1, "it runs")
        with pytest.raises(ServerError) as refused:
            client.result(job)
        assert refused.value.status == 409
        client.cancel(job)
        assert client.wait(job)["state"] == "cancelled"
