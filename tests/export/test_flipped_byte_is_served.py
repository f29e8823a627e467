"""Any change to a bundle, in whatever file, is refused with the file's name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.runtime.bundle import Bundle, open_bundle
from export.runtime.engines import open_engine
from export.runtime.manifest import FORMAT, canonical_digest, read_manifest

MakeBundle = Callable[..., Bundle]
FILES = ["jump.fp32.onnx", "decode.fp32.onnx", "README.md", "manifest.json"]


def test_an_untouched_bundle_opens(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    assert open_bundle(bundle.path).manifest == bundle.manifest
    assert open_bundle(str(bundle.path)) == bundle


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("file", FILES)
def test_a_flipped_byte_is_refused(make_bundle: MakeBundle, file: str, place: float) -> None:
    path = make_bundle().path / file
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 0x01
    path.write_bytes(data)
    with pytest.raises(ValueError, match=file):
        open_bundle(path.parent)


def test_every_byte_of_the_manifest_counts(make_bundle: MakeBundle) -> None:
    text = (make_bundle().path / "manifest.json").read_bytes()
    assert read_manifest(text, "it").name == "toy"
    for at in range(len(text)):
        for flip in (0x01, 0x20, 0x80):
            changed = text[:at] + bytes([text[at] ^ flip]) + text[at + 1 :]
            with pytest.raises(ValueError, match="it"):
                read_manifest(changed, "it")


def test_a_manifest_of_another_layout_is_refused(make_bundle: MakeBundle) -> None:
    # The digest alone would accept it: it is of the content.
    text = (make_bundle().path / "manifest.json").read_bytes()
    fields = json.loads(text)
    assert canonical_digest(fields) == fields["digest"]
    with pytest.raises(ValueError, match="changed after it was written"):
        read_manifest(json.dumps(fields).encode(), "it")


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_refused(make_bundle: MakeBundle, file: str) -> None:
    path = make_bundle().path
    (path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        open_bundle(path)


@pytest.mark.parametrize("cut", [-1, 1])
def test_a_file_of_another_size_is_refused(make_bundle: MakeBundle, cut: int) -> None:
    path = make_bundle().path
    data = (path / "jump.fp32.onnx").read_bytes()
    (path / "jump.fp32.onnx").write_bytes(data[:cut] if cut < 0 else data + b"0")
    with pytest.raises(ValueError, match=r"jump\.fp32\.onnx has \d+ bytes, the manifest says"):
        open_bundle(path)


def test_a_change_after_the_opening_is_refused_by_the_engine(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    path = bundle.path / "jump.fp32.onnx"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(ValueError, match=r"jump\.fp32\.onnx does not match"):
        open_engine(bundle, 1)


@pytest.mark.parametrize("name", ["jump.fp16.onnx", "big.engine"])
def test_an_undeclared_graph_is_refused(make_bundle: MakeBundle, name: str) -> None:
    path = make_bundle().path
    (path / "notes.txt").write_text("anything else may lie there")
    open_bundle(path)
    (path / name).write_bytes(b"code")
    with pytest.raises(ValueError, match=f"{name} is not listed"):
        open_bundle(path)


def test_a_link_out_of_the_bundle_is_refused(make_bundle: MakeBundle, tmp_path: Path) -> None:
    path = make_bundle().path
    outside = tmp_path / "card.md"
    shutil.copy(path / "README.md", outside)
    (path / "README.md").unlink()
    (path / "README.md").symlink_to(outside)
    with pytest.raises(ValueError, match=r"README\.md is a link that leads out"):
        open_bundle(path)


def test_links_within_the_bundle_and_to_it_are_fine(make_bundle: MakeBundle, tmp_path: Path) -> None:
    path = make_bundle().path
    (path / "README.md").rename(path / "real.md")
    (path / "README.md").symlink_to("real.md")
    (tmp_path / "latest").symlink_to(path)
    assert open_bundle(tmp_path / "latest").manifest.name == "toy"


def test_what_is_not_a_file_is_refused(make_bundle: MakeBundle) -> None:
    path = make_bundle().path
    (path / "README.md").unlink()
    os.mkfifo(path / "README.md")  # reading it would wait for ever
    with pytest.raises(ValueError, match=r"README\.md is not a regular file"):
        open_bundle(path)


def reseal(path: Path, **changes: Any) -> None:
    """Rewrite the manifest as someone who knows how to make a digest."""
    fields = json.loads((path / "manifest.json").read_bytes()) | changes
    fields["digest"] = canonical_digest(fields)
    (path / "manifest.json").write_bytes((json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode())


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", ".hidden", "a\\b", ""])
def test_a_file_name_that_leaves_the_folder_is_refused(make_bundle: MakeBundle, name: str) -> None:
    bundle = make_bundle()
    (bundle.path.parent / "outside").write_bytes(b"# A toy\n")
    files = {file: entry.model_dump() for file, entry in bundle.manifest.files.items()}
    reseal(bundle.path, files=files | {name: files["README.md"]})
    with pytest.raises(ValueError, match="must be plain"):
        open_bundle(bundle.path)


def test_a_newer_format_is_refused(make_bundle: MakeBundle) -> None:
    path = make_bundle().path
    reseal(path, format=FORMAT + 1, novelty=True)
    newer = f"has format {FORMAT + 1}, this longjump reads up to {FORMAT}; update longjump"
    with pytest.raises(ValueError, match=newer):
        open_bundle(path)


def test_an_unknown_field_is_refused(make_bundle: MakeBundle) -> None:
    path = make_bundle().path
    reseal(path, novelty=True)
    with pytest.raises(ValueError, match="novelty"):
        open_bundle(path)


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such bundle"):
        open_bundle(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="a bundle is a folder"):
        open_bundle(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"it has no manifest\.json$"):
        open_bundle(tmp_path / "empty")


def test_training_is_told_how_it_becomes_a_bundle(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "step-00000010"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"")
    for folder in (checkpoint.parent, checkpoint):
        with pytest.raises(FileNotFoundError, match=f"`longjump export {folder} --out BUNDLE` makes one"):
            open_bundle(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"digest": NaN}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        open_bundle(tmp_path)
