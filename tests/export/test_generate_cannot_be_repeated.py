"""`longjump generate`: what it prints is enough to get the same file again."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import longjump
from export.runtime.bundle import Bundle
from export.runtime.engines import open_engine
from export.runtime.grids import flow_grid
from export.runtime.images import tile
from export.runtime.noise import draw_label
from export.runtime.sampler import sample

Run = Callable[..., tuple[bytes, dict[str, str]]]


@pytest.fixture
def generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; gives the file's bytes and what was printed as a mapping."""

    def run(bundle: Bundle, file: str, *arguments: str) -> tuple[bytes, dict[str, str]]:
        path = tmp_path / file
        command = ["generate", str(bundle.path), "-o", str(path), "--threads", "1", *arguments]
        assert longjump.main(command) == 0, capsys.readouterr().err
        printed = capsys.readouterr().out
        return path.read_bytes(), dict(re.findall(r"(\w+)=(\S+)", printed))

    return run


def test_a_png_is_made_and_made_again(generate: Run, exported_image: Bundle) -> None:
    arguments = ("--label", "birch", "--seed", "7", "--steps", "2")
    first, used = generate(exported_image, "a.png", *arguments)
    assert (used["seed"], used["label"], used["steps"], used["n"]) == ("7", "birch", "2", "1")
    assert generate(exported_image, "b.png", *arguments)[0] == first
    assert generate(exported_image, "c.png", "--label", "1", "--seed", "7", "--steps", "2")[0] == first
    for other in (("--seed", "8"), ("--steps", "1"), ("--label", "none")):
        assert generate(exported_image, "d.png", *arguments, *other)[0] != first
    with Image.open(io.BytesIO(first)) as image:
        assert (image.format, image.size) == ("PNG", (8, 8))


def test_what_was_left_out_is_printed(generate: Run, exported_image: Bundle) -> None:
    first, used = generate(exported_image, "a.png")
    assert used["label"] == exported_image.manifest.labels[draw_label(int(used["seed"]), 2)]
    assert used["steps"] == "1"
    assert generate(exported_image, "b.png", "--seed", used["seed"])[0] == first
    assert generate(exported_image, "c.png", "--seed", used["seed"], "--label", used["label"])[0] == first
    assert generate(exported_image, "d.png")[1]["seed"] != used["seed"]


def test_many_are_those_of_the_following_seeds(generate: Run, exported_image: Bundle) -> None:
    many, used = generate(exported_image, "a.npy", "--seed", "40", "-n", "5")
    stack = np.load(io.BytesIO(many))
    assert (stack.shape, stack.dtype, used["n"]) == ((5, 8, 8, 3), np.uint8, "5")
    for i in range(5):
        one = np.load(io.BytesIO(generate(exported_image, "b.npy", "--seed", str(40 + i))[0]))
        assert np.array_equal(one, stack[i])
    with Image.open(io.BytesIO(generate(exported_image, "c.png", "--seed", "40", "-n", "5")[0])) as grid:
        assert np.array_equal(np.asarray(grid), tile(stack))


def test_it_is_the_runtime_and_nothing_else(generate: Run, exported_image: Bundle) -> None:
    engine = open_engine(exported_image, 2)
    expected = engine.decode(sample(engine.jump, (3, 8, 8), flow_grid(4), [3], [0]))[0]
    data, used = generate(exported_image, "a.npy", "--seed", "3", "--label", "ash", "--steps", "4")
    assert np.array_equal(np.load(io.BytesIO(data)), expected)
    assert used["fingerprint"] == engine.fingerprint


@pytest.mark.parametrize(
    ("file", "arguments", "found"),
    [
        ("a.jpg", (), "JPEG"),
        ("a.jpeg", (), "JPEG"),
        ("a.WEBP", (), "WEBP"),
        ("a", ("--format", "png"), "PNG"),
        ("a.png", ("--format", "jpeg"), "JPEG"),
    ],
)
def test_the_ending_or_the_option_is_the_format(
    generate: Run, exported_image: Bundle, file: str, arguments: tuple[str, ...], found: str
) -> None:
    with Image.open(io.BytesIO(generate(exported_image, file, *arguments)[0])) as image:
        assert image.format == found


def test_points_are_numbers(generate: Run, exported_points: Bundle) -> None:
    array = np.load(io.BytesIO(generate(exported_points, "a.npy", "--seed", "3", "-n", "4")[0]))
    assert (array.shape, array.dtype) == ((4, 2), np.float32)
    text = json.loads(generate(exported_points, "a.json", "--seed", "3", "-n", "4")[0])
    assert np.array_equal(np.array(text["points"], dtype=np.float32), array)
    assert (text["seed"], text["labels"], text["steps"]) == (3, ["none"] * 4, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label", "oak"), "unknown label 'oak'; labels are ash, birch (0 to 1) or none"),
        (("--steps", "3"), "steps=3 is not supported; image supports 1, 2, 4"),
        (("--seed", "-1"), "seed -1 is outside 0 to 2**63 - 1"),
        (("--seed", str(2**63 - 1), "-n", "2"), "is outside 0 to 2**63 - 1"),
        (("--guidance", "2"), "has no guidance input"),
        (("-n", "0"), "-n must be at least 1, not 0"),
        (("--threads", "0"), "threads must be at least 1, not 0"),
        (("--format", "json"), "image makes image: format json must be one of png, jpeg, webp, npy"),
    ],
)
def test_a_wrong_wish_says_what_is_right(
    exported_image: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    command = ["generate", str(exported_image.path), "-o", str(tmp_path / "a.png"), *arguments]
    assert longjump.main(command) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_ending_without_a_format_is_named(
    exported_image: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert longjump.main(["generate", str(exported_image.path), "-o", str(tmp_path / "a.gif")]) == 2
    assert "a.gif: the ending names no format" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(
    exported_image: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert longjump.main(["generate", str(exported_image.path), "-o", str(tmp_path / "no" / "a.png")]) == 2
    assert f"{tmp_path}/no is not a folder, so a.png cannot be written" in capsys.readouterr().err
    assert longjump.main(["generate", str(exported_image.path), "-o", str(tmp_path), "--format", "png"]) == 2
    assert f"{tmp_path} is a folder; give the file to write" in capsys.readouterr().err


def test_it_runs_without_torch(exported_image: Bundle, make_bundle: Callable, tmp_path: Path) -> None:
    """generate, inspect and bundle, in a process where importing torch is an error."""
    graph = make_bundle("toy").path / "jump.fp32.onnx"
    commands = [
        ["generate", str(exported_image.path), "-o", str(tmp_path / "a.png"), "-n", "2"],
        ["inspect", str(exported_image.path)],
        ["bundle", str(graph), "--image", "3x4x4", "--span", "any", "--out", str(tmp_path / "wrapped")],
    ]
    code = f"import sys; sys.modules['torch'] = None; import longjump; sys.exit(max(map(longjump.main, {commands!r})))"
    root = Path(longjump.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "all as in the manifest" in done.stdout
