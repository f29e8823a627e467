"""What commands that start workers share (`longjump serve`, `worker`, `bench`): flags, which bundles, how many."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from export.runtime.cores import available_cores
from export.runtime.flags import add_engine_arguments
from server.arguments import gpus, positive
from server.backend.supervisor import bundle_name

DEMO = Path(__file__).with_name("demo")


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of worker processes, which `longjump worker` has too."""
    workers = parser.add_argument_group("workers")
    workers.add_argument(
        "--cpu-workers",
        type=positive,
        default=1,
        metavar="N",
        help="worker processes of each bundle (default: %(default)s)",
    )
    workers.add_argument(
        "--gpus",
        type=gpus,
        default=(),
        metavar="LIST",
        help="one worker process of each bundle on each of these GPUs, in place of --cpu-workers: numbers or names as "
        "CUDA_VISIBLE_DEVICES takes them, such as 0,1,2,3 (default: the first one, where an engine uses a GPU)",
    )
    workers.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads of one network evaluation (default: the cores but one, divided among the workers)",
    )
    workers.add_argument(
        "--max-rows",
        type=positive,
        default=16,
        metavar="N",
        help="samples that share one network evaluation at most; the measured costs set how many do "
        "(default: %(default)s)",
    )
    workers.add_argument(
        "--hang-seconds",
        type=positive,
        default=30,
        metavar="S",
        help="a worker that has work and does not answer for so long is killed; its requests run again "
        "(default: %(default)s)",
    )
    add_engine_arguments(workers)
    workers.add_argument(
        "--cost-cache",
        type=Path,
        metavar="DIR",
        help="where measured costs are kept between starts (default: longjump/costs in the user's cache folder)",
    )


def count_workers(args: argparse.Namespace) -> int:
    """Worker processes of each bundle."""
    return len(args.gpus) or int(args.cpu_workers)


def default_threads(workers: int = 1) -> int:
    """Threads of a network evaluation: one core is left to HTTP, decoding and encoding, which would wait otherwise."""
    return max(1, (available_cores() - 1) // workers)


def check_names(bundles: Sequence[Path]) -> None:
    """ValueError if two bundles have one name, by which requests would choose."""
    folders: dict[str, Path] = {}
    for bundle in bundles:
        name = bundle_name(bundle)
        if name in folders:
            raise ValueError(
                f"{folders[name]} and {bundle} are both called {name!r}, and requests choose by name; "
                "export one again with another --name"
            )
        if name is not None:
            folders[name] = bundle


def default_bundle(path: Path | None) -> Path:
    """The folder to serve. FileNotFoundError that says what to do if it is not there."""
    if path is None:
        if not (DEMO / "manifest.json").exists():
            raise FileNotFoundError(f"there is no demo bundle at {DEMO}; name one: longjump serve BUNDLE")
        return DEMO
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such bundle")
    return path
