"""From checked graphs to a bundle: the part that `longjump export` and `longjump bundle` share. Needs no
torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from export.check import INVARIANT_UP_TO, batch_invariant, graph_jump, trial_rows
from export.runtime.bundle import Bundle, write_bundle
from export.runtime.engines.session import PROVIDER, open_session
from export.runtime.grids import Span
from export.runtime.manifest import (
    FORMAT,
    FileEntry,
    Guidance,
    Manifest,
    build_manifest,
    decode_file,
    jump_file,
    unrolled_file,
)

if TYPE_CHECKING:
    from export.precision.quality import Judge


def assemble(
    out: str | os.PathLike[str],
    *,
    jump: bytes,
    decode: bytes | None,
    z_shape: tuple[int, ...],
    image_shape: tuple[int, int, int] | None,
    labels: list[str],
    span: Span,
    t_max: float,
    guidance: Guidance | None,
    builder: str,
    fields: Mapping[str, Any],
    extras: Mapping[str, bytes | Path],
    precisions: Sequence[str] = (),
    force_precision: bool = False,
    judge: Judge | None = None,
    unroll: Sequence[int] = (),
    replace: bool = False,
) -> Bundle:
    """Measure batch invariance of an fp32 jump graph that has passed its checks, and write the bundle.

    `fields` are the rest of the manifest (name, grids, method, licence, provenance); `extras` are further
    files. `precisions` beside fp32 are made, measured and judged as `make_forms` says, graphs of all steps for the
    counts in `unroll` as `unroll_checked` does. Raises ValueError and FileExistsError as these and write_bundle do.
    """
    sessions = [open_session(jump, jump_file("fp32"), threads) for threads in (1, None)]
    rows = trial_rows(INVARIANT_UP_TO, z_shape, len(labels), span, t_max, guidance)
    contents: dict[str, bytes | Path] = {**extras, jump_file("fp32"): jump}
    if decode is not None:
        contents[decode_file("fp32")] = decode
    engine = {
        "backend": "onnxruntime",
        "file": jump_file("fp32"),
        "precision": "fp32",
        "target": "any",
        "builder": builder,
        "state": "executed",
        "executed_on": f"onnxruntime {ort.__version__} {PROVIDER} {platform.machine()}",
    }
    derived = {
        "kind": "points" if decode is None else "image",
        "z_shape": z_shape,
        "image_shape": image_shape,
        "labels": labels,
        "null_label": len(labels),
        "guidance": None if guidance is None else guidance.model_dump(),
        "span": span,
        "t_max": t_max,
        "steps": sorted(map(int, fields["grids"])),
        "precisions": ["fp32"],
        "engines": [engine],
        "batch_invariant": {"fp32": batch_invariant([graph_jump(session) for session in sessions], rows)},
    }
    complete = {**fields, **derived}
    files = {name: FileEntry.of(data) for name, data in contents.items() if isinstance(data, bytes)}
    manifest = build_manifest({**complete, "files": files})
    changed, added = _further(manifest, jump, decode, precisions, force_precision, judge, unroll)
    return write_bundle(out, {**complete, **changed}, {**contents, **added}, replace)


def extend(
    bundle: Bundle,
    out: str | os.PathLike[str],
    *,
    precisions: Sequence[str] = (),
    force_precision: bool = False,
    judge: Judge | None = None,
    unroll: Sequence[int] = (),
    name: str | None = None,
    licence: str | None = None,
    replace: bool = False,
) -> Bundle:
    """Write a bundle again with further precisions and graphs of all steps, and with another name or licence if given.

    `out` may be where it is, with `replace`. Raises ValueError and FileExistsError as `assemble` does.
    """
    manifest = bundle.manifest
    decode = bundle.read(decode_file("fp32")) if manifest.kind == "image" else None
    jump = bundle.read(jump_file("fp32"))
    changed, added = _further(manifest, jump, decode, precisions, force_precision, judge, unroll)
    fields = {
        **manifest.model_dump(exclude={"files", "digest"}),
        **changed,
        "format": FORMAT,
        "name": name or manifest.name,
        "licence": licence or manifest.licence,
    }
    kept: dict[str, bytes | Path] = {file: bundle.read(file) for file in manifest.files}
    return write_bundle(out, fields, {**kept, **added}, replace)


def _further(
    manifest: Manifest,
    jump: bytes,
    decode: bytes | None,
    precisions: Sequence[str],
    force: bool,
    judge: Judge | None,
    unroll: Sequence[int],
) -> tuple[dict[str, Any], dict[str, bytes | Path]]:
    """The manifest's changed fields and the files of what goes beyond fp32's jump; nothing where none is asked for."""
    fields: dict[str, Any] = {}
    files: dict[str, bytes | Path] = {}
    # Here and not above: they need the onnx package, which a machine that only compiles engines may lack.
    if unroll:
        from export.unroll import unroll_checked

        files |= unroll_checked(manifest, jump, decode, unroll)
    if set(precisions) - {"fp32"}:
        from export.precision.forms import fields_with, files_of, make_forms

        forms = make_forms(manifest, jump, decode, precisions, force, judge)
        fields |= fields_with(manifest, forms)
        files |= files_of(forms)
    return fields, files


def build_stamp() -> dict[str, str]:
    """When and with what a bundle is built. SOURCE_DATE_EPOCH sets the date, for a repeatable build."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    try:
        longjump = version("longjump")
    except PackageNotFoundError:  # run from a checkout that is not installed
        longjump = "unknown"
    return {"date": now.date().isoformat(), "longjump": longjump, "onnxruntime": ort.__version__}


def summary(bundle: Bundle) -> str:
    """Where the bundle is and what was found out about it, for the end of a command."""
    manifest = bundle.manifest
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    lines = [f"wrote {bundle.path} ({size:.1f} MB, {manifest.digest})"]
    for precision in manifest.precisions:
        same = "the same bits" if manifest.batch_invariant[precision] else "NOT the same bits"
        lines.append(f"{precision}: a sample has {same} in every batch of 1 to {INVARIANT_UP_TO}")
        if precision in manifest.accuracy:
            lines += [f"{precision}: {line}" for line in manifest.accuracy[precision].lines()]
    if counts := [str(steps) for steps in manifest.steps if unrolled_file(steps) in manifest.files]:
        lines.append(f"all of {', '.join(counts)} steps in one graph: the same bytes as the loop's")
    return "\n".join(lines)
