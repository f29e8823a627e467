"""What is to be compiled: library, GPUs, precisions, batches; settled before any long work begins."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from export.runtime.engines.libraries import CURRENT, LIBRARIES, Library, load_library, targets_ahead
from export.runtime.engines.machine import Gpu, find_gpu, has_cupy
from export.runtime.engines.tensorrt import Range
from export.tensorrt.arguments import MAX_BATCH
from export.tensorrt.compile import batch_ranges

COMPILED = ("fp32", "fp16")
"""Precisions that engines are compiled in."""


@dataclass(frozen=True)
class Order:
    """A checked wish for engines."""

    library: Library
    module: Any
    """The library, loaded."""
    targets: tuple[str, ...]
    """What the library is told: [CURRENT], or names such as sm80."""
    gpu: Gpu | None
    """This machine's GPU."""
    ranges: tuple[Range, ...]
    precisions: tuple[str, ...] = COMPILED
    """Those wanted, as far as the bundle has graphs in them."""
    cupy: bool = True
    """Whether CuPy is here, without which no engine runs."""

    @property
    def target(self) -> str:
        """The GPUs that the engines run on, as manifests have it."""
        if self.targets == (CURRENT,):
            assert self.gpu is not None
            return self.gpu.target
        return ",".join(self.targets)

    @property
    def fits(self) -> bool:
        """Whether the engines run on this machine's GPU."""
        return self.gpu is not None and self.gpu.target in self.target.split(",")

    @property
    def runs(self) -> bool:
        """Whether they can be run here at once."""
        return self.fits and self.cupy


def read_order(args: argparse.Namespace) -> Order | None:
    """The order of a command line, None for one without --tensorrt.

    Raises ValueError, before any work, if it cannot be carried out.
    """
    if not args.tensorrt:
        given = {"--target": args.target, "--library": args.library, "--max-batch": args.max_batch}
        if stray := next((flag for flag, value in given.items() if value is not None), None):
            raise ValueError(f"{stray} is about compiled engines; give --tensorrt too")
        return None
    wanted = parse_targets(CURRENT if args.target is None else args.target)
    ranges = batch_ranges(MAX_BATCH if args.max_batch is None else args.max_batch)
    found = find_gpu()
    gpu, no_gpu = (None, found) if isinstance(found, str) else (found, "")
    library, module = pick_library(args.library, wanted)
    targets = settle(wanted, library, targets_ahead(library, module), gpu, no_gpu)
    named = COMPILED if args.precision is None else [part.strip() for part in args.precision.split(",")]
    precisions = tuple(precision for precision in COMPILED if precision in named)
    if not precisions:
        raise ValueError(f"--precision {args.precision}: engines are compiled in {' and '.join(COMPILED)}; name one")
    return Order(library, module, targets, gpu, ranges, precisions, has_cupy())


def parse_targets(text: str) -> tuple[str, ...]:
    """`sm80,sm89` -> (sm80, sm89), without repetitions; ValueError for what is not written like a target."""
    targets = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    for target in targets:
        if target != CURRENT and not (target.startswith("sm") and target[2:].isdecimal()):
            raise ValueError(
                f"--target {shlex.quote(text)}: {target!r} is no GPU; write 'current', or sm80,sm89 and the like"
            )
    if CURRENT in targets and len(targets) > 1:
        raise ValueError(f"--target {text}: 'current' stands alone")
    return targets


def pick_library(name: str | None, targets: Sequence[str]) -> tuple[Library, Any]:
    """The library, loaded: the one named; else TensorRT for this machine's GPU where it is installed; else RTX."""
    if name is not None:
        return LIBRARIES[name], load_library(LIBRARIES[name])
    if tuple(targets) == (CURRENT,):
        full = LIBRARIES["tensorrt"]
        if importlib.util.find_spec(full.module) is not None:
            return full, load_library(full)
    return LIBRARIES["tensorrt-rtx"], load_library(LIBRARIES["tensorrt-rtx"])


def settle(
    wanted: tuple[str, ...], library: Library, ahead: Sequence[str], gpu: Gpu | None, no_gpu: str
) -> tuple[str, ...]:
    """What the library is told for the targets that are `wanted`; `ahead` are those it knows without having them.

    Raises ValueError for `current` without a GPU, and for a target that the library cannot compile for here.
    """
    here = gpu.target if gpu is not None else None
    if wanted == (CURRENT,) or (wanted == (here,) and here not in ahead):
        if gpu is None:
            hint = f"name the GPUs, such as --target {','.join(ahead[1:3])}" if ahead else "compile where there is one"
            raise ValueError(f"--target current: this machine has no GPU: {no_gpu}; {hint}")
        return (CURRENT,)
    if unknown := [target for target in wanted if target not in ahead]:
        known = (
            f"only for {', '.join(ahead)}, and for the GPU of this machine" if ahead else "only for a GPU that is there"
        )
        at_hand = here or "none"
        raise ValueError(f"{library.backend} does not compile for {', '.join(unknown)}, {known} ({at_hand})")
    return wanted
