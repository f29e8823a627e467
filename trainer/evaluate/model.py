"""A checkpoint or a bundle on the command line: its arguments, how it is opened, and a bundle written again."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.runtime.flags import add_engine_arguments

if TYPE_CHECKING:
    import torch

    from export.runtime.bundle import Bundle
    from trainer.evaluate.generator import Generator


def add_model_arguments(parser: argparse.ArgumentParser, data: str, steps: Sequence[int]) -> argparse._ArgumentGroup:
    """Declare the model, its data set, which `data` tells of, step counts, and how all are run; the group of bundles.

    `steps` are those for `read_steps` where none are given.
    """
    parser.add_argument(
        "model", type=Path, metavar="CHECKPOINT|BUNDLE", help="a checkpoint, a run (its newest one), or a bundle"
    )
    parser.add_argument("--data", type=Path, required=True, help=data)
    told = ",".join(map(str, steps))
    parser.add_argument(
        "--steps", metavar="N,N,...", help=f"step counts (default: {told}, as far as the model has them)"
    )
    parser.add_argument("--guidance", type=float, help="effective scale (default: the model's)")
    parser.add_argument("--ema", metavar="H", help="of a checkpoint: which averaged weights, or 'model'")
    parser.add_argument("--device", help="a torch device, for networks (default: cuda where there is one, else cpu)")
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="where samples and features are kept (default: the user's cache)"
    )
    bundle = parser.add_argument_group("of a bundle")
    add_engine_arguments(bundle)
    bundle.add_argument("--threads", type=int, help="threads of one network evaluation (default: one for each core)")
    return bundle


def refuse_misfit(args: argparse.Namespace, of_bundle: bool) -> None:
    """Raise ValueError or OSError for what is of the other kind of model, or a bundle that cannot be written."""
    from export.runtime.bundle import check_free

    if of_bundle and args.ema is not None:
        raise ValueError(f"--ema {args.ema}: {args.model} is a bundle, its weights are chosen")
    if not of_bundle:
        for name in ("engine", "precision", "threads", "write"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name} is for a bundle, and {args.model} is none; export it first")
    if args.force and args.write is None:
        raise ValueError("--force is for --write")
    if args.write is not None:
        check_free(args.write, args.force)


def open_device(name: str | None) -> torch.device:
    """A device of this machine, the accelerator for None; ValueError where torch has none of this name."""
    import torch

    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        there = torch.zeros(1, device=name)
        there.item()  # `meta` has shapes and no numbers
        return there.device
    except (RuntimeError, AssertionError, ImportError) as error:  # AssertionError: torch was built without CUDA
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from None


def open_model(args: argparse.Namespace, of_bundle: bool, device: torch.device) -> tuple[Bundle | Path, Generator]:
    """The bundle, or the folder of the checkpoint, and its generator.

    A run's newest checkpoint, or its best, may be another one later: whoever writes into a checkpoint what was measured
    of it writes into this folder.
    """
    from export.runtime.bundle import open_bundle
    from trainer.evaluate.generator import from_bundle, from_checkpoint

    if not of_bundle:
        from models.checkpoint import find_checkpoint

        folder = find_checkpoint(args.model).resolve()
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written to, and it is to hold the results")
        return folder, from_checkpoint(folder, args.ema, args.guidance, device)
    bundle = open_bundle(args.model, engines=False)
    return bundle, from_bundle(bundle, args.guidance, args.engine, args.precision, args.threads)


def check_there(folder: Path) -> None:
    """Raise FileNotFoundError for the folder of a checkpoint that was opened and is there no longer."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is gone: it was removed meanwhile (a training keeps its newest checkpoints)")


def read_steps(text: str | None, known: Sequence[int], usual: Sequence[int]) -> tuple[int, ...]:
    """Step counts as a person writes them, rising; without any the usual ones that are known, or else all that are."""
    if text is None:
        return tuple(steps for steps in usual if steps in known) or tuple(known)
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise ValueError(f"--steps {text}: step counts are numbers from 1, like {','.join(map(str, usual))}")
    return tuple(sorted({int(word) for word in words}))


def write_again(
    bundle: Bundle,
    out: Path,
    changes: dict[str, Any],
    files: dict[str, bytes],
    replace: bool,
    without: Collection[str] = (),
) -> Bundle:
    """Write a bundle with other fields of its manifest, further files, and `without` some.

    Raises as `write_bundle` does, and as `Bundle.read` for a bundle that is not the one any more that was opened.
    """
    from export.runtime.bundle import write_bundle
    from export.runtime.manifest import FORMAT

    fields = {**bundle.manifest.model_dump(exclude={"files", "digest"}), "format": FORMAT, **changes}
    kept = {file: bundle.read(file) for file in bundle.manifest.files if file not in without}
    return write_bundle(out, fields, {**kept, **files}, replace)
