"""Bundles: a folder with `manifest.json` and the files it lists, opened only if every byte is as declared."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.runtime.external_data import external_tensors
from export.runtime.manifest import MANIFEST_FILE, Manifest, build_manifest, read_manifest, write_manifest
from export.runtime.target import write_named

RUNNABLE = (".onnx", ".engine")
"""Suffixes of files that a runtime executes: a bundle may hold none that its manifest does not list."""

MANIFEST_LIMIT = 16 * 2**20
"""A manifest is at most this many bytes."""

_AGAIN = "export the bundle again, or copy it again"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were all as its manifest says when it was opened."""

    path: Path
    manifest: Manifest

    def read(self, file: str) -> bytes:
        """The bytes of a declared file, checked again, so that a change since the opening is refused too."""
        return _verified(self.path, file, self.manifest)


def open_bundle(path: str | os.PathLike[str], engines: bool = True) -> Bundle:
    """Open the bundle in the folder `path`.

    Without `engines` compiled engines are compared with the manifest only when they are read: a machine that cannot
    run one need not read it, and a damaged one need not stop what the graphs can do.

    Raises ValueError or OSError, naming the file and what to do, if the manifest or any declared file is
    missing, altered, or not a regular file inside the folder; for a runnable file that is not declared; for
    ONNX external data; and for a newer format.
    """
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: there is no such bundle")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a bundle: a bundle is a folder with a {MANIFEST_FILE}")
    if not (folder / MANIFEST_FILE).exists():
        of_training = any(folder.glob("*.safetensors")) or any(folder.glob("step-*"))
        hint = f"; it is of a training: `longjump export {folder} --out BUNDLE` makes one" if of_training else ""
        raise FileNotFoundError(f"{folder} is not a bundle: it has no {MANIFEST_FILE}{hint}")
    where = _inside(folder, MANIFEST_FILE)
    if where.stat().st_size > MANIFEST_LIMIT:
        raise ValueError(f"{where} is larger than {MANIFEST_LIMIT} bytes; it is not a bundle's manifest")
    manifest = read_manifest(where.read_bytes(), str(where))
    for entry in sorted(folder.iterdir()):
        if entry.suffix in RUNNABLE and entry.name not in manifest.files:
            raise ValueError(f"{entry} is not listed in the manifest; remove it, or export the bundle again")
    compiled = {entry.file for entry in manifest.engines if entry.backend != "onnxruntime"}
    for file in manifest.files:
        if not engines and file in compiled:
            continue
        data = _verified(folder, file, manifest)
        if file.endswith(".onnx"):
            refuse_external_data(data, str(folder / file))
    return Bundle(folder, manifest)


def write_bundle(
    out: str | os.PathLike[str],
    fields: Mapping[str, Any],
    contents: Mapping[str, bytes | Path],
    replace: bool = False,
) -> Bundle:
    """Write a bundle and open it.

    `fields` are those of Manifest without `files` and `digest`, which are made here; `contents` gives each
    file's bytes or where to copy it from. Everything is written to a temporary folder beside `out`, opened
    there as a test, and renamed: `out` is a whole bundle or does not exist. Raises FileExistsError if `out`
    exists, unless `replace` is set and it is a bundle; ValueError for wrong fields.
    """
    out = Path(out).absolute()
    check_free(out, replace)
    stored = {name: data if isinstance(data, bytes) else Path(data).read_bytes() for name, data in contents.items()}
    files = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in stored.items()}
    manifest = build_manifest({**fields, "files": files})
    mark = secrets.token_hex(4)
    temporary, retired = (out.with_name(f".{out.name}.{mark}.{end}") for end in ("tmp", "old"))
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary.mkdir()
    try:
        for name, data in {**stored, MANIFEST_FILE: write_manifest(manifest)}.items():
            write_named(temporary / name, data, out / name)
        open_bundle(temporary)
        if out.exists():
            out.rename(retired)
        temporary.rename(out)
    except BaseException:
        if retired.exists():
            retired.rename(out)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(retired, ignore_errors=True)
    return Bundle(out, manifest)


def check_free(out: str | os.PathLike[str], replace: bool = False) -> None:
    """Raise FileExistsError if no bundle may be written to `out`; a command asks before it does long work."""
    out = Path(out)
    if not out.exists() and not out.is_symlink():
        return
    if not replace:
        raise FileExistsError(f"{out} exists; remove it, give another name, or replace it with --force")
    if out.is_symlink() or not (out / MANIFEST_FILE).is_file():
        raise FileExistsError(f"{out} exists and is not a bundle, so --force does not replace it")


def refuse_external_data(model: bytes, where: str) -> None:
    """Raise ValueError if a serialised ONNX model (named `where` in the error) has data outside itself."""
    try:
        tensors = external_tensors(model)
    except ValueError as error:
        raise ValueError(f"{where} is not a readable ONNX model: {error}") from None
    if tensors:
        names = ", ".join(tensors[:3]) + (", ..." if len(tensors) > 3 else "")
        raise ValueError(
            f"{where} keeps {len(tensors)} tensors ({names}) as ONNX external data; a bundle's graph must "
            "hold its weights (save the model without external data)"
        )


def _verified(folder: Path, file: str, manifest: Manifest) -> bytes:
    """The bytes of a declared file, or an error that names it."""
    expected = manifest.files[file]
    path = _inside(folder, file)
    size = path.stat().st_size
    if size != expected.bytes:
        raise ValueError(f"{path} has {size} bytes, the manifest says {expected.bytes}; {_AGAIN}")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != expected.sha256:
        raise ValueError(f"{path} does not match the SHA-256 in the manifest, it was altered or damaged; {_AGAIN}")
    return data


def _inside(folder: Path, file: str) -> Path:
    """The path of a file of the bundle; refused unless it leads to a regular file inside the folder."""
    path = folder / file
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing, though the manifest lists it; {_AGAIN}")
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file")
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path} is a link that leads out of the bundle; put the file itself there")
    return path
