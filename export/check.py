"""What a graph must pass before it becomes a bundle: signature, trial run, parity, batch invariance. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.runtime.engines.feed import named
from export.runtime.grids import DYADIC_FINEST, Span
from export.runtime.manifest import Guidance
from export.runtime.sampler import Jump, noise_rows

TOLERANCE = 1e-4
"""The largest absolute difference between a graph and its checkpoint, and between jump(z, t, t) and z."""

BATCHES = (1, 2, 3, 7)
"""The batch sizes of a trial run and of the comparison with a checkpoint."""

INVARIANT_UP_TO = 16
"""Batch invariance is tested for B = 1 to this."""

_TIMES: dict[Span, tuple[tuple[float, float], ...]] = {
    "velocity": ((1.0, 0.0), (1.0, 0.9), (0.7, 0.3), (0.5, 0.5), (0.2, 0.0)),
    "endpoint": ((1.0, 0.0), (0.9, 0.0), (0.5, 0.0), (0.2, 0.0), (0.05, 0.0)),
    "any": ((1.0, 0.0), (1.0, 0.5), (0.7, 0.3), (0.5, 0.5), (0.2, 0.0)),
    "dyadic": ((1.0, 0.0), (1.0, 0.5), (0.75, 0.5), (0.5, 0.0), (1 / DYADIC_FINEST, 0.0)),
}


@dataclass(frozen=True)
class Rows:
    """The inputs of a call: z f32 [B, *z_shape], t, s f32 [B], label i64 [B], guidance f32 [B] or None."""

    z: NDArray[np.float32]
    t: NDArray[np.float32]
    s: NDArray[np.float32]
    label: NDArray[np.int64]
    guidance: NDArray[np.float32] | None

    def through(self, jump: Jump) -> NDArray[np.float32]:
        """What the jump makes of these rows."""
        return jump(self.z, self.t, self.s, self.label, self.guidance)

    def take(self, index: NDArray[np.int64]) -> Rows:
        """Some of the rows, in the order of `index`."""
        guidance = None if self.guidance is None else self.guidance[index]
        return Rows(self.z[index], self.t[index], self.s[index], self.label[index], guidance)


def trial_rows(
    count: int,
    z_shape: Sequence[int],
    labels: int,
    span: Span,
    t_max: float = 1.0,
    guidance: Guidance | None = None,
    first: int = 0,
) -> Rows:
    """`count` rows that differ in everything: times of the span, all labels and the null one, guidance.

    Row i is the same whatever the count; `first` is the number of the first one.
    """
    times = [pair for pair in _TIMES[span] if pair[0] == 1.0 or pair[0] <= t_max]
    numbers = range(first, first + count)
    t, s = (np.array([times[i % len(times)][end] for i in numbers], dtype=np.float32) for end in (0, 1))
    scales = None
    if guidance is not None:
        # The named ones, then spread over the range by the golden ratio: in step with neither times nor labels.
        named, width = (guidance.default, guidance.min, guidance.max), guidance.max - guidance.min
        spread = (named[i] if i < 3 else guidance.min + width * (i * 0.618034 % 1) for i in numbers)
        scales = np.array(list(spread), dtype=np.float32)
    # The null label comes first, so that even a single row of a model without labels is right.
    label = np.array([labels - i % (labels + 1) for i in numbers], dtype=np.int64)
    return Rows(noise_rows(numbers, 0, z_shape), t, s, label, scales)


def graph_jump(session: ort.InferenceSession) -> Jump:
    """A session of a jump graph as a jump."""

    def jump(
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        z_s: NDArray[np.float32] = session.run(["z_s"], named(z, t, s, label, guidance))[0]
        return z_s

    return jump


def check_jump_signature(session: ort.InferenceSession, where: str, z_shape: Sequence[int], guidance: bool) -> None:
    """Raise ValueError, with the wrong name, unless the graph is jump(z, t, s, label[, guidance]) -> z_s."""
    expected = {
        "z": ("tensor(float)", tuple(z_shape)),
        "t": ("tensor(float)", ()),
        "s": ("tensor(float)", ()),
        "label": ("tensor(int64)", ()),
    }
    found = [node.name for node in session.get_inputs()]
    if guidance:
        expected["guidance"] = ("tensor(float)", ())
    elif "guidance" in found:
        raise ValueError(f"{where} has an input guidance: give its range, --guidance MIN:MAX:DEFAULT")
    if sorted(found) != sorted(expected):
        raise ValueError(f"{where} has the inputs {', '.join(found)}; it must have {', '.join(expected)}")
    for node in session.get_inputs():
        _check_value(node, where, "input", *expected[node.name])
    outputs = session.get_outputs()
    if [node.name for node in outputs] != ["z_s"]:
        names = ", ".join(node.name for node in outputs)
        raise ValueError(f"{where} has the outputs {names}; it must have one, z_s")
    _check_value(outputs[0], where, "output", "tensor(float)", tuple(z_shape))


def check_decode(session: ort.InferenceSession, where: str, z_shape: Sequence[int]) -> tuple[int, int, int]:
    """The [H, W, 3] of a decode graph's images; ValueError unless it is decode(z) -> u8 [B, H, W, 3].

    The graph is run at each of BATCHES.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [node.name for node in inputs] != ["z"] or len(outputs) != 1:
        names = ", ".join(node.name for node in (*inputs, *outputs))
        raise ValueError(f"{where} must have one input, z, and one output, not {names}")
    _check_value(inputs[0], where, "input", "tensor(float)", tuple(z_shape))
    for batch in BATCHES:
        try:
            images = session.run(None, {"z": noise_rows(range(batch), 0, z_shape)})[0]
        except Exception as error:  # the library's exceptions share no base class
            raise ValueError(f"{where} fails at batch {batch}: {' '.join(str(error).split())}") from error
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[0] != batch or images.shape[3] != 3:
            raise ValueError(
                f"{where} gives {images.dtype} {list(images.shape)} for a batch of {batch}; "
                f"it must give uint8 [{batch}, H, W, 3]"
            )
    return images.shape[1], images.shape[2], 3


def trial_run(
    jump: Jump, where: str, z_shape: Sequence[int], labels: int, span: Span, t_max: float, guidance: Guidance | None
) -> None:
    """Run a jump at each of BATCHES; ValueError if it fails, gives another shape or type, or is no jump.

    Its values must be finite and, for the spans `any` and `velocity` (the others do not know s = t), it must
    leave z where it is when s = t. A graph that gives the average velocity u in place of z_s is found by that.
    """
    for batch in BATCHES:
        rows = trial_rows(batch, z_shape, labels, span, t_max, guidance)
        try:
            z_s = rows.through(jump)
        except Exception as error:  # the library's exceptions share no base class
            tried = f"batch {batch}, labels {rows.label.tolist()} ({labels} is the null label)"
            raise ValueError(f"{where} fails at {tried}: {' '.join(str(error).split())}") from error
        if z_s.dtype != np.float32 or z_s.shape != rows.z.shape:
            raise ValueError(f"{where} gives {z_s.dtype} {list(z_s.shape)} for z {list(rows.z.shape)}")
        if not np.isfinite(z_s).all():
            raise ValueError(f"{where} gives values that are not finite at batch {batch}")
    if span in ("any", "velocity"):
        still = Rows(rows.z, rows.t, rows.t, rows.label, rows.guidance)
        moved = float(np.abs(still.through(jump) - rows.z).max())
        if not moved <= TOLERANCE:
            raise ValueError(
                f"{where} moves z by {moved:.3g} when s = t, where a jump leaves it as it is; "
                "does the graph give the average velocity u in place of z_s = z - (t - s) u?"
            )


def parity(
    reference: Jump,
    jump: Jump,
    z_shape: Sequence[int],
    labels: int,
    span: Span,
    t_max: float = 1.0,
    guidance: Guidance | None = None,
) -> float:
    """The largest absolute difference of two jumps, at each of BATCHES and there at all trial times.

    Raises ValueError, with the batch and times, where it is above TOLERANCE or not a number.
    """
    worst = 0.0
    for batch in BATCHES:
        for first in range(len(_TIMES[span])):
            rows = trial_rows(batch, z_shape, labels, span, t_max, guidance, first)
            apart = np.abs(rows.through(jump) - rows.through(reference)).reshape(batch, -1).max(axis=1)
            row = int(np.argmax(apart))  # a NaN counts as the largest
            if not apart[row] <= TOLERANCE:
                raise ValueError(
                    f"the graph differs from the checkpoint by {apart[row]:.3g} (batch {batch}, t={rows.t[row]:g}, "
                    f"s={rows.s[row]:g}), more than {TOLERANCE:g}; no bundle was written"
                )
            worst = max(worst, float(apart[row]))
    return worst


def batch_invariant(jumps: Sequence[Jump], rows: Rows) -> bool:
    """Whether each row has the same bits alone and in every batch of 1 to all rows, in changing company and
    places.

    `jumps` are forms of one graph that must agree, such as sessions with other numbers of threads.
    """
    count = len(rows.z)
    order = np.arange(count)
    alone = np.concatenate([rows.take(order[i : i + 1]).through(jumps[0]) for i in range(count)])
    for jump in jumps:
        for batch in range(1, count + 1):
            index = np.roll(order, 5 * batch)[:batch]
            if rows.take(index).through(jump).tobytes() != alone[index].tobytes():
                return False
    return True


def _check_value(node: ort.NodeArg, where: str, role: str, type_: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless an input or output is [batch, *shape] of this type, the batch free."""
    found = list(node.shape)
    known = [size if isinstance(size, int) else None for size in found]
    fits = len(known) == 1 + len(shape) and all(a is None or a == b for a, b in zip(known[1:], shape))
    if node.type != type_ or not fits:
        wanted = ", ".join(map(str, ("batch", *shape)))
        raise ValueError(f"{where}: {role} {node.name} is {node.type} {found}, it must be {type_} [{wanted}]")
    if known[0] is not None:
        raise ValueError(
            f"{where}: the batch of {role} {node.name} is fixed to {known[0]}; "
            "export the graph with a dynamic batch axis"
        )
