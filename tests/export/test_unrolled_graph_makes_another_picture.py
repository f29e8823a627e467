"""All steps and the decoder in one graph make the pictures of the loop, byte for byte, or there is no such graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import export.unroll as unroll_module
import longjump
from export.assemble import extend
from export.runtime.bundle import Bundle, open_bundle
from export.runtime.grids import Grid, Step, renoise_grid
from export.unroll import unroll

Made = Callable[[Bundle], bytes]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., bytes]:
    """What `longjump generate` writes, of five samples."""

    def run(bundle: Bundle, steps: int, *more: str) -> bytes:
        file = tmp_path / "made.npy"
        command = ["generate", str(bundle.path), "-o", str(file), "--seed", "5", "-n", "5", "--steps", str(steps)]
        assert longjump.main([*command, *more]) == 0
        return file.read_bytes()

    return run


@pytest.mark.parametrize("name", ["exported_image", "exported_guided", "exported_points"])
def test_it_is_the_loop(
    name: str,
    made: Callable[..., bytes],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = extend(request.getfixturevalue(name), tmp_path / "out", unroll=(1, 4))
    graphs = [file for file in bundle.manifest.files if file.startswith("generate_")]
    assert graphs == ["generate_1.onnx", "generate_4.onnx"]
    more = ("--guidance", "2.5") if name == "exported_guided" else ()
    for steps in (1, 4):
        assert made(bundle, steps, "--unrolled", *more) == made(bundle, steps, *more)
        first, second = capsys.readouterr().out.splitlines()
        assert first == second, "one fingerprint, for the bytes are the same"
    assert made(bundle, 4, "--unrolled") != made(bundle, 1, "--unrolled")


def test_new_noise_is_that_of_the_loop(make_bundle: Callable, made: Callable[..., bytes], tmp_path: Path) -> None:
    """Steps that only scale, that add noise, and that do neither."""
    grids = {
        "1": renoise_grid([1.0]),
        "3": renoise_grid([1.0, 0.7, 0.2]),
        "4": [Step(1.0, 0.5), *_gamma(0.5, 0.2), Step(0.2, 0.1), Step(0.1, 0.0)],
    }
    toy = make_bundle(grids=grids, steps=[1, 3, 4])
    bundle = extend(toy, tmp_path / "out", unroll=(3, 4))
    graph = onnx.load_from_string(bundle.read("generate_4.onnx")).graph
    noise = next(value for value in graph.input if value.name == "noise")
    assert noise.type.tensor_type.shape.dim[1].dim_value == 1
    for steps in (3, 4):
        assert made(bundle, steps, "--unrolled") == made(bundle, steps)


def _gamma(t: float, r: float) -> Grid:
    """A step from t to r, half of whose noise is new."""
    new = 0.5 * r
    level = (r**2 - new**2) ** 0.5
    s = level / (1 - r + level)
    return (Step(t, s, (1 - r) / (1 - s), new),)


def test_the_weights_are_there_once(exported_image: Bundle, tmp_path: Path) -> None:
    bundle = extend(exported_image, tmp_path / "out", unroll=(4,))
    weights = {
        file: sum(len(tensor.raw_data) for tensor in onnx.load_from_string(bundle.read(file)).graph.initializer)
        for file in ("jump.fp32.onnx", "generate_4.onnx")
    }
    assert weights["generate_4.onnx"] < 1.1 * weights["jump.fp32.onnx"]


def test_a_wrong_one_is_not_written(exported_image: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def backwards(jump: bytes, decode: bytes | None, grid: Grid, z_shape: tuple[int, ...]) -> bytes:
        return unroll(jump, decode, grid[::-1], z_shape)

    monkeypatch.setattr(unroll_module, "unroll", backwards)
    with pytest.raises(ValueError, match="--unroll 2: in batches of 1 its samples are not the loop's"):
        extend(exported_image, tmp_path / "out", unroll=(2,))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("export", ("--unroll", "3"), "steps=3 is not supported; toy supports 1, 2, 4"),
        ("export", ("--unroll", "two"), "--unroll 'two' is not a list of step counts"),
        ("generate", ("--unrolled",), "toy has no graph of 1 steps in one; longjump export --unroll adds them"),
        ("generate", ("--unrolled", "--precision", "fp32"), "leave --engine and --precision out"),
    ],
)
def test_a_wrong_wish_says_what_is_right(
    make_bundle: Callable,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    out = str(tmp_path / "out.png") if command == "generate" else str(tmp_path / "out")
    assert longjump.main([command, str(make_bundle().path), "--out", out, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path(out).exists()


def test_it_is_named_where_it_is_missing(make_bundle: Callable, tmp_path: Path) -> None:
    bundle = extend(make_bundle(), tmp_path / "out", unroll=(2,))
    assert "generate_2.onnx" in open_bundle(bundle.path).manifest.files
