"""A compiled engine must agree with ONNX Runtime on this machine before its numbers are believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.runtime.bundle import Bundle
from export.runtime.engines.session import open_session
from export.runtime.engines.trial import Inputs, zeros
from export.runtime.manifest import Manifest, jump_file
from export.runtime.noise import INITIAL_STEP
from export.runtime.sampler import noise_rows

if TYPE_CHECKING:
    from export.runtime.engines import Engine

ROWS = 3

BOUND = 0.1
"""The largest difference from fp32 on the CPU, where z is of the size of 1: precisions cost less, faults more."""


def check_agreement(engine: Engine, bundle: Bundle) -> None:
    """ValueError if an engine that was never executed before disagrees with ONNX Runtime now."""
    entry = engine.choice.entry
    if entry.state == "executed":
        return
    apart = difference(engine, bundle)
    if not apart <= BOUND:
        raise ValueError(
            f"{entry.file} was never executed before, and here it differs from ONNX Runtime by {apart:.3g} "
            f"(at most {BOUND:g} is believed)"
        )


def difference(engine: Engine, bundle: Bundle) -> float:
    """The largest absolute difference of an engine's jump of noise from that of the fp32 graph on the CPU."""
    inputs = noise_inputs(bundle.manifest, ROWS)
    feed = {name: values for name, values in inputs._asdict().items() if values is not None}
    file = jump_file("fp32")
    (expected,) = open_session(bundle.read(file), str(bundle.path / file)).run(("z_s",), feed)
    apart: float = np.abs(engine.jump(*inputs) - expected).max()
    return float(apart)


def noise_inputs(manifest: Manifest, rows: int) -> Inputs:
    """Rows of noise on their way from 1 to 0, with labels in turn; spans of all kinds allow that jump."""
    labels = np.arange(rows, dtype=np.int64) % (manifest.null_label + 1)
    return zeros(manifest, rows)._replace(z=noise_rows(range(rows), INITIAL_STEP, manifest.z_shape), label=labels)
