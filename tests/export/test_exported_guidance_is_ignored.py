"""A checkpoint that takes a guidance scale becomes a graph that takes it, row by row, over the range it learned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import longjump
from export.check import BATCHES, TOLERANCE, Rows, check_jump_signature, graph_jump, parity, trial_rows
from export.runtime.bundle import Bundle
from export.runtime.engines import open_engine
from export.runtime.engines.session import open_session
from export.runtime.grids import flow_grid
from export.runtime.manifest import Guidance
from export.runtime.sampler import Jump, sample
from models.checkpoint import load_checkpoint
from models.numpy_jump import numpy_jump

RANGE = Guidance(min=0.5, max=4, default=1.5)
SHAPE = (3, 8, 8)


def test_manifest_says_another_range(exported_guided: Bundle, exported_image: Bundle) -> None:
    manifest = exported_guided.manifest
    assert manifest.guidance == RANGE
    assert manifest.guidance.rows_per_step == 1
    assert manifest.batch_invariant == {"fp32": True}
    assert manifest.provenance["parity"]["max_abs_error"] < 1e-5
    assert exported_image.manifest.guidance is None


def test_graph_lacks_the_input(exported_guided: Bundle, exported_image: Bundle) -> None:
    guided, plain = (
        open_session(bundle.read("jump.fp32.onnx"), "it", 1) for bundle in (exported_guided, exported_image)
    )
    check_jump_signature(guided, "it", SHAPE, guidance=True)
    check_jump_signature(plain, "it", SHAPE, guidance=False)
    with pytest.raises(ValueError, match="has an input guidance"):
        check_jump_signature(guided, "it", SHAPE, guidance=False)
    with pytest.raises(ValueError, match="it must have z, t, s, label, guidance"):
        check_jump_signature(plain, "it", SHAPE, guidance=True)


def test_manifest_and_graph_differ_in_the_input(exported_guided: Bundle, exported_image: Bundle) -> None:
    """ONNX Runtime said at the first request what it lacked, and not of which file."""
    for bundle, told in ((exported_guided, None), (exported_image, RANGE)):
        lies = replace(bundle, manifest=bundle.manifest.model_copy(update={"guidance": told}))
        with pytest.raises(ValueError, match="by the manifest a jump of ") as caught:
            open_engine(lies, 1)
        assert str(caught.value).startswith(f"{bundle.path / 'jump.fp32.onnx'} has the inputs ")


def test_samples_are_those_of_the_checkpoint(checkpoints: dict[str, Path], exported_guided: Bundle) -> None:
    """Several scales in a batch, and several steps."""
    flow_map, config = load_checkpoint(checkpoints["guided"])
    engine = open_engine(exported_guided, 1)
    scales = [0.5, 1.0, 1.5, 2.2, 3.0, 4.0]
    for steps in (1, 2, 4):
        args = (config.shape, flow_grid(steps), range(6), [0, 1, 2, 0, 1, 2])
        ours, theirs = sample(engine.jump, *args, scales), sample(numpy_jump(flow_map), *args, scales)
        assert np.abs(ours - theirs).max() < TOLERANCE
        assert np.abs(ours - sample(engine.jump, *args, 1.0)).max() > 1e-3


def test_trial_leaves_scales_out() -> None:
    """The range's ends, its default and what lies between, with every label."""
    seen: set[tuple[str, int]] = set()
    for first in range(5):
        rows = trial_rows(max(BATCHES), (2,), 2, "any", guidance=RANGE, first=first)
        assert rows.guidance is not None
        assert rows.guidance.min() >= 0.5
        assert rows.guidance.max() <= 4
        seen |= {("low" if w < 2 else "high", k) for w, k in zip(rows.guidance, rows.label.tolist(), strict=True)}
    assert len(seen) == 2 * 3
    sixteen = trial_rows(16, (2,), 2, "any", guidance=RANGE).guidance
    assert sixteen is not None
    assert sixteen[:3].tolist() == [1.5, 0.5, 4.0]
    assert len(np.unique(sixteen)) == 16


def spoilt(jump: Jump, how: str) -> Jump:
    def wrong(z, t, s, label, guidance):  # type: ignore[no-untyped-def]
        scale = {
            "ignored": np.full_like(guidance, 1.5),
            "the first row's for all": np.full_like(guidance, guidance[0]),
            "not above 3": np.minimum(guidance, 3),
            "not below 1": np.maximum(guidance, 1),
        }[how]
        return jump(z, t, s, label, scale)

    return wrong


@pytest.mark.parametrize("how", ["ignored", "the first row's for all", "not above 3", "not below 1"])
def test_a_mistake_is_found(checkpoints: dict[str, Path], how: str) -> None:
    flow_map, _ = load_checkpoint(checkpoints["guided"])
    jump = numpy_jump(flow_map)
    assert parity(jump, jump, SHAPE, 2, "any", guidance=RANGE) == 0.0
    with pytest.raises(ValueError, match="differs from the checkpoint by "):
        parity(jump, spoilt(jump, how), SHAPE, 2, "any", guidance=RANGE)


def test_network_and_scale_do_not_match(checkpoints: dict[str, Path]) -> None:
    guided, plain = (numpy_jump(load_checkpoint(checkpoints[name])[0]) for name in ("guided", "image"))
    rows = trial_rows(2, SHAPE, 2, "any", guidance=RANGE)
    with pytest.raises(ValueError, match="this network has no guidance input"):
        rows.through(plain)
    with pytest.raises(ValueError, match="this network takes a guidance scale"):
        Rows(rows.z, rows.t, rows.s, rows.label, None).through(guided)


def test_session_runs_without_the_scale(exported_guided: Bundle) -> None:
    jump = graph_jump(open_session(exported_guided.read("jump.fp32.onnx"), "it", 1))
    rows = trial_rows(1, SHAPE, 2, "any")
    with pytest.raises(Exception, match="guidance"):
        rows.through(jump)


def test_commands_ignore_the_scale(exported_guided: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(exported_guided.path)
    assert longjump.main(["inspect", bundle]) == 0
    assert "guidance    0.5 to 4, 1.5 by default, 1 row(s) a step" in capsys.readouterr().out
    made = {}
    for scale in ("1", "1.5", "3", "1.000000059604645", None):
        out = tmp_path / f"{scale}.npy"
        chosen = [] if scale is None else ["--guidance", scale]
        assert longjump.main(["generate", bundle, "--seed", "3", "--label", "ash", *chosen, "-o", str(out)]) == 0
        assert f" guidance={scale or '1.5'} " in capsys.readouterr().out
        made[scale] = out.read_bytes()
    assert made[None] == made["1.5"]
    assert len({made["1"], made["1.5"], made["3"]}) == 3
    for scale in ("0.4", "5", "4.0000001"):
        assert longjump.main(["generate", bundle, "--guidance", scale, "-o", str(tmp_path / "x.png")]) == 2
        assert f"guidance={scale} is outside 0.5 to 4, the range of guided" in capsys.readouterr().err
    assert longjump.main(["inspect", bundle, "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["guidance"]
    assert written == {"min": 0.5, "max": 4.0, "default": 1.5, "rows_per_step": 1}
