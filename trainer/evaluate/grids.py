"""Search the times at which a model's 2, 4 and 8 steps are best begun, and store the grids that make better pictures.

Even times need not be the best. This tries others, by the kernel distance (kid_enetlite0, lower is better)
of samples of the same seeds to pictures of the TRAINING split, so that the test split is still new to `longjump eval`.
A grid that was found is taken where it is also better on samples of other seeds, by 1 % or more; otherwise the old one
stays. What was tried is kept, so that a search that was cut off goes on; the same search ends at the same grids.

Of a checkpoint its config.json gets the grids, for `longjump export` and all that follows, and samples.png is drawn
again; of a bundle a new one is written. Whatever depends on grids (figures, further precisions, graphs of all steps) is
to be made after it; figures of the grids before are taken out.

Examples:
  longjump grids runs/facets --data runs/data
  longjump grids BUNDLE --data runs/data --steps 4 --samples 1024 --write BETTER
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
    import torch

    from export.runtime.bundle import Bundle
    from export.runtime.grids import Grid
    from export.runtime.manifest import Manifest

STEPS = (2, 4, 8)

SAMPLES = 384
"""Of each grid that is tried."""

REAL = 4096
"""At most so many pictures of the training split are compared with."""

FIRST_SEED = 20_000_000
"""Of the samples: none of those that `longjump eval` measures by."""

FOUND = "grids.json"
"""What was searched and found, beside the model."""

MEASURE_AGAIN = (
    "its figures were of the grids before and are taken out; measure again: longjump eval {model} --data {data}"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump grids`."""
    bundle = add_model_arguments(parser, "pictures of its size and classes, those that it was trained on", STEPS)
    parser.add_argument(
        "--samples", type=int, default=SAMPLES, metavar="N", help="of each grid that is tried (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="of the first sample (default: %(default)s)")
    bundle.add_argument("--write", type=Path, metavar="BUNDLE", help="write it again with the grids; required")
    bundle.add_argument("--force", action="store_true", help="replace the bundle of --write if it exists")


def run(args: argparse.Namespace) -> int:
    """Search and write; 0, or ValueError and OSError for the person who asked."""
    from export.runtime.manifest import MANIFEST_FILE

    of_bundle = (args.model / MANIFEST_FILE).is_file()
    refuse_misfit(args, of_bundle)
    if of_bundle and args.write is None:
        raise ValueError("--write BUNDLE: where is one with the new grids to go? A bundle itself is never changed")
    from export.runtime.noise import check_seed
    from trainer.data.dataset import open_dataset
    from trainer.evaluate.evaluation import check_samples
    from trainer.evaluate.extractor import open_enetlite0
    from trainer.evaluate.gridsearch import family_of
    from trainer.evaluate.store import Store, default_folder
    from trainer.evaluate.trial import Trial

    check_samples(args.samples)
    check_seed(args.seed)
    check_seed(args.seed + 2 * args.samples)
    device, dataset = open_device(args.device), open_dataset(args.data)
    model, generator = open_model(args, of_bundle, device)
    if not isinstance(model, Path):
        refuse_dependent(model.manifest)
    known = sorted(count for count in generator.grids if count > 1)
    counts = read_steps(args.steps, known, STEPS)
    if not counts:
        raise ValueError(f"{generator.name} has a grid of one step only; there are no times to search")
    begun = {}
    for count in counts:
        try:
            begun[count] = family_of(generator.grid(count), generator.span)
        except ValueError as error:
            raise ValueError(f"{generator.name}, {count} steps: {str(error).removeprefix('--steps ')}") from None
    extractor = open_enetlite0(*generator.size, device)
    trial = Trial(generator, dataset, args.samples, args.seed, REAL, Store(args.cache or default_folder()), extractor)
    found, grids = {}, dict[int, "Grid"]()
    for count, (family, times) in begun.items():
        line, grid = trial.search(count, family, times)
        found[str(count)] = line
        print(told(count, line), flush=True)
        if grid is not None:
            grids[count] = grid
    if not grids:
        print("no grid was better than the model's own by 1 %; nothing is written")
        return 0
    keep(args, model, grids, {**trial.about(), "steps": found}, device)
    return 0


def refuse_dependent(manifest: Manifest) -> None:
    """Raise ValueError for a bundle that has something which was made with its grids."""
    from export.runtime.manifest import unrolled_file

    unrolled = [unrolled_file(steps) for steps in manifest.steps if unrolled_file(steps) in manifest.files]
    further = [precision for precision in manifest.precisions if precision != "fp32"]
    for there, what in (
        (unrolled, f"holds {', '.join(unrolled)}"),
        (further, f"has {', '.join(further)}, checked on samples of its grids"),
        (manifest.quality, "tells figures of its grids"),
    ):
        if there:
            raise ValueError(
                f"{manifest.name} {what}: search the grids first, of the checkpoint or of a bundle without that, and "
                "then make the rest"
            )


def told(count: int, line: dict[str, Any]) -> str:
    """What came of a step count, for a person."""
    before, after = (", ".join(f"{time:g}" for time in line[name]) for name in ("before", "searched"))
    if before == after:
        return f"{count} steps: nothing better than {before} was found"
    first, second = line["kid_enetlite0"]
    verdict = "taken" if line["taken"] else "not taken, which is for 1 % or more"
    return f"{count} steps: {before} -> {after}; kid_enetlite0 on other seeds {first:.4g} -> {second:.4g}: {verdict}"


def keep(
    args: argparse.Namespace, model: Bundle | Path, grids: dict[int, Grid], found: dict[str, Any], device: torch.device
) -> None:
    """Write the grids where a model has them, the config last, and say where."""
    from export.runtime.target import write_files
    from models.card_section import without_evaluation
    from models.checkpoint import load_checkpoint, read_config
    from trainer.card import SAMPLES_FILE, samples_of
    from trainer.evaluate.command import CARD, PANEL, RESULTS

    text = (json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    plain = {str(count): [tuple(step) for step in grid] for count, grid in grids.items()}
    if not isinstance(model, Path):
        changed = {"grids": {**model.manifest.grids, **plain}}
        card = {CARD: without_evaluation(model.read(CARD))} if CARD in model.manifest.files else {}
        written = write_again(model, args.write, changed, {FOUND: text, **card}, args.force, (RESULTS, PANEL))
        print(f"wrote {written.path} ({written.manifest.digest})")
        if RESULTS in model.manifest.files:
            print(MEASURE_AGAIN.format(model=written.path, data=args.data))
        if SAMPLES_FILE in written.manifest.files:
            print(f"{SAMPLES_FILE} there is of the grids before; of a checkpoint it is drawn again")
        return
    check_there(model)
    config = read_config(model)
    config = config.model_copy(update={"grids": {**config.grids, **plain}})
    flow_map, _ = load_checkpoint(model)
    drawn = samples_of(config, flow_map.to(device))
    written_config = (config.model_dump_json(indent=2) + "\n").encode()
    measured, card_file = (model / RESULTS).is_file(), model / CARD
    section = {card_file: without_evaluation(card_file.read_bytes())} if measured and card_file.is_file() else {}
    write_files({model / SAMPLES_FILE: drawn, model / FOUND: text, **section, model / "config.json": written_config})
    for file in (RESULTS, PANEL) if measured else ():
        (model / file).unlink(missing_ok=True)
    print(f"wrote the grids into {model / 'config.json'}, and {FOUND}; drew {SAMPLES_FILE} again with them")
    if measured:
        print(MEASURE_AGAIN.format(model=model, data=args.data))
