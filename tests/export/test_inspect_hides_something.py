"""`longjump inspect` shows every fact of the manifest, and shows nothing of a bundle that is altered."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import longjump
from export.runtime.grids import renoise_grid


def test_every_fact_is_shown(make_bundle: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(
        span="endpoint",
        t_max=0.98,
        grids={"1": renoise_grid([1.0]), "2": renoise_grid([1.0, 0.6])},
        steps=[1, 2],
        guidance={"min": 1, "max": 4, "default": 1.5, "rows_per_step": 2},
        quality={"1": {"fid": 7.5}},
        provenance={"data": {"name": "leaves", "sizes": [1, 2]}},
        batch_invariant={"fp32": False},
    )
    assert longjump.main(["inspect", str(bundle.path)]) == 0
    shown = capsys.readouterr().out
    for fact in (
        bundle.manifest.digest,
        "3 files",
        "all as in the manifest",
        "jump.fp32.onnx",
        "3 x 4 x 4",
        "4 x 4 x 3",
        "3: ash, birch, cedar",
        "1 to 4, 1.5 by default, 2 row(s) a step",
        "endpoint, t up to 0.98",
        "1, 2 (1 by default); new noise between the steps of 2",
        "1 -> 0 (x 0.4, + 0.6 noise), 0.6 -> 0",
        "onnxruntime, fp32, target any, batch 1 and more: built",
        "bits vary with the batch",
        "1: fid 7.5",
        "CC0-1.0",
        "data.name = leaves",
        "data.sizes = [1, 2]",
    ):
        assert fact in shown, fact


def test_teacher_is_hidden(make_bundle: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    """Its method and what it was trained on; a foreign bundle may hold anything there."""
    lent = {"method": "flow-matching", "step": 2000, "weights": "0.050", "sha256": "ab" * 32}
    lent["data"] = {"name": "leaves", "licence": "CC-BY-4.0"}
    bundle = make_bundle("taught", provenance={"origin": {"teacher": lent}})
    assert longjump.main(["inspect", str(bundle.path)]) == 0
    shown = capsys.readouterr().out
    assert "\nteacher     flow-matching, step 2000, weights 0.050; data leaves, licence CC-BY-4.0\n" in shown
    assert "no new noise between them" in shown
    for number, origin in enumerate(("home", {"teacher": 3}, {"teacher": {"data": 1}})):
        bundle = make_bundle(f"odd{number}", provenance={"origin": origin})
        assert longjump.main(["inspect", str(bundle.path)]) == 0


def test_bundle_speaks_to_the_terminal(make_bundle: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    """What moves the cursor could cover a licence with another."""
    spoken = {
        "licence": "CC0\x1b[2K",
        "method": "toy\rlicence     MIT",
        "provenance": {"a\nb": "\u202e\x9b", "é": "日本"},
    }
    bundle = make_bundle(**spoken)
    assert longjump.main(["inspect", str(bundle.path)]) == 0
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.split("\n"))
    for text in (r"CC0\x1b[2K", r"toy\rlicence     MIT", r"a\nb = \u202e\x9b", "é = 日本"):
        assert text in shown
    assert longjump.main(["inspect", str(bundle.path), "--json"]) == 0
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.split("\n"))
    assert json.loads(shown)["provenance"] == spoken["provenance"]


def test_json_is_the_manifest(make_bundle: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle("points", z_shape=(2,))
    assert longjump.main(["inspect", str(bundle.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((bundle.path / "manifest.json").read_bytes())


def test_an_altered_bundle_is_not_shown(make_bundle: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle()
    (bundle.path / "README.md").write_bytes(b"# A tox\n")
    assert longjump.main(["inspect", str(bundle.path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "README.md does not match the SHA-256" in printed.err
