"""`longjump export --evaluate`: a precision whose pictures are worse than fp32's is refused unless forced, and the
figures of both go into the manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import longjump
from export.assemble import extend
from export.precision.accuracy import BOUNDS, Bound
from export.precision.emulate import emulate
from export.precision.quality import FALLS, Evaluation
from export.runtime.bundle import Bundle, open_bundle
from trainer.data.arrays import Split
from trainer.data.folder import Built, write_dataset

FIGURES = {"fd_enetlite0": 200.0, "kid_enetlite0": -0.001, "recall": 0.5, "class_accuracy": 0.9}
BOUND = FALLS["int8"]


class Judge:
    """An evaluator that knows its figures before."""

    def __init__(self, **worse: dict[str, float]) -> None:
        self.worse = worse
        self.seen: list[tuple[str, bytes]] = []
        self.folder = Path()

    def __call__(self, folder: Path, precision: str) -> dict[str, Any]:
        self.folder = folder
        self.seen.append((precision, open_bundle(folder).read(f"jump.{precision}.onnx")))
        figures = {**FIGURES, "copying": {"nearer": 0.5}, "worst_class": "ash", **self.worse.get(precision, {})}
        steps = {"1": {**FIGURES, "copying": {}}, "2": figures}
        return {"settings": {"samples": 512, "seeds": [1, 512]}, "made": {"date": "2026-11-29"}, "steps": steps}


def test_the_figures_of_both_are_kept_and_shown(
    exported_image: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = Judge(int8={"fd_enetlite0": 203.0, "class_accuracy": 0.895})
    made = extend(exported_image, tmp_path / "out", precisions=["int8"], force_precision=True, judge=judge)
    quality = open_bundle(made.path).manifest.accuracy["int8"].quality
    assert quality is not None
    assert quality.settings == {"samples": 512, "seeds": [1, 512], "made": {"date": "2026-11-29"}}
    assert quality.steps == {
        "1": {name: (value, value) for name, value in FIGURES.items()},
        "2": {name: (value, value) for name, value in FIGURES.items()}
        | {"fd_enetlite0": (200.0, 203.0), "class_accuracy": (0.9, 0.895)},
    }
    assert longjump.main(["inspect", str(made.path)]) == 0
    shown = capsys.readouterr().out
    assert "fp32 -> it, steps 2: fd_enetlite0 200 -> 203, kid_enetlite0 -0.001 -> -0.001" in shown
    assert "class_accuracy 0.9 -> 0.895, over 512 samples" in shown


@pytest.fixture
def trained(exported_image: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """Random weights, whose int8 error is let pass here."""
    monkeypatch.setitem(BOUNDS, "int8", Bound(jump=1e9, image=1e9))
    return exported_image


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        ({"fd_enetlite0": 200 * (1 + BOUND.distance) + 0.1}, "fd_enetlite0 rises from 200 to 210"),
        ({"class_accuracy": 0.9 - BOUND.right_class - 0.001}, "class_accuracy falls from 90.0% to 88.9%"),
        ({"fd_enetlite0": 200 * (1 + BOUND.distance) - 0.1}, None),
        ({"class_accuracy": 0.9 - BOUND.right_class + 0.001}, None),
        ({"fd_enetlite0": 100.0, "class_accuracy": 0.99, "recall": 0.1}, None),
    ],
)
def test_worse_ones_are_refused_unless_forced(
    trained: Bundle, tmp_path: Path, worse: dict[str, float], said: str | None
) -> None:
    judge = Judge(int8=worse)
    if said is None:
        assert not extend(trained, tmp_path / "out", precisions=["int8"], judge=judge).manifest.accuracy["int8"].forced
        return
    with pytest.raises(ValueError, match=f"int8 is left out and nothing written: at steps 2 {said}") as refused:
        extend(trained, tmp_path / "out", precisions=["int8"], judge=judge)
    assert "--force-precision takes it" in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    forced = extend(trained, tmp_path / "out", precisions=["int8"], force_precision=True, judge=judge)
    assert forced.manifest.accuracy["int8"].forced


def test_fp16_is_judged_as_a_gpu_would_compute_it(exported_image: Bundle, tmp_path: Path) -> None:
    """The CPU's own fp16 leaves roundings out; what goes into the bundle is the graph itself."""
    judge = Judge()
    made = extend(exported_image, tmp_path / "out", precisions=["fp16"], judge=judge)
    half = made.read("jump.fp16.onnx")
    assert judge.seen == [("fp32", exported_image.read("jump.fp32.onnx")), ("fp16", emulate(half))]
    assert emulate(half) != half
    assert not judge.folder.exists(), "what was judged is thrown away"


def test_engines_and_precisions_of_before_do_not_disturb(exported_image: Bundle, tmp_path: Path) -> None:
    first = extend(exported_image, tmp_path / "out", precisions=["fp16"], unroll=[1])
    judge = Judge()
    both = extend(first, tmp_path / "out", precisions=["int8"], force_precision=True, judge=judge, replace=True)
    assert [precision for precision, _ in judge.seen] == ["fp32", "int8"]
    assert both.manifest.precisions == ["fp32", "fp16", "int8"]
    assert {name: found.quality is None for name, found in both.manifest.accuracy.items()} == {
        "fp16": True,
        "int8": False,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of two classes in 8x8, 24 training and 20 test pictures."""
    folder = tmp_path_factory.mktemp("evaluated") / "trees"
    rng = np.random.default_rng(3)
    splits = {
        name: Split(rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8), np.arange(count) % 2)
        for name, count in {"train": 24, "test": 20}.items()
    }
    write_dataset(folder, Built("trees", "image", ["ash", "birch"], splits, {"licence": "CC0-1.0"}))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_figures_are_those_of_longjump_eval(
    exported_image: Bundle, data: Path, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(exported_image.path), "--out", str(tmp_path / "out"), "--precision", "fp16"]
    words += ["--evaluate", str(data), "--evaluate-samples", "16", "--evaluate-steps", "1", "--force-precision"]
    assert longjump.main(words) == 0
    shown = capfd.readouterr()
    assert "fp16: fp32 -> it, steps 1: fd_enetlite0" in shown.out
    assert "fp32: 1 step: drawing" in shown.err
    assert "fp16: 1 step: drawing" in shown.err
    out = tmp_path / "evaluation.json"
    words = ["eval", str(exported_image.path), "--data", str(data), "--samples", "16", "--steps", "1"]
    assert longjump.main([*words, "--precision", "fp32", "--out", str(out)]) == 0
    expected = json.loads(out.read_bytes())
    quality = open_bundle(tmp_path / "out").manifest.accuracy["fp16"].quality
    assert quality is not None
    kept = {name: exact for name, (exact, _) in quality.steps["1"].items()}
    assert kept == {name: expected["steps"]["1"][name] for name in kept}
    assert {"fd_enetlite0", "class_accuracy", "recall"} <= set(kept)
    assert quality.settings["data"] == expected["settings"]["data"]
    assert quality.steps["1"]["fd_enetlite0"][0] != quality.steps["1"]["fd_enetlite0"][1]


def test_what_the_evaluator_refuses_is_said_in_its_words(
    exported_image: Bundle, data: Path, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=f"--evaluate {data}: --samples must be at least 16, not 3"):
        extend(exported_image, tmp_path / "out", precisions=["fp16"], judge=Evaluation(data, 3))
    assert not (tmp_path / "out").exists()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--precision", "fp16", "--evaluate", "nowhere"], "--evaluate nowhere: there is no such data set"),
        (["--evaluate", "."], "--evaluate compares further precisions with fp32: give --precision fp16, int8 or both"),
        (["--precision", "fp32", "--evaluate", "."], "give --precision fp16, int8 or both"),
        (["--precision", "fp16", "--evaluate-samples", "9"], "--evaluate-samples is about --evaluate DATA"),
        (["--precision", "fp16", "--evaluate-steps", "1"], "--evaluate-steps is about --evaluate DATA"),
    ],
)
def test_a_wish_without_sense_is_refused_before_any_work(
    make_bundle: Callable[..., Bundle],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    bundle = make_bundle()
    assert longjump.main(["export", str(bundle.path), "--out", str(tmp_path / "out"), *flags]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_points_are_no_pictures(exported_points: Bundle, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--evaluate is about pictures, and points makes points"):
        extend(exported_points, tmp_path / "out", precisions=["fp16"], judge=Evaluation(data))
