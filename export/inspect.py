"""Verify a bundle and show what is in it.

Every file is compared with its SHA-256 in the manifest, and the manifest with its digest, before anything is
shown.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.runtime.manifest import Manifest

ORIGINS = {"teacher": "teacher", "weak_teacher": "weaker one", "init": "begun from"}
"""Roles in `provenance.origin` -> their titles."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump inspect`."""
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of the bundle")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")


def run(args: argparse.Namespace) -> int:
    """Verify and print; 0, or ValueError and OSError that say what is wrong with the bundle."""
    from export.runtime.bundle import open_bundle

    manifest = open_bundle(args.bundle).manifest
    # As ASCII: a foreign bundle's text may hold what speaks to a terminal.
    print(json.dumps(manifest.model_dump(mode="json"), indent=1) if args.json else describe(manifest))
    return 0


def describe(manifest: Manifest) -> str:
    """The manifest for a person to read."""
    size = sum(entry.bytes for entry in manifest.files.values())
    rows: list[tuple[str, str]] = [
        ("name", manifest.name),
        ("digest", f"{manifest.digest} (format {manifest.format})"),
        ("files", f"{len(manifest.files)} files, {_size(size)}, all as in the manifest"),
        *(("", f"{_size(entry.bytes):>9}  {file}") for file, entry in sorted(manifest.files.items())),
        ("kind", manifest.kind),
        ("z", _shape(manifest.z_shape)),
    ]
    if manifest.image_shape is not None:
        rows.append(("image", f"{_shape(manifest.image_shape)} (height, width, RGB)"))
    rows += [
        ("labels", f"{len(manifest.labels)}: {', '.join(manifest.labels)}" if manifest.labels else "none"),
        ("guidance", _guidance(manifest)),
        ("span", manifest.span + ("" if manifest.t_max == 1 else f", t up to {manifest.t_max:g} (and 1)")),
        ("steps", f"{', '.join(map(str, manifest.steps))} ({manifest.default_steps} by default); {_sampler(manifest)}"),
        *(("", f"{steps:>3}: {_grid(manifest, steps)}") for steps in manifest.steps if steps <= 8),
    ]
    for entry in manifest.engines:
        low, high = entry.batch
        batch = f"batch {low} and more" if high is None else f"batch {low} to {high}"
        rows.append(("engine", f"{entry.backend}, {entry.precision}, target {entry.target}, {batch}: {entry.standing}"))
        rows.append(("", f"{entry.file}, builder: {entry.builder}"))
    for precision, same in manifest.batch_invariant.items():
        rows.append(
            ("batches", f"{precision}: {'the same bits in every batch' if same else 'bits vary with the batch'}")
        )
    for precision, accuracy in manifest.accuracy.items():
        rows += [(precision if i == 0 else "", line) for i, line in enumerate(accuracy.lines())]
    rows.append(("quality", "not measured" if not manifest.quality else ""))
    rows += [("", line) for line in _grouped(manifest.quality)]
    rows += [("method", manifest.method), *_origins(manifest), ("licence", manifest.licence), ("provenance", "")]
    rows[-1:] = [
        ("provenance" if i == 0 else "", line) for i, line in enumerate(_flat(manifest.provenance) or ["not stated"])
    ]
    return "\n".join(f"{title:<12}{_printable(text)}".rstrip() for title, text in rows)


def _printable(text: str) -> str:
    """What would speak to a terminal, or begin another line, as an escape: a foreign bundle's text may be anything."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _guidance(manifest: Manifest) -> str:
    scale = manifest.guidance
    if scale is None:
        return "no input for it"
    return f"{scale.min:g} to {scale.max:g}, {scale.default:g} by default, {scale.rows_per_step} row(s) a step"


def _sampler(manifest: Manifest) -> str:
    noisy = [steps for steps in manifest.steps if any(step.b for step in manifest.grid(steps))]
    return f"new noise between the steps of {', '.join(map(str, noisy))}" if noisy else "no new noise between them"


def _origins(manifest: Manifest) -> list[tuple[str, str]]:
    """Which trained models this one took something from, and what those were trained on."""
    origin, rows = _group(manifest.provenance, "origin"), []
    for role, title in ORIGINS.items():
        if lent := _group(origin, role):
            data = _group(lent, "data")
            what = f"{lent.get('method')}, step {lent.get('step')}, weights {lent.get('weights')}"
            rows.append(
                (title, f"{what}; data {data.get('name', 'unknown')}, licence {data.get('licence', 'unknown')}")
            )
    return rows


def _group(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """A group of a free field, which may hold anything; empty where it is none."""
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def _grid(manifest: Manifest, steps: int) -> str:
    parts = []
    for step in manifest.grid(steps):
        noise = f" (x {step.a:.4g}, + {step.b:.4g} noise)" if step.b or step.a != 1 else ""
        parts.append(f"{step.t:.4g} -> {step.s:.4g}{noise}")
    return ", ".join(parts)


def _grouped(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Nested fields as a line for each group: "a.b: c 1, d 2"."""
    plain = ", ".join(f"{key} {value}" for key, value in tree.items() if not isinstance(value, dict))
    groups = [(key, value) for key, value in tree.items() if isinstance(value, dict)]
    below = [line for key, value in groups for line in _grouped(value, f"{prefix}{key}.")]
    return [f"{prefix.rstrip('.')}: {plain}".removeprefix(": "), *below] if plain else below


def _flat(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Nested fields as lines "a.b.c = value"."""
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{key}.")
        else:
            text = str(value)
            lines.append(f"{prefix}{key} = {text if len(text) <= 120 else text[:117] + '...'}")
    return lines
