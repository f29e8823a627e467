"""A checkpoint and the bundle of it are the same model: the same seeds give figures within the sampling error."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.runtime.bundle import Bundle, open_bundle
from export.runtime.manifest import Guidance
from loadtest.sweep.findings import quality
from server.schedule.admission import auto_choices
from trainer.evaluate.command import refuse_unwritable
from trainer.evaluate.generator import _hash

from .conftest import Small

Evaluate = Callable[..., tuple[int, str]]


def measured(evaluate: Evaluate, model: Path, small: Small, out: Path, *more: Any) -> dict[str, Any]:
    code, said = evaluate(model, "--data", small.data, "--steps", "1,2", "--samples", 32, "--out", out, *more)
    assert code == 0, said
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_checkpoint_and_bundle_measure_differently(evaluate: Evaluate, small: Small, tmp_path: Path) -> None:
    checkpoint = measured(evaluate, small.checkpoint, small, tmp_path / "checkpoint.json")
    bundle = measured(evaluate, small.bundle, small, tmp_path / "bundle.json", "--threads", 1)
    other = measured(evaluate, small.bundle, small, tmp_path / "other.json", "--threads", 1, "--seed", 5)
    error = abs(other["steps"]["1"]["fd_enetlite0"] - bundle["steps"]["1"]["fd_enetlite0"])
    assert error > 0, "control: other seeds are other samples"
    for steps in ("1", "2"):
        one, two = checkpoint["steps"][steps], bundle["steps"][steps]
        assert set(one) == set(two)
        assert one["fd_enetlite0"] == pytest.approx(two["fd_enetlite0"], abs=error)
        assert one["precision"] == pytest.approx(two["precision"], abs=2 / 32)
    assert checkpoint["floor"] == bundle["floor"]
    for found in (checkpoint, bundle):
        assert found["settings"]["training"] == {"pictures": 40, "trained_on": True}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"sha256": "own", "pictures": {"size": 32, "rule": "crop"}}, "own"),
        ({"sha256": "latents", "pictures": {"sha256": "pictures"}}, "pictures"),
        ({"sha256": {"dataset": "old"}}, "old"),
        ({"pictures": {"size": 32}}, None),
        (None, None),
    ],
    ids=["a person's own pictures", "latents", "parts apart", "without", "none"],
)
def test_data_of_training_is_taken_for_other_data(data: object, found: str | None) -> None:
    """`longjump data build folder` says under `pictures` how they were cut; of latents it is the data they are of."""
    assert _hash(data) == found


def test_results_do_not_reach_those_who_choose_by_them(evaluate: Evaluate, small: Small, tmp_path: Path) -> None:
    """In the manifest of a new bundle: steps=auto ranks by it, the load tester reads it, a card tells people."""
    out, graded = tmp_path / "results.json", tmp_path / "graded"
    found = measured(evaluate, small.bundle, small, out, "--threads", 1, "--write", graded)
    before, bundle = open_bundle(small.bundle), open_bundle(graded)
    assert before.manifest.quality == {}, "the bundle that was measured is as it was"
    distances = {int(steps): line["fd_enetlite0"] for steps, line in found["steps"].items()}
    assert [quality(bundle.manifest.quality, steps) for steps in (1, 2)] == [
        ("fd_enetlite0", distances[steps]) for steps in (1, 2)
    ]
    assert auto_choices(bundle.manifest) == sorted(distances, key=lambda steps: distances[steps])
    reverse = {"steps": {str(steps): {"fd_enetlite0": -value} for steps, value in distances.items()}}
    control = bundle.manifest.model_copy(update={"quality": reverse})
    assert auto_choices(control) == auto_choices(bundle.manifest)[::-1]
    told = bundle.manifest.quality
    assert told["settings"]["samples"] == 32
    assert told["settings"]["engine"] == "onnxruntime-cpu"
    assert told["floor"] == found["floor"]
    assert "not FID" in told["note"]
    card = bundle.read("README.md").decode()
    assert card.startswith(before.read("README.md").decode().rstrip())
    assert "## Evaluation" in card
    assert {"evaluation.json", "neighbours.png"} <= set(bundle.manifest.files)
    code, said = evaluate(small.bundle, "--data", small.data, "--samples", 32, "--write", graded)
    assert code == 2
    assert "exists" in said


@pytest.mark.parametrize("guidance", [None, 1.67, 3.0])
def test_figures_of_another_scale_reach_those_who_choose(small: Small, tmp_path: Path, guidance: float | None) -> None:
    """steps=auto serves the scale of the bundle, and is to go by figures of that."""
    bundle = open_bundle(small.bundle)
    manifest = bundle.manifest.model_copy(update={"guidance": Guidance(min=1, max=3, default=1.67)})
    args = argparse.Namespace(write=tmp_path / "graded", guidance=guidance)
    if guidance == 3:
        with pytest.raises(ValueError, match=r"--write with --guidance 3\.0: .* its own scale, 1\.67"):
            refuse_unwritable(args, Bundle(bundle.path, manifest))
    else:
        refuse_unwritable(args, Bundle(bundle.path, manifest))


def test_card_has_the_figures_twice(evaluate: Evaluate, small: Small, tmp_path: Path) -> None:
    before = (small.checkpoint / "README.md").read_text()
    for samples in (16, 24):
        code, said = evaluate(small.checkpoint, "--data", small.data, "--steps", 1, "--samples", samples)
        assert code == 0, said
    card = (small.checkpoint / "README.md").read_text()
    assert card.count("## Evaluation") == 1
    assert "24 samples" in card
    assert "16 samples" not in card
    assert before.partition("## Evaluation")[0].rstrip() in card
    for word in ("not FID", "8x8", "24 pictures of the test split", "real", "neighbours.png", "copies at 1"):
        assert word in card
    found = json.loads((small.checkpoint / "evaluation.json").read_text())
    assert found["floor"]["samples"] == 24
    assert found["settings"]["data"]["sha256"] in (small.data / "data.json").read_text()
    assert (small.checkpoint / "neighbours.png").read_bytes().startswith(b"\x89PNG")
