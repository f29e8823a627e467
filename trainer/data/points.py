"""Points: N samples of a known distribution in D dimensions, where the right answer is known, or your own.

gaussian          --mean 0.7 --std 0.4; no labels
mixture           isotropic Gaussians; repeat --mean, --std and --weight per component (--mean=-1,2 in the
                  plane); labels are the components; default 0.3 N(-1.5, 0.3^2) + 0.7 N(1, 0.5^2)
eight-gaussians   on a circle of radius 2 in the plane, std 0.2; labels are the directions
checkerboard      the 8 dark squares of a 4 x 4 board on [-2, 2]^2; no labels
two-moons         two half circles with noise of --std 0.1; labels are the moons
--from FILE.npz   float x [N, D] and optional integer labels [N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data import npz
from trainer.data.arrays import Split, check_labels
from trainer.data.distributions import (
    Distribution,
    check_numbers,
    checkerboard,
    eight_gaussians,
    gaussians,
    two_moons,
)
from trainer.data.folder import Built

LICENCE = "CC0-1.0"  # of generated points: numbers from a formula
DEFAULT_KIND, DEFAULT_TRAIN, DEFAULT_TEST = "gaussian", 100_000, 10_000
SPLIT_STREAMS = {"train": 0, "test": 1}  # second key word of Philox: the splits' streams do not overlap


def sample_split(distribution: Distribution, n: int, seed: int, split: str) -> Split:
    """`n` points, a function of the arguments only. Raises ValueError when a class got none of them."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, SPLIT_STREAMS[split]], np.uint64)))
    x, component = distribution.draw(rng, n)
    content = Split(x.astype(np.float32), component.astype(np.int64) if distribution.classes else None)
    check_labels(content, distribution.classes, f"{n} {split} points", every_class=split == "train")
    return content


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `longjump data build points`."""
    parser.add_argument("--kind", choices=KINDS, help=f"the distribution (default: {DEFAULT_KIND})")
    parser.add_argument("--mean", action="append", type=_vector, metavar="M,...", help="centre of a component")
    parser.add_argument("--std", action="append", type=float, metavar="S", help="standard deviation")
    parser.add_argument("--weight", action="append", type=float, metavar="W", help="share of a component")
    parser.add_argument("--train", type=int, metavar="N", help=f"training points (default {DEFAULT_TRAIN})")
    parser.add_argument("--test", type=int, metavar="N", help=f"test points, or 0 (default {DEFAULT_TEST})")
    parser.add_argument("--seed", type=int, help="another seed, other points (default 0)")
    parser.add_argument("--unlabelled", action="store_true", help="leave the labels out")
    npz.add_file_arguments(parser, required=False)


def build(args: argparse.Namespace, folder: Path) -> Built:
    """Generate the points that the arguments ask for, or read the user's own."""
    generating = {"--kind": args.kind, "--mean": args.mean, "--std": args.std, "--weight": args.weight,
                  "--train": args.train, "--test": args.test, "--seed": args.seed,
                  "--unlabelled": args.unlabelled or None}  # fmt: skip
    if args.train_file is not None:
        _refuse(generating, "--from (the points are in the file)")
        built = npz.build(args, folder)
        if built.kind != "points":
            raise ValueError(f"{args.train_file} holds images; use `longjump data build npz` for them")
        return built
    _refuse({"--test-from": args.test_file, "--classes": args.classes}, "generated points")
    kind, seed = args.kind or DEFAULT_KIND, args.seed or 0
    counts = {
        "train": DEFAULT_TRAIN if args.train is None else args.train,
        "test": DEFAULT_TEST if args.test is None else args.test,
    }
    check_numbers("--train", [counts["train"]], above=0)
    check_numbers("--test", [counts["test"]], above=-1)
    if not 0 <= seed < 2**64:
        raise ValueError(f"--seed is {seed}; it must be 0 to 2^64 - 1")
    distribution = KINDS[kind](args)
    if args.unlabelled:
        distribution = Distribution(distribution.draw, (), distribution.parameters)
    splits = {split: sample_split(distribution, n, seed, split) for split, n in counts.items() if n}
    generator = {"kind": kind, "seed": seed, **distribution.parameters}
    info = {"licence": args.licence or LICENCE, "generator": generator}
    return Built(args.name or kind, "points", list(distribution.classes), splits, info)


def _gaussian(args: argparse.Namespace) -> Distribution:
    _refuse({"--weight": args.weight}, "gaussian (it has one component; see mixture)")
    means = args.mean or [[0.7]]
    if len(means) > 1:
        raise ValueError(f"gaussian has one --mean, got {len(means)}; use --kind mixture")
    return gaussians(means, args.std or [0.4], [])


def _mixture(args: argparse.Namespace) -> Distribution:
    means, stds, weights = args.mean, args.std, args.weight
    if means is None and stds is None and weights is None:
        means, stds, weights = [[-1.5], [1.0]], [0.3, 0.5], [0.3, 0.7]
    if not means or not stds:
        raise ValueError("mixture needs --mean per component and --std (or none of --mean, --std, --weight)")
    return gaussians(means, stds, weights or [], tuple(str(index) for index in range(len(means))))


def _eight_gaussians(args: argparse.Namespace) -> Distribution:
    _refuse({"--mean": args.mean, "--weight": args.weight}, "eight-gaussians")
    return eight_gaussians(std=_one_std(args, 0.2))


def _checkerboard(args: argparse.Namespace) -> Distribution:
    _refuse({"--mean": args.mean, "--std": args.std, "--weight": args.weight}, "checkerboard")
    return checkerboard()


def _two_moons(args: argparse.Namespace) -> Distribution:
    _refuse({"--mean": args.mean, "--weight": args.weight}, "two-moons")
    return two_moons(_one_std(args, 0.1))


KINDS: dict[str, Callable[[argparse.Namespace], Distribution]] = {
    "gaussian": _gaussian,
    "mixture": _mixture,
    "eight-gaussians": _eight_gaussians,
    "checkerboard": _checkerboard,
    "two-moons": _two_moons,
}


def _one_std(args: argparse.Namespace, default: float) -> float:
    stds = args.std or [default]
    if len(stds) > 1:
        raise ValueError(f"{args.kind} has one --std, got {len(stds)}")
    return float(stds[0])


def _vector(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number or numbers with commas between") from None


def _refuse(given: dict[str, Any], what: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise ValueError(f"{option} does not apply to {what}")
