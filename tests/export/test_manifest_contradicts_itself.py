"""A manifest whose fields do not fit together is refused when it is written, with the field's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.runtime.bundle import Bundle, open_bundle
from export.runtime.grids import Step
from export.runtime.manifest import MANIFEST_FILE, Guidance, Manifest, canonical_digest, write_manifest

MakeBundle = Callable[..., Bundle]

MEASURED = {
    "samples": 1,
    "jump": {"rows": 1, "max": 0.1, "rms": 0.01},
    "ends": {"1": {"max": 2, "rms": 0.5, "differing": 0.1}},
    "emulated": False,
    "forced": False,
}

ENGINE = {
    "backend": "onnxruntime",
    "file": "jump.fp32.onnx",
    "precision": "fp32",
    "target": "any",
    "builder": "test",
    "state": "built",
}


def nested(depth: int) -> Any:
    """So many lists inside each other."""
    return [nested(depth - 1)] if depth > 1 else []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a b"}, "name 'a b' must be plain"),
        ({"kind": "video"}, "kind: .*(got 'video')"),
        ({"null_label": 2}, "null_label must be 3"),
        ({"labels": ["a", "a", "b"]}, "distinct"),
        ({"labels": ["a", "none", "b"]}, "'none' is reserved"),
        ({"labels": ["a", "b\n", "c"]}, "printable"),
        ({"span": "all"}, "span"),
        ({"span": "endpoint"}, "the grid for 2 steps: step 1 of 2"),
        ({"steps": [1, 2]}, "steps must be the rising list"),
        ({"steps": [2, 1, 4]}, "steps must be the rising list"),
        ({"grids": {"1": [Step(1, 0)], "2": [Step(1, 0)]}, "steps": [1, 2]}, "the grid for 2 steps has 1"),
        ({"z_shape": [3, 0, 4]}, "z_shape"),
        ({"z_shape": [3, 16]}, "z_shape"),
        ({"image_shape": None}, "needs image_shape"),
        ({"image_shape": [4, 4, 1]}, "image_shape"),
        ({"precisions": ["fp32", "fp16"]}, "batch_invariant must name exactly"),
        ({"precisions": ["fp16"], "batch_invariant": {"fp16": True}}, "must contain fp32"),
        (
            {"precisions": ["fp32", "fp16"], "batch_invariant": {"fp32": True, "fp16": False}},
            "files must list jump.fp16",
        ),
        ({"accuracy": {"fp16": MEASURED}}, "accuracy must be of precisions of the bundle"),
        ({"accuracy": {"fp32": MEASURED}}, "accuracy must be of precisions of the bundle other than fp32"),
        ({"guidance": {"min": 2, "max": 1, "default": 1}}, "min <= default <= max"),
        ({"guidance": {"min": 1, "max": float("inf"), "default": 1}}, "guidance.max"),
        ({"guidance": {"min": -1, "max": 4, "default": 1}}, "guidance.min"),
        ({"guidance": {"min": 0, "max": 1e308, "default": 1}}, "guidance.max"),
        ({"engines": [{**ENGINE, "batch": [5, 2]}]}, "batch needs least <= most, got 5, 2"),
        ({"t_max": 1.5}, "t_max"),
        ({"quality": {"1": {"fid": float("nan")}}}, "must be plain JSON"),
        ({"provenance": {"made": object()}}, "must be plain JSON"),
        ({"typo": 1}, "typo"),
    ],
)
def test_it_is_refused(make_bundle: MakeBundle, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make_bundle(**changes)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def manifest(make_bundle: MakeBundle) -> Manifest:
    return make_bundle(guidance={"min": 1, "max": 4, "default": 1.5}).manifest


def test_labels_are_found(manifest: Manifest) -> None:
    assert [manifest.find_label(label) for label in ("ash", "cedar", "1", 1, "none")] == [0, 2, 1, 1, 3]
    assert [manifest.label_name(index) for index in range(4)] == ["ash", "birch", "cedar", "none"]


@pytest.mark.parametrize("label", ["oak", "3", 3, -1, "-1", "", "Ash", "9" * 5000, "\u0661", "\uff11"])
def test_an_unknown_label_lists_those_that_exist(manifest: Manifest, label: str | int) -> None:
    with pytest.raises(ValueError, match=r"unknown label .*ash, birch, cedar \(0 to 2\) or none") as caught:
        manifest.find_label(label)
    assert len(str(caught.value)) < 200


def test_a_name_wins_over_an_index(make_bundle: MakeBundle) -> None:
    digits = make_bundle("digits", labels=["2", "1", "0"]).manifest
    assert [digits.find_label(label) for label in ("2", "0", 2)] == [0, 2, 2]


def test_unsupported_steps_list_those_that_are(manifest: Manifest) -> None:
    assert manifest.grid(2) == (Step(1.0, 0.5), Step(0.5, 0.0))
    assert manifest.default_steps == 1
    with pytest.raises(ValueError, match="steps=3 is not supported; toy supports 1, 2, 4"):
        manifest.grid(3)


def test_guidance_out_of_range_is_named(manifest: Manifest) -> None:
    assert manifest.check_guidance(None) == 1.5
    assert manifest.check_guidance(4) == 4.0
    for scale in (0.5, 4.0000001, float("nan")):
        with pytest.raises(ValueError, match=f"guidance={scale!r} is outside 1 to 4"):
            manifest.check_guidance(scale)


def test_guidance_without_the_input_is_never_ignored(make_bundle: MakeBundle) -> None:
    plain = make_bundle().manifest
    assert plain.check_guidance(1.0) is None
    with pytest.raises(ValueError, match="has no guidance input"):
        plain.check_guidance(2.0)


def test_rows_per_step_is_one_or_two() -> None:
    with pytest.raises(ValueError, match="rows_per_step"):
        Guidance(min=1, max=2, default=1, rows_per_step=3)  # type: ignore[arg-type]


def test_a_bundle_of_an_older_format_is_read(make_bundle: MakeBundle) -> None:
    """Format 1 had no `accuracy`."""
    bundle = make_bundle()
    fields = json.loads(write_manifest(bundle.manifest))
    del fields["accuracy"]
    fields["format"] = 1
    fields["digest"] = canonical_digest(fields)
    (bundle.path / MANIFEST_FILE).write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n")
    read = open_bundle(bundle.path).manifest
    assert (read.format, read.accuracy, read.steps) == (1, {}, bundle.manifest.steps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quality": {"steps": {"1": {"fd_enetlite0": 10**400}}}}, r"holds a whole number beyond 1.8e\+308"),
        ({"provenance": {"deep": nested(100)}}, "is nested more than 64 deep"),
        ({"provenance": {"deep": nested(800)}}, "is nested more than 64 deep"),
    ],
)
def test_what_others_cannot_read_has_a_right_digest(
    make_bundle: MakeBundle, changes: dict[str, Any], message: str
) -> None:
    """`steps=auto` and `inspect --json` failed on them, long after the bundle was taken for a good one."""
    bundle = make_bundle()
    fields = {**json.loads(write_manifest(bundle.manifest)), **changes}
    fields["digest"] = canonical_digest(fields)
    (bundle.path / MANIFEST_FILE).write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n")
    with pytest.raises(ValueError, match=message) as caught:
        open_bundle(bundle.path)
    assert str(caught.value).startswith(str(bundle.path / MANIFEST_FILE))
    make_bundle("fine", quality={"1": {"fd": 1e308}}, provenance={"deep": nested(60)})
