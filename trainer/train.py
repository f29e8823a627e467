"""Train a flow map: a recipe and a data set in, checkpoints out.

The run directory holds the resolved recipe, the log and the newest checkpoints, each with a model card and samples;
`--resume` goes on from the last one, and Ctrl-C or SIGTERM saves one before leaving. For example:

    longjump data build points --out runs/gauss
    longjump train points/meanflow --data runs/gauss --out runs/first --set run.steps=2000
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from types import FrameType

from trainer.recipes import shipped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `longjump train`."""
    parser.add_argument("recipe", metavar="RECIPE", help=f"a .yaml file, or one of {', '.join(shipped())}")
    parser.add_argument("--data", metavar="PATH", required=True, type=Path, help="data set folder, or an npz file")
    parser.add_argument("--out", metavar="DIR", required=True, type=Path, help="run directory, new or empty")
    parser.add_argument("--set", metavar="A.B=C", action="append", default=[], dest="overrides",
                        help="override a value of the recipe; may be given again. model.network=unet, say, also drops "
                             "the recipe's settings that only the other network has")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    parser.add_argument("--device", default=None, help="cpu, cuda, ... (default: the accelerator if there is one)")
    parser.add_argument("--threads", type=_count, default=None, metavar="N", help="CPU threads (default: all cores)")


def run(args: argparse.Namespace) -> int:
    """Run `longjump train`."""
    import torch

    from trainer.data.dataset import open_dataset
    from trainer.loop import train
    from trainer.recipe import load_recipe
    from trainer.training import Diverged

    recipe = load_recipe(args.recipe, args.overrides)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    _check_device(device)
    dataset = open_dataset(args.data)
    print(
        f"{recipe.objective.method} on {dataset.name}: {recipe.run.steps} steps of {recipe.run.batch} on {device}",
        flush=True,
    )
    with StopSignal() as stop:
        try:
            checkpoint = train(recipe, dataset, args.out, resume=args.resume, device=device, stop=stop)
        except Diverged as error:
            raise ValueError(str(error)) from error
        except torch.OutOfMemoryError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{device} has too little memory for this; try a smaller run.batch ({reason})") from error
    if stop() and checkpoint.name != f"step-{recipe.run.steps:08d}":
        print(f"stopped: {checkpoint} is saved; go on with --resume")
        return 128 + stop.received  # as a shell has it, so that what follows a finished run does not follow this one
    print(f"done: {checkpoint}\nnext: longjump export {checkpoint} --out BUNDLE")
    return 0


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
    """True once SIGTERM or SIGINT came; a second SIGINT interrupts at once. Within `with`, in the main thread."""

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
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # os.write, because a handler may come in the middle of a print.
        os.write(2, b"\nsaving after this step, then leaving; Ctrl-C again leaves at once\n")

    def __call__(self) -> bool:
        return self.received != 0
