"""The road of rows to a GPU and back: fixed buffers there, page-locked memory here, everything queued on one stream.

One block on the device holds all inputs, the main one last, and two slots of page-locked memory mirror it: an
evaluation takes one copy, of no more than its rows. Where rows fill several evaluations the slots take turns, so that
one is filled and emptied while the GPU works on the other. Addresses never change, as bindings and CUDA graphs need it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.runtime.engines.device import Buffer, Device, Mark
from export.runtime.gpu.buckets import Part, split
from export.runtime.gpu.noise import NO_SEED
from export.runtime.noise import INITIAL_STEP

ALIGNMENT = 256
"""Bytes that addresses are multiples of, as TensorRT wants them."""

SEEDS, STEPS = "seeds", "steps"


class Tensor(NamedTuple):
    """One input or output of a graph, without its batch."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return math.prod(self.shape) * self.dtype.itemsize


_WORD = Tensor((), np.dtype(np.uint64))


def layout(inputs: Mapping[str, Tensor], rows: int) -> tuple[dict[str, int], int]:
    """Where each of the inputs begins in a block that takes `rows` rows of all, in their order; the block's size."""
    offsets, end = {}, 0
    for name, tensor in inputs.items():
        offsets[name] = end
        end += -(-rows * tensor.row_bytes // ALIGNMENT) * ALIGNMENT
    return offsets, end


class Road:
    """Carries rows of one graph. Safe to call from several threads, one at a time."""

    def __init__(
        self,
        device: Device,
        inputs: Mapping[str, Tensor],
        output: tuple[str, Tensor],
        sizes: Sequence[int],
        draws: bool = False,
    ) -> None:
        """The main one of `inputs` is its first. Graphs run in batches of the rising `sizes`. With `draws` the main
        input of a row may be noise that is made on the device."""
        self._device = device
        self._main, *others = inputs
        words = {SEEDS: _WORD, STEPS: _WORD} if draws else {}
        self._inputs = {**words, **{name: inputs[name] for name in others}, self._main: inputs[self._main]}
        self._output, self._result = output
        self._sizes = sizes
        self._offsets, size = layout(self._inputs, sizes[-1])
        self._block = device.allocate(size)
        self._out = device.allocate(sizes[-1] * self._result.row_bytes)
        self._slots = [_Slot(device, self._inputs, self._offsets, size, self._result, sizes[-1]) for _ in range(2)]
        self._lock = threading.Lock()
        self.addresses: dict[str, int] = {
            **{name: self._block.pointer + self._offsets[name] for name in inputs},
            self._output: self._out.pointer,
        }
        """Of the graph's inputs and its output, on the device."""

    def run(
        self,
        values: Mapping[str, NDArray[Any]],
        evaluate: Callable[[int], None],
        seeds: NDArray[np.uint64] | None = None,
    ) -> NDArray[Any]:
        """The graph's output for rows of `values`, a new array.

        `evaluate` queues one evaluation of a bucket on the device's stream. Row i starts from the noise of seeds[i],
        u64 [rows], where that is below NO_SEED; its main input is not read.
        """
        result = np.empty((len(values[self._main]), *self._result.shape), dtype=self._result.dtype)
        with self._lock:
            try:
                for turn, part in enumerate(split(len(result), self._sizes)):
                    slot = self._slots[turn % len(self._slots)]
                    slot.land()
                    self._send(slot, part, values, seeds)
                    evaluate(part.bucket)
                    slot.fetch(self._out, result[part.first : part.first + part.rows])
                for slot in self._slots:
                    slot.land()
            except BaseException:
                self._device.synchronise()  # what was queued still uses the slots
                for slot in self._slots:
                    slot.forget()
                raise
        return result

    def _send(
        self, slot: _Slot, part: Part, values: Mapping[str, NDArray[Any]], seeds: NDArray[np.uint64] | None
    ) -> None:
        """Queue the copy of a part's rows, and their noise."""
        rows = slice(part.first, part.first + part.rows)
        for name, given in values.items():
            if name != self._main:
                slot.inputs[name][: part.rows] = given[rows]
        size = self._offsets[self._main]
        own = None if seeds is None else seeds[rows]
        if own is None or own.max() >= NO_SEED:  # else all of it is noise, and nothing else need be sent
            slot.inputs[self._main][: part.rows] = values[self._main][rows]
            size += part.rows * self._inputs[self._main].row_bytes
        if own is not None:
            slot.inputs[SEEDS][: part.rows] = own
            slot.inputs[STEPS][: part.rows] = INITIAL_STEP
        if size:
            self._block.upload(slot.sent[:size])
        if own is not None:
            seeds_at, steps_at = (self._block.pointer + self._offsets[name] for name in (SEEDS, STEPS))
            count = math.prod(self._inputs[self._main].shape)
            self._device.noise(seeds_at, steps_at, self.addresses[self._main], count, part.rows)


class _Slot:
    """Page-locked memory for one evaluation, and where its output is to go."""

    def __init__(
        self,
        device: Device,
        inputs: Mapping[str, Tensor],
        offsets: Mapping[str, int],
        size: int,
        result: Tensor,
        rows: int,
    ) -> None:
        self._device = device
        self.sent = device.pinned(size)
        self.inputs = {
            name: self.sent[offsets[name] : offsets[name] + rows * tensor.row_bytes]
            .view(tensor.dtype)
            .reshape(rows, *tensor.shape)
            for name, tensor in inputs.items()
        }
        self._back = device.pinned(rows * result.row_bytes).view(result.dtype).reshape(rows, *result.shape)
        self._to: tuple[NDArray[Any], Mark] | None = None

    def fetch(self, out: Buffer, to: NDArray[Any]) -> None:
        """Queue the copy of the output, which `land` brings to `to`."""
        out.download(self._back[: len(to)])
        self._to = to, self._device.mark()

    def land(self) -> None:
        """Wait for what was fetched, if there is something, and hand it over: the slot is free after that."""
        if self._to is not None:
            to, done = self._to
            done.wait()
            to[...] = self._back[: len(to)]
            self._to = None

    def forget(self) -> None:
        """Free the slot."""
        self._to = None
