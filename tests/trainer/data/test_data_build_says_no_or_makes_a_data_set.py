"""`longjump data build NAME --out PATH` makes a data set that opens, or one clear error and nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainer.data import build
from trainer.data.dataset import Dataset, open_dataset

Command = Callable[[str], int]

IMAGES = np.zeros((4, 8, 8, 1), np.uint8)


def built(command: Command, line: str) -> Dataset:
    assert command(f"build {line} --out made") == 0
    return open_dataset("made")


def test_facets(data_command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    found = built(data_command, "facets --size 64 --train 16 --test 0 --workers 1")
    assert (found.name, found.kind, found.shape, found.test) == ("facets", "image", (64, 64, 3), None)
    assert (len(found.classes), found.classes[11]) == (16, "planets")
    printed = capsys.readouterr().out
    assert "made: facets, image 64x64x3, 16 train, 16 classes" in printed
    for digest in found.info["sha256"].values():
        assert digest in printed


@pytest.mark.parametrize(
    ("line", "classes", "shape"),
    [
        ("", 0, (1,)),
        ("--mean=-1,2,3 --std 0.5", 0, (3,)),
        ("--kind mixture", 2, (1,)),
        (
            "--kind mixture --mean=-1,2 --mean 1,2 --mean 0,0 --std 0.1 --weight 1 --weight 1 --weight 2",
            3,
            (2,),
        ),
        ("--kind eight-gaussians --std 0.1", 8, (2,)),
        ("--kind eight-gaussians --unlabelled", 0, (2,)),
        ("--kind checkerboard --seed 3", 0, (2,)),
        ("--kind two-moons", 2, (2,)),
    ],
)
def test_points(line: str, classes: int, shape: tuple[int, ...], data_command: Command) -> None:
    found = built(data_command, f"points {line} --train 200 --test 50")
    assert (found.kind, len(found.classes), found.shape) == ("points", classes, shape)
    assert found.test is not None
    assert (len(found.train.x), len(found.test.x)) == (200, 50)
    assert found.info["generator"]["kind"] == found.name


def test_your_own_points_and_images(data_command: Command) -> None:
    x = np.array([[1.0], [2.0]])
    np.savez("mine.npz", x=x)
    found = built(data_command, "points --from mine.npz --licence MIT")
    assert (found.name, found.info["licence"]) == ("mine", "MIT")
    np.testing.assert_array_equal(found.train.x, x)

    np.savez("train.npz", images=IMAGES, labels=[0, 1, 0, 1])
    np.savez("test.npz", images=IMAGES[:1], labels=[1])
    assert data_command("build npz --from train.npz --test-from test.npz --classes cat,dog --out pets") == 0
    pets = open_dataset("pets")
    assert (pets.classes, pets.shape, pets.info["licence"]) == (["cat", "dog"], (8, 8, 1), "unknown")
    assert pets.test is not None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("facets --train 3", "--train is 3"),
        ("points --train 0", "--train is 0"),
        ("points --test -1", "--test is -1"),
        ("points --seed -1", "--seed is -1"),
        ("points --weight 1", "--weight does not apply to gaussian"),
        ("points --mean 1 --mean 2", "gaussian has one --mean, got 2; use --kind mixture"),
        ("points --kind mixture --mean 1", "mixture needs --mean per component and --std"),
        ("points --kind two-moons --std 1 --std 2", "two-moons has one --std, got 2"),
        ("points --kind checkerboard --std 1", "--std does not apply to checkerboard"),
        ("points --classes a,b", "--classes does not apply to generated points"),
        ("points --from images.npz --kind gaussian", "--kind does not apply to --from"),
        ("points --from images.npz", "images.npz holds images; use `longjump data build npz`"),
        ("npz --from absent.npz", "absent.npz does not exist"),
        ("npz --from images.npz --classes a", "images.npz: labels[1] is 1; there are 1 classes"),
        ("npz --from images.npz --classes a,b,c", "1 of 3 classes have no sample: 2 (c)"),
        ("npz --from images.npz --classes a,,", "--classes: class 1 is named ''"),
        ("npz --from images.npz --test-from points.npz", "points.npz holds points data of shape [1]"),
        ("npz --from images.npz --test-from bare.npz", "images.npz and bare.npz has labels"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_made(line: str, message: str, data_command: Command) -> None:
    np.savez("images.npz", images=IMAGES, labels=[0, 1, 0, 1])
    np.savez("bare.npz", images=IMAGES)
    np.savez("points.npz", x=[[0.5]])
    before = sorted(Path().iterdir())
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        data_command(f"build {line} --out deep/made")
    assert sorted(Path().iterdir()) == before


def test_an_existing_folder_is_refused_before_the_work(data_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("made").mkdir()
    monkeypatch.setattr("trainer.data.facets.build", lambda *_: pytest.fail("the work has begun"))
    with pytest.raises(FileExistsError, match="made exists already"):
        data_command("build facets --out made")


def test_help_names_every_source(data_command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        data_command("build --help")
    printed = capsys.readouterr().out
    assert all(name in printed for name in build.SOURCES)


def test_help_does_not_wait_for_heavy_libraries() -> None:
    code = (
        "import argparse, sys; from trainer.data import build\n"
        "build.add_arguments(argparse.ArgumentParser())\n"
        "print({'torch', 'scipy', 'dicebear', 'resvg_py', 'PIL', 'tqdm'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
