"""From finished samples to sent replies, beside the ticks: decode, encode, send, and drop what nobody waits for."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.runtime.engines import Engine, Printing
from server.jobs import Job
from server.worker.imaging import decode, write
from server.worker.ticks import Finished, Seen

LANES = 1
"""Threads that decode and encode. A request stays in one lane, so its parts and its end leave in order."""

SPOT_PIXELS = 128 * 128
"""Images up to this size are encoded before another thread would have woken up, and so hold up nobody."""

Send = Callable[[dict[str, Any], Sequence[bytes]], None]
Fail = Callable[[Job, Exception], None]


class Writers:
    """Writes for the thread that runs the ticks, which alone calls its methods.

    A lane's queue needs no bound of its own: the API process sends no more jobs than it has room for in a worker, and
    counts them until they come back.
    """

    def __init__(self, engine: Engine, send: Send, fail: Fail, lanes: int = LANES) -> None:
        """`send` and `fail` are called from the lanes' threads too."""
        self._engine = engine
        self._jpeg = engine.jpeg if isinstance(engine, Printing) else None
        self._small = math.prod((engine.manifest.image_shape or (1,))[:2]) <= SPOT_PIXELS
        self._send = send
        self._fail = fail
        self._lanes = [_Lane(f"write-{number}") for number in range(lanes)]
        # What is still to be sent: (job id, steps it has taken). The ticks' thread adds and cancels, lanes take out.
        self._wanted: set[tuple[int, int]] = set()
        self.written = 0
        """Replies and parts whose turn to be encoded has come."""

    def write(self, finished: Sequence[Finished], idle: bool) -> None:
        """Send the replies of finished requests; a lone small image on the spot, if the device is `idle`."""
        lone = self._small and idle and len(finished) == 1 and finished[0].job.n == 1 and not self._wanted
        self._wanted.update([(done.job.id, done.job.steps) for done in finished])
        if lone:
            self._reply(finished)
            return
        for number, lane in enumerate(self._lanes):
            mine = [done for done in finished if done.job.id % len(self._lanes) == number]
            if mine:
                lane.submit(self._reply, mine)

    def show(self, parts: Sequence[Seen]) -> None:
        """Send parts of requests that are on their way."""
        self._wanted.update([(part.job.id, part.step) for part in parts])
        for part in parts:
            self._lanes[part.job.id % len(self._lanes)].submit(self._part, part)

    @property
    def writing(self) -> bool:
        """Whether a lane has something to encode."""
        return any(lane.busy for lane in self._lanes)

    def cancel(self, job_id: int) -> bool:
        """Drop what has not been sent of a request; whether there was something."""
        dropped = [self._claim(key) for key in list(self._wanted) if key[0] == job_id]
        return any(dropped)

    def beside(self, call: Callable[..., None], *arguments: object) -> None:
        """Call something slow without holding up the ticks."""
        self._lanes[-1].submit(call, *arguments)

    def _reply(self, finished: Sequence[Finished]) -> None:
        """Decode the requests together, then encode and send each."""
        finished = [done for done in finished if (done.job.id, done.job.steps) in self._wanted]
        if not finished:
            return
        start = time.monotonic()
        try:
            shown: Sequence[NDArray[np.generic] | Exception] = self._shown(finished)
        except Exception as error:
            # Once more, one by one, so that only those fail that cannot be decoded by themselves.
            shown = [self._decoded(done, error if len(finished) == 1 else None) for done in finished]
        seconds = time.monotonic() - start
        for done, pictures in zip(finished, shown, strict=True):
            self._finish(done, pictures, seconds)

    def _shown(self, finished: Sequence[Finished]) -> list[NDArray[np.generic]]:
        """What requests show, decoded together; the samples of `bitwise` ones each alone."""
        if not any(done.job.bitwise for done in finished):
            return decode(self._engine, [done.z for done in finished])
        return [
            np.concatenate([decode(self._engine, [sample])[0] for sample in done.z[:, None]])
            if done.job.bitwise
            else decode(self._engine, [done.z])[0]
            for done in finished
        ]

    def _decoded(self, done: Finished, known: Exception | None) -> NDArray[np.generic] | Exception:
        if known is not None:
            return known
        try:
            return self._shown([done])[0]
        except Exception as error:
            return error

    def _finish(self, done: Finished, pictures: NDArray[np.generic] | Exception, decode_seconds: float) -> None:
        """Encode and send one reply, if it is still wanted."""
        self.written += 1
        job, key = done.job, (done.job.id, done.job.steps)
        if key not in self._wanted:
            return
        start = time.monotonic()
        try:
            if isinstance(pictures, Exception):
                raise pictures
            blobs = write(job, pictures, self._jpeg)
            stages = [done.queue, done.network, decode_seconds, time.monotonic() - start]
        except Exception as error:
            if self._claim(key):
                self._fail(job, error)
            return
        if not self._claim(key):
            return
        try:
            self._send({"op": "done", "id": job.id, "labels": done.labels, "stages": stages}, blobs)
        except Exception as error:  # too long for a frame
            self._fail(job, error)

    def _claim(self, key: tuple[int, int]) -> bool:
        """Whether it is this caller's, of all threads, who takes it out: what is sent was not cancelled as well."""
        try:
            self._wanted.remove(key)
        except KeyError:
            return False
        return True

    def _part(self, part: Seen) -> None:
        """Decode, encode and send one part. One that cannot be is left out: the end of the request tells why."""
        self.written += 1
        key = (part.job.id, part.step)
        if key not in self._wanted:
            return
        try:
            blobs = write(part.job, decode(self._engine, [part.z])[0], self._jpeg)
            if key in self._wanted:
                self._send({"op": "part", "id": part.job.id, "step": part.step}, blobs)
        finally:
            self._wanted.discard(key)


class _Lane:
    """A thread that makes calls in order. Lighter than an executor: nobody waits for what they give."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., None], tuple[object, ...]]] = SimpleQueue()
        self._calling = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether a call is made or waits."""
        return self._calling or not self._calls.empty()

    def submit(self, call: Callable[..., None], *arguments: object) -> None:
        self._calls.put((call, arguments))

    def _run(self) -> None:
        while True:
            call, arguments = self._calls.get()
            self._calling = True
            try:
                call(*arguments)
            except Exception:  # the lane must go on; what calls raise on purpose they report themselves
                traceback.print_exc()
            self._calling = False
