"""Train a flow map: a recipe and a data set in, checkpoints out.

The run directory explains itself in its README.md; it holds the resolved recipe, the log, and the newest and the best
checkpoints, each with a model card and samples. `--resume` goes on from the last one, and Ctrl-C or SIGTERM saves one
before leaving. For example:

    longjump train --list
    longjump data build points --out runs/gauss
    longjump train points/meanflow --data runs/gauss --dry-run
    longjump train points/meanflow --data runs/gauss --out runs/first --set run.steps=2000

Any setting of the recipe is changed by --set, whose value is YAML; --dry-run prints all of them:

    --set run.batch=128 --set optimiser.lr=3e-4 --set 'run.ema=[0.05, 0.1]' --set optimiser.schedule=cosine

Several processes, one GPU each: torchrun --nproc_per_node 8 "$(which longjump)" train ...
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, cast

from trainer.recipes import shipped

if TYPE_CHECKING:
    from trainer.company import Lenders, Role
    from trainer.data.dataset import Dataset
    from trainer.recipe import Recipe
    from trainer.training import Training

SPEAKS = 10.0
"""Seconds in which the process that knows better may report an error, and torchrun end all, before another one does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `longjump train`."""
    parser.add_argument("recipe", metavar="RECIPE", nargs="?",
                        help="a .yaml file, or the name DATA/METHOD of a shipped one, such as points/meanflow, for "
                             f"{', '.join(sorted({name.partition('/')[0] for name in shipped()}))}")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="show the recipes there are, and leave")
    parser.add_argument("--data", metavar="PATH", type=Path, help="data set folder, or an npz file; required")
    parser.add_argument("--out", metavar="DIR", type=Path,
                        help="run directory, new or empty; required but for --dry-run")  # fmt: skip
    parser.add_argument("--set", metavar="A.B=C", action="append", default=[], dest="overrides",
                        help="override a value of the recipe; may be given again. model.network=unet, say, also drops "
                             "the recipe's settings that only the other network has")  # fmt: skip
    parser.add_argument("--teacher", metavar="CHECKPOINT", type=Path,
                        help="the trained model that a distilling method learns from, a checkpoint or a run directory "
                             "('longjump methods' says which methods do)")  # fmt: skip
    parser.add_argument(
        "--weak-teacher",
        metavar="CHECKPOINT",
        type=Path,
        help="a worse one (smaller, or trained for less) that autoguidance leads away from",
    )
    parser.add_argument(
        "--init", metavar="CHECKPOINT", type=Path, help="begin with the weights of a trained network of the same shape"
    )
    parser.add_argument("--dry-run", action="store_true",
                        help="print the resolved recipe and what the run would cost here, by doing a few steps; "
                             "writes nothing")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    parser.add_argument("--track", choices=("tensorboard", "wandb"), default=None,
                        help="show the log and the samples there too: tensorboard writes into DIR/tensorboard, wandb "
                             "sends them away")  # fmt: skip
    parser.add_argument("--device", default=None, help="cpu, cuda, ... (default: the accelerator if there is one)")
    parser.add_argument("--threads", type=_count, default=None, metavar="N", help="CPU threads (default: all cores)")


def run(args: argparse.Namespace) -> int:
    """Run `longjump train`."""
    if args.list:
        from trainer.listing import recipe_list

        print(recipe_list())
        return 0
    _check_required(args)
    code = _first_reports(lambda: _run(args))
    _leave_others(code)
    return code


def _run(args: argparse.Namespace) -> int:
    import torch

    from trainer.data.dataset import open_dataset
    from trainer.processes import Processes, own_device
    from trainer.recipe import load_recipe
    from trainer.start import read_lenders, settle
    from trainer.track import check_tracker
    from trainer.training import Diverged

    if args.threads:
        torch.set_num_threads(args.threads)
    device = own_device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    _check_device(device)
    roles = {"teacher": args.teacher, "weak_teacher": args.weak_teacher, "init": args.init}
    given = {cast("Role", role): path for role, path in roles.items() if path is not None}
    with Processes(device).together():  # of what is wrong for all of them one tells
        recipe, told = settle(load_recipe(args.recipe, args.overrides), given)
        check_tracker(args.track)
        dataset = open_dataset(args.data)
        lenders = read_lenders(given)
    try:
        if args.dry_run:
            return _rehearse(recipe, dataset, device, lenders, told)
        return _train(recipe, dataset, device, args, lenders, told)
    except Diverged as error:
        raise ValueError(str(error)) from error
    except torch.OutOfMemoryError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{device} has too little memory for this; try a larger run.accumulate or a smaller run.batch ({reason})"
        ) from error


def _rehearse(recipe: Recipe, dataset: Dataset, device: str, lenders: Lenders, told: list[str]) -> int:
    """Print the recipe, and as comments below it what it would cost, so that the output is a recipe."""
    from trainer.rehearsal import rehearse, resolved

    found = rehearse(recipe, dataset, device, lenders)
    if _rank() == 0:
        print(resolved(recipe))
        print("\n".join(f"# {line}" for line in (*told, *str(found).splitlines())))
    return 0


def _train(
    recipe: Recipe, dataset: Dataset, device: str, args: argparse.Namespace, lenders: Lenders, told: list[str]
) -> int:
    from tqdm import tqdm

    from trainer.loop import train
    from trainer.rehearsal import network_cost

    def begin(training: Training) -> None:
        method, count = recipe.objective.method, training.processes.count
        where = training.processes.device if count == 1 else f"{count} processes"
        print(f"{method} on {dataset.name}: {recipe.run.steps:,} steps of {recipe.run.batch} on {where}")
        print("\n".join([*told, str(network_cost(training))]), flush=True)

    with StopSignal() as stop:
        checkpoint = train(
            recipe,
            dataset,
            args.out,
            resume=args.resume,
            device=device,
            stop=stop,
            track=args.track,
            lenders=lenders,
            command=shlex.join(["longjump", *sys.argv[1:]]),
            begin=begin,
            tell=lambda text: tqdm.write(text, file=sys.stdout),
        )
    # Of several processes any may have been told; where it ended is the same for all.
    stopped = int(checkpoint.name.removeprefix("step-")) < recipe.run.steps
    if _rank() == 0:
        if stopped:
            print("stopped; go on with the same command and --resume")
        else:
            best = args.out / "best"
            print(f"done: {checkpoint}")
            decoded = " --autoencoder FOLDER" if "latents" in dataset.info else ""
            print(f"next: longjump export {best if best.is_dir() else checkpoint}{decoded} --out BUNDLE")
    # As a shell has it, so that what follows a finished run does not follow this one.
    return 128 + (stop.received or signal.SIGTERM) if stopped else 0


def _check_required(args: argparse.Namespace) -> None:
    if args.recipe is None:
        raise ValueError("which recipe? longjump train RECIPE --data PATH --out DIR; --list shows those there are")
    if args.data is None:
        raise ValueError(f"on which data? longjump train {args.recipe} --data PATH, a data set folder or an npz file")
    if args.out is None and not args.dry_run:
        raise ValueError("into which folder? --out DIR, a new one (or --dry-run, which writes nothing)")


def _rank() -> int:
    """Number of this process among those that torchrun started; 0 alone."""
    return int(os.environ.get("RANK", "0"))


def _first_reports(run: Callable[[], int]) -> int:
    """Run, so that of an error on several processes one speaks: the first where all have it, as of a bad recipe."""
    import torch

    from trainer.processes import FailedElsewhere

    try:
        return run()
    except FailedElsewhere:
        time.sleep(SPEAKS)  # torchrun ends all others once one has ended
        return 2
    except (ValueError, OSError) as error:
        if _rank() == 0:
            raise
        if not torch.distributed.is_initialized():
            time.sleep(SPEAKS)
        raise ValueError(f"process {_rank()}: {error}") from error


def _leave_others(code: int) -> None:
    """Of several processes whose work is done: end this one, past Python's own shutdown.

    There a thread of gloo that still holds a tensor can ask for an interpreter which is gone already. Then the process
    dies by SIGABRT after all was saved, rarely, and torchrun calls the training failed.
    """
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
        torch.Generator(device)
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that it does not know or have it
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {device} cannot be used: {reason}") from None


class StopSignal:
    """True once SIGTERM or SIGINT came; a second SIGINT interrupts at once. Within `with`, in the main thread.

    Not under torchrun, which hands on the SIGINT that the terminal has already sent: there a second one says nothing.
    """

    def __init__(self) -> None:
        self.received = 0
        """Number of the signal that came."""

    def __enter__(self) -> StopSignal:
        self.before = [(number, signal.signal(number, self._receive)) for number in (signal.SIGTERM, signal.SIGINT)]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before:
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received, number
        # os.write, because a handler may come in the middle of a print.
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(2, b"\nsaving after this step, then leaving; Ctrl-C again leaves at once\n")
        elif not again and _rank() == 0:
            os.write(2, b"\nsaving after this step, then leaving\n")

    def __call__(self) -> bool:
        return self.received != 0
