"""Measure the pictures of a checkpoint or a bundle against a data set: how good, how varied, the right class, copied?

Samples are drawn by the sampler that serves, and rounded to bytes as served. Their features (EfficientNet-Lite0) are
compared with those of the test split; beside every figure stands that of real pictures in the place of samples. No
figure but `fid` is an FID, and `fid` needs Inception's weights, which you bring. docs/evaluation.md tells what each
means.

What is drawn is kept: an interrupted evaluation goes on, and more samples only draw what is missing. The results go to
the terminal, to --out as JSON, into a checkpoint's model card, and with --write into a new bundle, where steps=auto and
the load tester read them.

Examples:
  longjump eval runs/facets --data runs/data --steps 1,2,4,8
  longjump eval BUNDLE --data runs/data --samples 2000 --out runs/evaluation.json
  longjump eval BUNDLE --data runs/data --write GRADED
  longjump eval BUNDLE --data runs/data --fid --inception-weights weights-inception-2015-12-05-6726825d.pth
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.runtime.flags import add_engine_arguments

if TYPE_CHECKING:
    import torch

    from export.runtime.bundle import Bundle
    from trainer.evaluate.generator import Generator

SAMPLES = 10_000

FID_SAMPLES = 50_000
"""What an FID is usually of."""

CARD, RESULTS, PANEL = "README.md", "evaluation.json", "neighbours.png"
"""Files beside a model that tell how good it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump eval`."""
    parser.add_argument(
        "model", type=Path, metavar="CHECKPOINT|BUNDLE", help="a checkpoint, a run (its newest one), or a bundle"
    )
    parser.add_argument("--data", type=Path, required=True, help="pictures of its size and classes, with a test split")
    parser.add_argument(
        "--steps", metavar="N,N,...", help="step counts (default: 1,2,4,8, as far as the model has them)"
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help=f"of each step count (default: {SAMPLES}; with --fid {FID_SAMPLES})"
    )
    parser.add_argument(
        "--reference",
        choices=("test", "train"),
        default="test",
        help="the split that samples are compared with (default: test; published FIDs are mostly against train)",
    )
    parser.add_argument("--seed", type=int, help="of the first sample (default: 10000000)")
    parser.add_argument("--guidance", type=float, help="effective scale (default: the model's)")
    parser.add_argument("--fid", action="store_true", help="the FID too; it needs --inception-weights")
    parser.add_argument("--inception-weights", type=Path, metavar="FILE", help="Inception's weights, for --fid")
    parser.add_argument("--ema", metavar="H", help="of a checkpoint: which averaged weights, or 'model'")
    parser.add_argument("--device", help="a torch device, for networks (default: cuda where there is one, else cpu)")
    bundle = parser.add_argument_group("of a bundle")
    add_engine_arguments(bundle)
    bundle.add_argument("--threads", type=int, help="threads of one network evaluation (default: one for each core)")
    bundle.add_argument("--write", type=Path, metavar="BUNDLE", help="write it again with the results in its manifest")
    bundle.add_argument("--force", action="store_true", help="replace the bundle of --write if it exists")
    kept = parser.add_argument_group("results")
    kept.add_argument("--out", type=Path, metavar="FILE", help="write them as JSON")
    kept.add_argument(
        "--panel", type=Path, metavar="FILE", help="write samples beside their nearest training pictures, a PNG"
    )
    kept.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="where samples and features are kept (default: the user's cache)"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate and write; 0, or ValueError and OSError for the person who asked."""
    from export.runtime.manifest import MANIFEST_FILE

    of_bundle = (args.model / MANIFEST_FILE).is_file()
    refuse(args, of_bundle)
    import torch

    from export.runtime.noise import check_seed
    from trainer.data.dataset import open_dataset
    from trainer.evaluate.evaluation import FIRST_SEED, Asked, Evaluation
    from trainer.evaluate.extractor import open_enetlite0, open_inception
    from trainer.evaluate.report import terminal
    from trainer.evaluate.store import Store, default_folder

    device = open_device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    inception = open_inception(args.inception_weights, device) if args.fid else None
    dataset = open_dataset(args.data)
    bundle, generator = open_model(args, of_bundle, device)
    asked = Asked(
        steps=read_steps(args.steps, sorted(generator.grids)),
        samples=args.samples if args.samples is not None else FID_SAMPLES if args.fid else SAMPLES,
        seed=FIRST_SEED if args.seed is None else args.seed,
        reference=args.reference,
    )
    check_seed(asked.seed)
    check_seed(asked.seed + asked.samples)
    store = Store(args.cache or default_folder())
    extractor = open_enetlite0(*generator.size, device)
    results, panel = Evaluation(generator, dataset, asked, store, extractor, inception).run()
    print(terminal(results))
    keep(args, results, panel, bundle)
    return 0


def refuse(args: argparse.Namespace, of_bundle: bool) -> None:
    """Raise ValueError or OSError, before any work, for what does not go together or cannot be written at its end."""
    from export.runtime.bundle import check_free

    if args.fid and args.inception_weights is None:
        from trainer.evaluate.inception import WEIGHTS

        raise ValueError(
            f"--fid is the distance of Inception's features and of no others: give --inception-weights {WEIGHTS}; "
            "without --fid, fd_enetlite0 needs no such file"
        )
    if args.inception_weights is not None and not args.fid:
        raise ValueError("--inception-weights are for --fid; give both, or none")
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
    for file in (args.out, args.panel):
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise FileNotFoundError(f"{file} cannot be written: it is a folder, or its folder is not there")


def open_device(name: str) -> torch.device:
    """A device of this machine; ValueError where torch has none of this name."""
    import torch

    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from None


def open_model(args: argparse.Namespace, of_bundle: bool, device: torch.device) -> tuple[Bundle | None, Generator]:
    """The bundle, if it is one, and the generator."""
    from export.runtime.bundle import open_bundle
    from trainer.evaluate.generator import from_bundle, from_checkpoint

    if not of_bundle:
        from models.checkpoint import find_checkpoint

        folder = find_checkpoint(args.model)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written to, and its model card is to hold the results")
        return None, from_checkpoint(folder, args.ema, args.guidance, device)
    bundle = open_bundle(args.model, engines=False)
    return bundle, from_bundle(bundle, args.guidance, args.engine, args.precision, args.threads)


def read_steps(text: str | None, known: list[int]) -> tuple[int, ...]:
    """Step counts as a person writes them, rising; 1, 2, 4 and 8 or else all that are known where none are given."""
    if text is None:
        return tuple(steps for steps in (1, 2, 4, 8) if steps in known) or tuple(known)
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise ValueError(f"--steps {text}: step counts are numbers from 1, like 1,2,4,8")
    return tuple(sorted({int(word) for word in words}))


def keep(args: argparse.Namespace, results: dict[str, Any], panel: bytes, bundle: Bundle | None) -> None:
    """Write the results where they were asked for, and say where."""
    from models.checkpoint import find_checkpoint
    from trainer.evaluate.report import quality, with_section

    text = (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode()
    for file, data in ((args.out, text), (args.panel, panel)):
        if file is not None:
            _write(file, data)
            print(f"wrote {file}")
    if bundle is None:
        folder = find_checkpoint(args.model)
        card = folder / CARD
        before = card.read_text("utf-8") if card.is_file() else f"# {folder.name}\n"
        for name, data in ((RESULTS, text), (PANEL, panel), (CARD, with_section(before, results).encode())):
            _write(folder / name, data)
        print(f"wrote {card}, {RESULTS} and {PANEL}")
    elif args.write is not None:
        before = bundle.read(CARD).decode() if CARD in bundle.manifest.files else f"# {bundle.manifest.name}\n"
        told = {RESULTS: text, PANEL: panel, CARD: with_section(before, results).encode()}
        written = grade(bundle, args.write, quality(results), told, args.force)
        print(f"wrote {written.path} ({written.manifest.digest})")


def grade(bundle: Bundle, out: Path, quality: dict[str, Any], told: dict[str, bytes], replace: bool) -> Bundle:
    """Write a bundle again with `quality` in its manifest and further files. Raises as `write_bundle` does."""
    from export.runtime.bundle import write_bundle
    from export.runtime.manifest import FORMAT

    fields = {**bundle.manifest.model_dump(exclude={"files", "digest"}), "format": FORMAT, "quality": quality}
    kept: dict[str, bytes | Path] = {file: bundle.path / file for file in bundle.manifest.files}
    return write_bundle(out, fields, {**kept, **told}, replace)


def _write(file: Path, data: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
