"""A server of pictures whose delays and faults a test chooses. Run as a script: it says its port, and ends with stdin.

    python fake_server.py '{"delay": 0.1, "stall_after": 50, "stall": 2.0}'

Pictures are PNG, 4x4, and a function of the seed alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

MODEL = {
    "id": "fake",
    "kind": "image",
    "image_shape": [4, 4, 3],
    "z_shape": [3, 4, 4],
    "labels": ["cat", "dog"],
    "steps": [1, 2, 8],
    "formats": ["png"],
    "batch_invariant": True,
    "fingerprint": "0f",
}


def picture(seed: int, size: int = 4) -> bytes:
    """A PNG."""
    rows = b"".join(b"\0" + bytes((seed + x) % 256 for x in range(3 * size)) for _ in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@dataclass
class Behaviour:
    """What it does. Counts are of requests to /generate; the first few come while it is idle."""

    delay: float = 0.0
    slow_every: int = 0
    """Each so-manieth takes `slow` seconds."""
    slow: float = 0.0
    stall_after: int = 0
    """When this one comes, nothing is answered for `stall` seconds."""
    stall: float = 0.0
    fault_after: int = 10**9
    """From this one on, `fault` shows."""
    fault: str = ""
    lacks: int = 0
    """A step count that it refuses."""
    describes_itself: bool = True
    model: dict[str, Any] = field(default_factory=dict)
    """What it says of itself beside MODEL, or instead."""


class Fake:
    """The server."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.count = 0
        self.running = asyncio.Event()
        self.running.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self.answer(reader, writer):
                await writer.drain()
        writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n")[0].split(" ")
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        url = urlsplit(target)
        if self.behaviour.fault == "redirects":
            return _write(writer, 308, b"", {"location": "http://elsewhere:1" + target})
        if method == "GET":
            found = {"/v1/models": {"data": [MODEL | self.behaviour.model]}, "/v1/capacity": {"models": []}}.get(
                url.path
            )
            if found is None or not self.behaviour.describes_itself:
                return _write(writer, 404, b"{}", {"content-type": "application/json"})
            return _write(writer, 200, json.dumps(found).encode(), {"content-type": "application/json"})
        fields = json.loads(body) if body else {name: values[0] for name, values in parse_qs(url.query).items()}
        return await self.generate(writer, fields, "no-store" in headers.get("cache-control", ""))

    async def generate(self, writer: asyncio.StreamWriter, fields: dict[str, Any], no_store: bool) -> bool:
        behaviour = self.behaviour
        self.count += 1
        count = self.count
        if count == behaviour.stall_after:
            self.running.clear()
            asyncio.get_running_loop().call_later(behaviour.stall, self.running.set)
        await self.running.wait()
        slow = behaviour.slow_every and count % behaviour.slow_every == 0
        await asyncio.sleep(behaviour.slow if slow else behaviour.delay)
        fault = behaviour.fault if count >= behaviour.fault_after else ""
        if not no_store:
            return _write(writer, 400, b'{"detail": "a load test must not be cached"}', {})
        if fields["steps"] == str(behaviour.lacks):
            return _write(writer, 422, b'{"detail": "has no %d NFE"}' % behaviour.lacks, {})
        if fault == "dies":
            os._exit(1)
        if fault == "hangs":
            await asyncio.sleep(3600)
        if fault == "hangs up":
            return False
        if fault == "refuses":
            return _write(writer, 429, b'{"detail": "too busy"}', {"retry-after": "1"})
        if fault == "is no HTTP":
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            return True
        seed = int(fields["seed"])
        if fault == "gives other pictures":
            seed += 1
        content = picture(seed, 8 if fault == "gives the wrong size" else 4)
        kinds = {"gives another kind": "text/html", "paints": "text/\x9b31mred"}
        kind = {"content-type": kinds.get(fault, "image/png")}
        if fault == "breaks pictures":
            content = content[:45] + b"\0\0\0\0" + content[49:]
        if fault == "sends a head first":
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        if fault == "sends chunks":
            pieces = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (content[:7], content[7:]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n")
            await asyncio.sleep(0.01)
            writer.write(pieces + b"0\r\n\r\n")
            return True
        if fault == "gives no length":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n" + content)
            return False
        if fault == "says too much":
            head = f"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {len(content)}\r\n\r\n"
            both = head.encode() + content
            writer.write(both + both)
            return True
        if fault == "closes each":
            _write(writer, 200, content, kind | {"connection": "close"})
            return False
        if fault == "closes silently":
            # As servers do with idle connections: the client may be about to use it.
            _write(writer, 200, content, kind)
            return False
        stages = "queue;dur=1.5, network;dur=2.5, decode;dur=0.5, encode;dur=0.5, total;dur=5.0"
        return _write(writer, 200, content, kind | {"server-timing": stages, "longjump-steps": str(fields["steps"])})


def _write(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str]) -> bool:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body)
    return True


@contextlib.contextmanager
def fake_server(**behaviour: object) -> Iterator[str]:
    """The URL of one in a process of its own, so that it shares no lock with the test."""
    command = [sys.executable, __file__, json.dumps(behaviour)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def main(behaviour: Behaviour) -> None:
    """Serve until stdin ends."""
    server = await asyncio.start_server(Fake(behaviour).serve, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(Behaviour(**json.loads(sys.argv[1]))))
