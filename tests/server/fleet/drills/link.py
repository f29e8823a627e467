"""A way to Redis that a drill can make slow, lossy, or cut: a TCP proxy on loopback, in a thread of the test.

TCP repairs what a network loses, so a lossy way looks to both ends like one that stalls now and then, and now and then
breaks the connection with data on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

PIECE = 2**16
"""Bytes that are read at once, and share a fate."""

STALL = 0.3
"""Seconds that a lost piece takes longer."""


class Link:
    """Listens on loopback and passes on to a port of loopback, in order and unchanged, until told otherwise."""

    host = "127.0.0.1"
    """Of who uses it."""
    inside: tuple[str, ...] = ()
    """What runs a command there."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._delay = 0.0
        self._stalls = self._breaks = 0.0
        self._random = random.Random(0)
        self._connections: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter | None]] = set()
        self.broken = 0
        """Connections that were broken by chance."""
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._whole.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """For who shall reach Redis this way."""
        return f"redis://127.0.0.1:{self.port}/0"

    def slow(self, seconds: float) -> None:
        """Each piece takes so long, in each direction."""
        self._delay = seconds

    def lossy(self, seed: int, stalls: float, breaks: float) -> None:
        """Of all pieces, these parts are late by STALL seconds, or break their connection: one half after arrival."""
        self._random = random.Random(seed)
        self._stalls, self._breaks = stalls, breaks

    def cut(self) -> None:
        """Nothing passes any more, and neither end is told."""
        self._call(self._whole.clear)

    def heal(self) -> None:
        """As at first. What was held back by `cut` passes."""
        self._delay = self._stalls = self._breaks = 0.0
        self._call(self._whole.set)

    def close(self) -> None:
        """End it."""
        self._call(self._server.close)
        self._call(self._break_all)
        self._call(self._whole.set)
        self._do(self._finish())
        self._call(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _call(self, function: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(function)

    @staticmethod
    async def _finish() -> None:
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter | None] = (writer, None)
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            ends = (writer, back)
            self._connections.add(ends)
            passing = [self._pass(reader, back), self._pass(there, writer)]
            tasks = [asyncio.ensure_future(work) for work in passing]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        self._connections.discard(ends)
        _break(*ends)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, until it ends or breaks."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def read() -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(PIECE):
                    pieces.put_nowait((self._loop.time() + self._delay, data))
            pieces.put_nowait((self._loop.time() + self._delay, b""))

        reading = asyncio.ensure_future(read())
        try:
            while True:
                due, data = await pieces.get()
                await asyncio.sleep(due - self._loop.time())
                await self._whole.wait()
                if self._random.random() < self._stalls:
                    await asyncio.sleep(STALL)
                breaks = self._random.random() < self._breaks
                if not data or (breaks and self._random.random() < 0.5):
                    self.broken += breaks
                    return
                writer.write(data)
                await writer.drain()
                if breaks:
                    self.broken += 1
                    return
        except OSError:
            return
        finally:
            reading.cancel()

    def _break_all(self) -> None:
        for ends in tuple(self._connections):
            _break(*ends)


def _break(*ends: asyncio.StreamWriter | None) -> None:
    """End both sides with a reset: no orderly end tells them what arrived."""
    for end in ends:
        if end is not None and not end.transport.is_closing():
            with contextlib.suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()
