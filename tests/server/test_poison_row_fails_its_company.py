"""A request that makes the engine raise fails alone: those that shared its ticks are answered, with their bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Start

TARGETS = [f"/generate?seed={seed}&steps={steps}&label=cat" for seed in range(4) for steps in (1, 4)]
POISON = ["/generate?seed=9&label=dog&steps=4", "/generate?seed=9&label=dog&n=3"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_poison_row_fails_its_company(start: Start, images: Path, workers: str) -> None:
    calm = start(images)
    expected = {target: calm.client.post(target).content for target in TARGETS}
    server = start(images, "--cpu-workers", workers, held=True, TEST_POISON="1")
    answers = {target: server.send(target) for target in (*TARGETS[:4], *POISON, *TARGETS[4:])}
    server.wait_for("longjump_running", len(answers))
    server.open_gate()
    for target in POISON:
        answer = answers[target].result()
        assert answer.status_code == 500
        assert "label 1 is poison" in answer.json()["detail"]
    for target in TARGETS:
        assert answers[target].result().content == expected[target]
    assert server.metric("longjump_worker_restarts_total") == 0
