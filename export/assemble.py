"""From checked graphs to a bundle: the part that `longjump export` and `longjump bundle` share. Needs no
torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnxruntime as ort

from export.check import INVARIANT_UP_TO, batch_invariant, graph_jump, trial_rows
from export.runtime.bundle import Bundle, write_bundle
from export.runtime.engines.onnxruntime import PROVIDER, open_session
from export.runtime.grids import Span
from export.runtime.manifest import Guidance, decode_file, jump_file


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
    replace: bool = False,
) -> Bundle:
    """Measure batch invariance of an fp32 jump graph that has passed its checks, and write the bundle.

    `fields` are the rest of the manifest (name, grids, method, licence, provenance); `extras` are further
    files. Raises ValueError and FileExistsError as write_bundle does.
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
    return write_bundle(out, {**fields, **derived}, contents, replace)


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
    same = "the same bits" if manifest.batch_invariant["fp32"] else "NOT the same bits"
    return (
        f"wrote {bundle.path} ({size:.1f} MB, {manifest.digest})\n"
        f"a sample has {same} in every batch of 1 to {INVARIANT_UP_TO} (fp32)"
    )
