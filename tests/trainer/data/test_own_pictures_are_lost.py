"""Folders and shards of pictures: each picture arrives once, in order, with its label, or is named."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data import pictures
from trainer.data.class_folders import find_pictures, set_aside
from trainer.data.dataset import open_dataset
from trainer.data.webdataset import expand_braces

Command = Callable[[str], int]


def png(value: int) -> bytes:
    """A flat picture by whose grey level it is known again."""
    buffer = io.BytesIO()
    Image.new("RGB", (9, 6), (value,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def lay(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


PHOTOS = {
    "cat/b.png": png(2), "cat/a.PNG": png(1), "cat/old/c.png": png(3), "dog/z.png": png(4),
    "cat/notes.txt": b"...", "dog/.hidden.png": b"", ".git/x.png": b"", "readme.md": b"",
}  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    lay(tmp_path / "photos", PHOTOS)
    return tmp_path / "photos"


def values(x: np.ndarray) -> list[int]:
    """The grey levels of flat pictures."""
    assert (x == x[:, :1, :1, :1]).all()
    return [int(image[0, 0, 0]) for image in x]


@pytest.mark.usefixtures("photos")
def test_a_picture_or_its_class_is_lost(data_command: Command) -> None:
    assert data_command("build folder --from photos --size 4 --out made --licence CC0-1.0") == 0
    found = open_dataset("made")
    assert (found.name, found.classes, found.shape) == ("photos", ["cat", "dog"], (4, 4, 3))
    assert values(found.train.x) == [1, 2, 3, 4]
    assert found.train.labels is not None
    assert found.train.labels.tolist() == [0, 0, 0, 1]
    assert (found.info["licence"], found.info["corrupt"]) == ("CC0-1.0", {"train": 0})
    assert data_command("build folder --from photos/cat/old --size 2 --grey --out loose --name flat") == 0
    loose = open_dataset("loose")
    assert (loose.name, loose.classes, loose.train.labels, loose.shape) == ("flat", [], None, (2, 2, 1))


def test_order_depends_on_the_workers(tmp_path: Path, data_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "CHUNK", 3)
    lay(tmp_path / "many", {f"{'ab'[i % 2]}/{i:03}.png": png(i) for i in range(40)})
    for workers in (1, 2):
        data_command(f"build folder --from many --size 2 --workers {workers} --out made{workers}")
    one, two = open_dataset("made1"), open_dataset("made2")
    assert one.sha256 == two.sha256
    assert values(one.train.x) == [*range(0, 40, 2), *range(1, 40, 2)]


def test_test_pictures_are_trained_on(tmp_path: Path, data_command: Command) -> None:
    lay(tmp_path / "many", {f"{'ab'[i % 2]}/{i:03}.png": png(i) for i in range(40)})
    data_command("build folder --from many --size 2 --test-share 0.25 --out made")
    found = open_dataset("made")
    assert found.test is not None
    assert found.test.labels is not None
    assert np.bincount(found.test.labels).tolist() == [5, 5]
    assert sorted(values(found.train.x) + values(found.test.x)) == list(range(40))
    # The same ones wherever the folder lies; and after more pictures came, mostly still the same.
    classes, all_pictures = find_pictures(tmp_path / "many")
    _, chosen = set_aside(all_pictures, tmp_path / "many", 0.25)
    (tmp_path / "many").rename(tmp_path / "moved")
    _, again = set_aside(find_pictures(tmp_path / "moved")[1], tmp_path / "moved", 0.25)
    assert [Path(p.where).name for p in chosen] == [Path(p.where).name for p in again]
    assert classes == ["a", "b"]


@pytest.mark.usefixtures("photos")
def test_another_folder_of_test_pictures(tmp_path: Path, data_command: Command) -> None:
    lay(tmp_path / "held", {"cat/q.png": png(9), "dog/r.png": png(8)})
    data_command("build folder --from photos --test-from held --size 2 --out made")
    found = open_dataset("made")
    assert found.test is not None
    assert values(found.test.x) == [9, 8]


FAULTS: dict[str, tuple[dict[str, bytes], str, str]] = {
    "nothing there": ({}, "--from nowhere", "nowhere does not exist"),
    "a file": ({}, "--from photos/readme.md", "photos/readme.md is a file"),
    "class without pictures": ({"photos/bird/notes.txt": b""}, "", "class folder photos/bird has no pictures (.jpg"),
    "loose and in classes": ({"photos/x.png": png(0)}, "", "photos has pictures beside its class folders: x.png"),
    "empty": ({"empty/readme.md": b""}, "--from empty", "empty has no pictures"),
    "other test classes": (
        {"held/cat/q.png": png(0), "held/cow/q.png": png(0)},
        "--test-from held",
        "held has other classes than photos: no dog; also cow",
    ),
    "class called none": ({"photos/none/q.png": png(0)}, "", "is named 'none'"),
    "share of all": ({}, "--test-share 0.9", "--test-share 0.9 leaves nothing to train on of the 3 pictures"),
    "share of nothing": ({}, "--test-share 0.01", "--test-share 0.01 is less than one picture of every class"),
    "share of more": ({}, "--test-share 1.5", "--test-share is 1.5"),
    "size": ({}, "--size 0", "--size is 0"),
    "workers": ({}, "--workers 0", "--workers is 0"),
    "damaged": ({"photos/cat/bad.png": b"no"}, "", "photos/cat/bad.png: not a readable picture (unknown format); mend"),
    "cut short": ({"photos/cat/cut.png": png(0)[:-30]}, "", "photos/cat/cut.png: not a readable picture ("),
    "empty file": ({"photos/dog/void.png": b""}, "", "photos/dog/void.png: not a readable picture"),
    "all damaged": ({"bad/x.png": b"no"}, "--from bad --on-corrupt skip", "no picture is left: all 1 are damaged"),
    "class all damaged": (
        {"photos/eel/x.png": b"no"},
        "--on-corrupt skip",
        "train pictures: 1 of 3 classes have no sample: 2 (eel)",
    ),
}


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_folder_is_not_named(fault: str, tmp_path: Path, data_command: Command) -> None:
    files, options, message = FAULTS[fault]
    lay(tmp_path, files)
    before = sorted(tmp_path.iterdir())
    with pytest.raises((ValueError, OSError), match=re.escape(message)) as raised:
        data_command(f"build folder --from photos --size 2 --out deep/made {options}")
    assert "\n" not in str(raised.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_damaged_pictures_are_not_listed(
    workers: int,
    tmp_path: Path,
    data_command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One picture in a thousand, so to speak: counted, listed, and the others keep their labels."""
    monkeypatch.setattr(pictures, "CHUNK", 4)
    files = {f"{'ab'[i % 2]}/{i:03}.png": png(i) for i in range(20)}
    files |= {"a/004.png": b"\x89PNG\r\n", "b/011.png": files["b/011.png"][:40]}
    lay(tmp_path / "many", files)
    data_command(f"build folder --from many --size 2 --on-corrupt skip --workers {workers} --out made")
    assert "2 corrupt pictures left out of train; data.json names what and why" in capsys.readouterr().out
    found = open_dataset("made")
    assert found.train.labels is not None
    good = [i for i in (*range(0, 20, 2), *range(1, 20, 2)) if i not in (4, 11)]
    assert values(found.train.x) == good
    assert found.train.labels.tolist() == [i % 2 for i in good]
    said = json.loads(Path("made/data.json").read_text())
    assert said["corrupt"] == {"train": 2}
    assert [line.partition(":")[0] for line in said["corrupt_pictures"]] == ["many/a/004.png", "many/b/011.png"]
    assert "corrupt_pictures" not in found.info, "names of files have no business in a checkpoint"


def shard(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def numbered(first: int, last: int) -> list[tuple[str, bytes]]:
    return [
        pair
        for i in range(first, last)
        for pair in ((f"s/{i:03}.png", png(i)), (f"s/{i:03}.cls", b"%d\n" % (i % 3)), (f"s/{i:03}.txt", b"a caption"))
    ]


@pytest.mark.parametrize("given", ["sh/t-{0..2}.tar", "sh/t-0.tar sh/t-{1,2}.tar", "sh"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_sample_of_a_shard_is_lost(
    given: str, workers: int, tmp_path: Path, data_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "CHUNK", 4)
    for place in range(3):
        shard(tmp_path / "sh" / f"t-{place}.tar", numbered(10 * place, 10 * place + 10))
    shard(tmp_path / "held.tar.gz", numbered(40, 43))
    data_command(f"build webdataset --from {given} --test-from held.tar.gz --size 2 --workers {workers} --out made")
    found = open_dataset("made")
    assert (found.name, found.classes) == ("sh", ["0", "1", "2"])
    assert found.train.labels is not None
    assert values(found.train.x) == list(range(30))
    assert found.train.labels.tolist() == [i % 3 for i in range(30)]
    assert found.test is not None
    assert values(found.test.x) == [40, 41, 42]


@pytest.mark.parametrize(
    ("labels", "options", "classes", "expected"),
    [
        (['"cow"', '"ant"', '"cow"'], "", ["ant", "cow"], [1, 0, 1]),
        (['{"label": "cow"}', '{"label": "ant", "x": 1}', '{"label": "bee"}'], "", ["ant", "bee", "cow"], [2, 0, 1]),
        (['{"kind": 1}', '{"kind": 0}', '{"kind": 1}'], "--label-key kind", ["0", "1"], [1, 0, 1]),
        (["1", "0", "1"], "--classes off,on", ["off", "on"], [1, 0, 1]),
        ([None, None, None], "", [], None),
    ],
)
def test_labels_of_shards_are_taken_for_others(
    labels: list[str | None], options: str, classes: list[str], expected: list[int] | None,
    tmp_path: Path, data_command: Command,
) -> None:  # fmt: skip
    members = []
    for place, label in enumerate(labels):
        members += [(f"{place}.png", png(place))] + ([] if label is None else [(f"{place}.json", label.encode())])
    shard(tmp_path / "a.tar", members)
    data_command(f"build webdataset --from a.tar --size 2 --out made {options}")
    found = open_dataset("made")
    assert found.classes == classes
    assert (None if found.train.labels is None else found.train.labels.tolist()) == expected


SHARD_FAULTS: dict[str, tuple[list[tuple[str, bytes]], str, str]] = {
    "missing": ([("0.png", png(0))], "--from b-{00..03}.tar", "shard b-00.tar does not exist"),
    "open brace": ([("0.png", png(0))], "--from b-{00..03.tar", "braces must be closed"),
    "bad range": ([("0.png", png(0))], "--from b-{x..y}.tar", "{x..y} is not a range of numbers"),
    "no picture": ([("k/0.cls", b"0"), ("k/0.txt", b"")], "", "k/0 has no picture (jpg, jpeg, png, webp), only cls"),
    "damaged": (
        [("0.png", png(0)), ("0.cls", b"0"), ("k/1.jpg", b"no"), ("k/1.cls", b"1")],
        "",
        "a.tar: k/1.jpg: not a readable picture (unknown format); mend or remove it",
    ),
    "label no number": ([("0.png", png(0)), ("0.cls", b"cat")], "", "a.tar: 0: its .cls holds 'cat'"),
    "label missing": (
        [("0.png", png(0)), ("0.cls", b"0"), ("1.png", png(0))],
        "",
        "a.tar: 1: the label is none, but that of a.tar: 0 is an integer",
    ),
    "name and number": (
        [("0.png", png(0)), ("0.json", b'"cat"'), ("1.png", png(0)), ("1.json", b"1")],
        "",
        "a.tar: 1: the label is an integer, but that of a.tar: 0 is a name",
    ),
    "label a list": ([("0.png", png(0)), ("0.json", b"[1]")], "", "the label in its .json is [1]"),
    "label true": ([("0.png", png(0)), ("0.json", b"true")], "", "the label in its .json is True"),
    "bad json": ([("0.png", png(0)), ("0.json", b"{")], "", "a.tar: 0: its .json is not JSON"),
    "negative": ([("0.png", png(0)), ("0.json", b"-1")], "", "a.tar: 0: the label is -1"),
    "gap": ([("0.png", png(0)), ("0.cls", b"2")], "", "the largest label is 2, but there are only 1 samples"),
    "twice": ([("0.png", png(0)), ("0.png", png(1))], "", "a.tar: 0.png is there twice"),
    "names with classes": ([("0.png", png(0)), ("0.json", b'"a"')], "--classes b", "--classes does not apply"),
    "nothing to name": ([("0.png", png(0))], "--classes b", "--classes does not apply to shards without labels"),
    "empty": ([], "", "there is no sample in a.tar"),
}  # fmt: skip


@pytest.mark.parametrize("fault", SHARD_FAULTS)
def test_a_fault_of_a_shard_is_not_named(fault: str, tmp_path: Path, data_command: Command) -> None:
    members, options, message = SHARD_FAULTS[fault]
    shard(tmp_path / "a.tar", members)
    with pytest.raises((ValueError, OSError), match=re.escape(message)) as raised:
        data_command(f"build webdataset --from a.tar --size 2 --workers 1 --out made {options}")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("cut", [200, 512, 700, 1500, 10240 - 512])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_shard_cut_short_ends_silently(cut: int, suffix: str, tmp_path: Path, data_command: Command) -> None:
    """Wherever it is cut, also between two blocks in the middle of a picture."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    path = tmp_path / f"a{suffix}"
    shard(path, [(f"{i}.png", buffer.getvalue()) for i in range(6)])
    content = path.read_bytes()
    path.write_bytes(content[: min(cut, len(content) // 2)] if suffix == ".tar.gz" else content[:cut])
    with pytest.raises(ValueError, match=f"shard a{re.escape(suffix)} is damaged"):
        data_command(f"build webdataset --from a{suffix} --size 2 --workers 1 --out made")
    assert not Path("made").exists()


def test_braces_mean_something_else() -> None:
    assert expand_braces("a.tar") == ["a.tar"]
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{x,y}-{0..1}") == ["x-0", "x-1", "y-0", "y-1"]
