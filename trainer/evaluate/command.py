"""Measure the pictures of a checkpoint or a bundle against a data set: how good, how varied, the right class, copied?

Samples are drawn by the sampler that serves, and rounded to bytes as served. Their features (EfficientNet-Lite0) are
compared with those of the test split; beside every figure stands that of real pictures in the place of samples. No
figure but `fid` is an FID, and `fid` needs Inception's weights, which you bring. docs/evaluation.md tells what each
means.

What is drawn is kept: an interrupted evaluation goes on, and more samples only draw what is missing. The results go to
the terminal, to --out as JSON, into a checkpoint's model card, and with --write into a new bundle, where steps=auto and
the load tester read them.

Examples:
  longjump eval runs/meanflow --data runs/facets --steps 1,2,4,8
  longjump eval BUNDLE --data runs/facets --samples 2000 --out runs/evaluation.json
  longjump eval BUNDLE --data runs/facets --write GRADED
  longjump eval BUNDLE --data runs/facets --fid --inception-weights weights-inception-2015-12-05-6726825d.pth
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.evaluate.model import (
    add_model_arguments,
    check_there,
    open_device,
    open_model,
    read_steps,
    refuse_misfit,
    write_again,
)

if TYPE_CHECKING:
    from export.runtime.bundle import Bundle

STEPS = (1, 2, 4, 8)

SAMPLES = 10_000

FID_SAMPLES = 50_000
"""What an FID is usually of."""

CARD, RESULTS, PANEL = "README.md", "evaluation.json", "neighbours.png"
"""Files beside a model that tell how good it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump eval`."""
    bundle = add_model_arguments(parser, "pictures of its size and classes, with a test split", STEPS)
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
    parser.add_argument("--fid", action="store_true", help="the FID too; it needs --inception-weights")
    parser.add_argument("--inception-weights", type=Path, metavar="FILE", help="Inception's weights, for --fid")
    bundle.add_argument("--write", type=Path, metavar="BUNDLE", help="write it again with the results in its manifest")
    bundle.add_argument("--force", action="store_true", help="replace the bundle of --write if it exists")
    kept = parser.add_argument_group("results")
    kept.add_argument("--out", type=Path, metavar="FILE", help="write them as JSON")
    kept.add_argument(
        "--panel", type=Path, metavar="FILE", help="write samples beside their nearest training pictures, a PNG"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate and write; 0, or ValueError and OSError for the person who asked."""
    from export.runtime.manifest import MANIFEST_FILE

    of_bundle = (args.model / MANIFEST_FILE).is_file()
    refuse(args, of_bundle)
    from export.runtime.noise import check_seed
    from trainer.data.dataset import open_dataset
    from trainer.evaluate.evaluation import FIRST_SEED, Asked, Evaluation
    from trainer.evaluate.extractor import open_enetlite0, open_inception
    from trainer.evaluate.report import terminal
    from trainer.evaluate.store import Store, default_folder

    device = open_device(args.device)
    inception = open_inception(args.inception_weights, device) if args.fid else None
    dataset = open_dataset(args.data)
    model, generator = open_model(args, of_bundle, device)
    refuse_unwritable(args, model)
    asked = Asked(
        steps=read_steps(args.steps, sorted(generator.grids), STEPS),
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
    keep(args, results, panel, model)
    return 0


def refuse(args: argparse.Namespace, of_bundle: bool) -> None:
    """Raise ValueError or OSError, before any work, for what does not go together or cannot be written at its end."""
    if args.fid and args.inception_weights is None:
        from trainer.evaluate.inception import WEIGHTS

        raise ValueError(
            f"--fid is the distance of Inception's features and of no others: give --inception-weights {WEIGHTS}; "
            "without --fid, fd_enetlite0 needs no such file"
        )
    if args.inception_weights is not None and not args.fid:
        raise ValueError("--inception-weights are for --fid; give both, or none")
    refuse_misfit(args, of_bundle)
    from export.runtime.target import check_target

    files = [check_target(file) for file in (args.out, args.panel) if file is not None]
    if len(set(files)) < len(files):
        raise ValueError(f"--out and --panel are both {files[0]}; give each a file of its own")


def refuse_unwritable(args: argparse.Namespace, model: Bundle | Path) -> None:
    """Raise ValueError or OSError, before any work, where the results cannot be written beside a model."""
    from export.runtime.target import check_target

    scales = None if isinstance(model, Path) else model.manifest.guidance
    if args.write is not None and scales is not None and args.guidance not in (None, scales.default):
        raise ValueError(
            f"--write with --guidance {args.guidance!r}: steps=auto goes by the figures in a bundle, which are to be "
            f"of its own scale, {scales.default!r}; leave --guidance out, or write the results to --out"
        )
    if isinstance(model, Path):
        for name in (RESULTS, PANEL, CARD):
            check_target(model / name)
    if isinstance(model, Path) or args.write is not None:
        read_card(model)


def read_card(model: Bundle | Path) -> str:
    """The model card, or the beginning of one. Raises ValueError for one that is no text."""
    if isinstance(model, Path):
        name, where = model.name, model / CARD
        card = where.read_bytes() if where.exists() else None
    else:
        name, where = model.manifest.name, model.path / CARD
        card = model.read(CARD) if CARD in model.manifest.files else None
    try:
        return f"# {name}\n" if card is None else card.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 text ({error}), so that the results cannot be added to it") from None


def keep(args: argparse.Namespace, results: dict[str, Any], panel: bytes, model: Bundle | Path) -> None:
    """Write the results where they were asked for, and say where."""
    from export.runtime.target import write_files
    from trainer.evaluate.report import quality, with_section

    text = (json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    asked = {file: data for file, data in ((args.out, text), (args.panel, panel)) if file is not None}
    write_files(asked)
    for file in asked:
        print(f"wrote {file}")
    if not isinstance(model, Path) and args.write is None:
        return
    told = {RESULTS: text, PANEL: panel, CARD: with_section(read_card(model), results).encode()}
    if isinstance(model, Path):
        check_there(model)
        write_files({model / name: data for name, data in told.items()})
        print(f"wrote {model / CARD}, {RESULTS} and {PANEL}")
    else:
        written = write_again(model, args.write, {"quality": quality(results)}, told, args.force)
        print(f"wrote {written.path} ({written.manifest.digest})")
