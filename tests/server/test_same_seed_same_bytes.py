"""The same request gives the same bytes: alone, again, and in batches with requests of other step counts."""

from __future__ import annotations

import base64
import random
from pathlib import Path

from .conftest import Start, eventually

TARGETS = [
    f"/generate?seed={seed}&steps={steps}&n={n}&format={format}" + (f"&label={label}" if label else "")
    for seed, (steps, n, format, label) in enumerate(
        [
            (1, 1, "png", "cat"),
            (2, 1, "png", "dog"),
            (4, 1, "npy", None),
            (1, 3, "npy", None),
            (4, 2, "jpeg", "none"),
            (2, 5, "webp", "owl"),
        ]
        * 5
    )
]


def test_same_seed_same_bytes(start: Start, images: Path) -> None:
    # An evaluation that costs much however few its rows are: ticks are filled, whatever else this machine does.
    slow = {"TEST_ENGINE": "real", "TEST_TICK_SECONDS": "0.01"}
    server = start(images, "--max-rows", "5", "--cache-bytes", "0", held=True, **slow)
    server.open_gate()
    alone = {target: server.client.post(target).content for target in TARGETS}
    assert len(set(alone.values())) == len(TARGETS)
    apart = server.metric("longjump_tick_rows_count")
    server.gate.unlink()
    mixed = random.Random(1).sample(TARGETS, len(TARGETS))
    answers = {target: server.send(target) for target in mixed}
    eventually(
        lambda: server.metric("longjump_waiting") + server.metric("longjump_running") == len(TARGETS), "all accepted"
    )
    server.open_gate()
    for target, answer in answers.items():
        assert answer.result().content == alone[target], target
    together = server.metric("longjump_tick_rows_count") - apart
    assert together < apart / 1.5, "the batches were not mixed, so this has shown nothing"


def test_image_of_many_is_the_image_of_its_seed(start: Start, images: Path) -> None:
    server = start(images, fake=False)
    many = server.client.post("/generate?seed=40&n=3&steps=2", headers={"accept": "application/json"}).json()
    for i, image in enumerate(many["images"]):
        one = server.client.post(f"/generate?seed={40 + i}&steps=2")
        assert base64.b64decode(image["base64"]) == one.content
        assert str(image["label"]) == one.headers["longjump-label"]
        assert image["label_name"] == one.headers["longjump-label-name"]


def test_what_came_back_can_be_asked_for_again(start: Start, images: Path) -> None:
    server = start(images, fake=False)
    first = server.client.post("/generate")
    assert first.status_code == 200
    fields = {name: first.headers[f"longjump-{name}"] for name in ("seed", "label", "steps", "guidance")}
    assert int(fields["seed"]) < 2**32
    again = server.client.post("/generate", params=fields)
    assert again.content == first.content
    assert again.headers["longjump-fingerprint"] == first.headers["longjump-fingerprint"]
    other = server.client.post("/generate", params={**fields, "seed": str(int(fields["seed"]) + 1)})
    assert other.content != first.content
    drawn = {server.client.post("/generate").headers["longjump-seed"] for _ in range(3)}
    assert len(drawn) == 3
