"""Writing a bundle leaves a whole one or nothing, and never takes what was there before by mistake."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

import export.runtime.bundle as bundle_module
from export.runtime.bundle import Bundle, check_free, open_bundle, write_bundle

MakeBundle = Callable[..., Bundle]


@pytest.fixture
def parts(make_bundle: MakeBundle) -> tuple[dict[str, object], dict[str, bytes | Path]]:
    """Fields and files of a bundle that is already there, to be written again elsewhere."""
    made = make_bundle("original")
    fields = made.manifest.model_dump(exclude={"files", "digest"})
    return fields, {file: made.path / file for file in made.manifest.files}


def test_a_failing_disk_leaves_nothing(parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def full(manifest: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_module, "write_manifest", full)
    with pytest.raises(OSError, match="No space"):
        write_bundle(tmp_path / "new", *parts)
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_a_full_disk_is_said_of_no_file(parts, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A limit on the size of files stands for the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            write_bundle(tmp_path / "new", *parts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Path(error.value.filename).parent == tmp_path / "new"
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_a_bundle_that_does_not_open_does_not_appear(parts, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    fields, contents = parts
    with pytest.raises(ValueError, match=r"jump\.fp32\.onnx is not a readable ONNX model"):
        write_bundle(tmp_path / "new", fields, contents | {"jump.fp32.onnx": b"\x0f\x0f"})
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_an_existing_bundle_is_kept_unless_asked(parts, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    fields, contents = parts
    target = tmp_path / "original"
    before = (target / "manifest.json").read_bytes()
    with pytest.raises(FileExistsError, match="--force"):
        write_bundle(target, fields, contents)
    assert (target / "manifest.json").read_bytes() == before
    written = write_bundle(target, {**fields, "method": "newer"}, contents, replace=True)
    assert open_bundle(target).manifest == written.manifest
    assert written.manifest.method == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_a_folder_that_is_no_bundle_is_never_replaced(parts, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.md").write_text("years of work")
    with pytest.raises(FileExistsError, match="is not a bundle"):
        write_bundle(tmp_path / "thesis", *parts, replace=True)
    assert (tmp_path / "thesis" / "chapter.md").exists()


def test_a_replacement_that_fails_keeps_the_old_one(parts, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    fields, contents = parts
    with pytest.raises(ValueError, match="span"):
        write_bundle(tmp_path / "original", {**fields, "span": "all"}, contents, replace=True)
    open_bundle(tmp_path / "original")


def test_a_rename_that_fails_puts_the_old_one_back(parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    fields, contents = parts
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="Input/output"):
        write_bundle(tmp_path / "original", {**fields, "method": "newer"}, contents, replace=True)
    assert open_bundle(tmp_path / "original").manifest.method == "toy"
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        check_free(tmp_path / "link")


def test_others_may_read_it(parts, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bundle = write_bundle(tmp_path / "new", *parts)
    (tmp_path / "plain").mkdir()
    assert bundle.path.stat().st_mode == (tmp_path / "plain").stat().st_mode
