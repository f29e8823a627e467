"""Messages to a client's own server: who may be told, how a message is signed (Standard Webhooks), how it is sent.

Whoever may name a URL makes this server send requests from where it stands. So it sends none, unless the command line
names the hosts; what it sends it sends to an address that was looked at, and it follows nobody elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_URL = 2048

SECRET = "whsec_"
"""Secrets begin with this; base64 follows."""

SECRET_BYTES = (24, 64)

SEND_SECONDS = 10.0
"""How long a receiver may take in all."""

MAX_HEAD = 16_384
"""Bytes of the answer that are looked at."""

_HOST = re.compile(r"(?:\*|(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])")
_PLAIN = re.compile(r"[!-~]+")
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class Unsent(Exception):
    """A message was not taken; the message says why."""


@dataclass(frozen=True)
class Target:
    """Where a message goes."""

    tls: bool
    host: str
    """Without brackets."""
    port: int
    path: str
    """With its query."""

    @property
    def authority(self) -> str:
        """As in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True)
class Pattern:
    """Hosts that may be told: `HOST`, `HOST:PORT`, `*.DOMAIN`, or `*`; https only, unless it begins with http://."""

    tls: bool
    host: str
    port: int

    @property
    def named(self) -> bool:
        """Whether it is one host, whose addresses are then the business of whoever named it."""
        return "*" not in self.host

    def allows(self, target: Target) -> bool:
        """Whether a target is one of them, by its name."""
        if self.tls != target.tls or self.port != target.port:
            return False
        host = target.host.lower().rstrip(".")
        if self.host.startswith("*"):
            return host.endswith(self.host[1:])
        return host == self.host


def pattern(text: str) -> Pattern:
    """The pattern that a flag names. ValueError if it is none."""
    tls = not text.startswith("http://")
    rest = text.removeprefix("http://").removeprefix("https://").rstrip("/")
    host, colon, port = rest, "", ""
    if not rest.endswith("]") and ":" in rest:
        host, colon, port = rest.rpartition(":")
    if not _HOST.fullmatch(host) or (colon and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError(
            f"--webhooks {text!r} names no hosts: write HOST, HOST:PORT, *.DOMAIN or * (any host with a public "
            "address), with http:// before it for one without TLS"
        )
    return Pattern(tls, host.strip("[]").lower().rstrip("."), int(port) if colon else 443 if tls else 80)


def target(url: str) -> Target:
    """The target of a URL. ValueError that says what is wrong."""
    if len(url) > MAX_URL or not _PLAIN.fullmatch(url):
        raise ValueError(f"it must be at most {MAX_URL} visible ASCII characters; write others percent-encoded")
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0 or "\\" in url:
        raise ValueError("it must be a URL such as https://example.com/done")
    if "@" in parts.netloc:
        raise ValueError("it must hold no user and no password; messages are signed")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(tls, parts.hostname, port or (443 if tls else 80), path)


def secret_key(text: str) -> bytes:
    """The bytes of a secret. ValueError that does not repeat it."""
    least, most = SECRET_BYTES
    try:
        key = base64.b64decode(text.removeprefix(SECRET), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(SECRET) or not least <= len(key) <= most:
        raise ValueError(f"it must be {SECRET} and {least} to {most} random bytes in base64")
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


class Hooks:
    """Sends messages to the hosts that may be told."""

    def __init__(self, patterns: Sequence[Pattern] = (), secret: bytes | None = None) -> None:
        """`secret` signs where a job brings none."""
        self._patterns = patterns
        self.secret = secret
        self._context: ssl.SSLContext | None = None

    @property
    def any(self) -> bool:
        """Whether anybody may be told."""
        return bool(self._patterns)

    def check(self, url: str) -> Target:
        """The target of a URL that may be told. ValueError that says what is wrong."""
        goal = target(url)
        if not any(pattern.allows(goal) for pattern in self._patterns):
            scheme = "https" if goal.tls else "http"
            raise ValueError(f"this server sends no messages to {scheme}://{goal.authority} (--webhooks names those)")
        return goal

    async def send(self, url: str, key: bytes, message_id: str, timestamp: int, body: bytes) -> int:
        """POST a signed message; the status of the answer. Raises Unsent if there is none."""
        try:
            goal = self.check(url)
        except ValueError as error:
            raise Unsent(str(error)) from None
        lines = (
            f"POST {goal.path} HTTP/1.1",
            f"host: {goal.authority}",
            "user-agent: longjump",
            "content-type: application/json",
            f"content-length: {len(body)}",
            f"webhook-id: {message_id}",
            f"webhook-timestamp: {timestamp}",
            f"webhook-signature: {signature(key, message_id, timestamp, body)}",
            "connection: close",
        )
        try:
            async with asyncio.timeout(SEND_SECONDS):
                return await self._exchange(goal, "\r\n".join((*lines, "", "")).encode() + body)
        except (OSError, ValueError, RuntimeError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            what = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise Unsent(what) from None

    async def _exchange(self, goal: Target, request: bytes) -> int:
        address = await self._address(goal)
        context = self._tls() if goal.tls else None
        # To the address that was looked at: asked again, the name may be another one's.
        reader, writer = await asyncio.open_connection(
            address, goal.port, ssl=context, server_hostname=goal.host if context else None, limit=MAX_HEAD
        )
        try:
            writer.write(request)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n")).split(b" ", 2)
            if len(head) < 2 or not head[0].startswith(b"HTTP/1.") or not head[1].isdigit():
                raise ValueError("the answer is not HTTP/1.1")
            return int(head[1])
        finally:
            writer.close()

    async def _address(self, goal: Target) -> str:
        named = any(pattern.named and pattern.allows(goal) for pattern in self._patterns)
        for address in await _look_up(goal.host, goal.port):
            if named or public(address):
                return address
        raise ValueError(f"{goal.host} has no public address, and --webhooks does not name it")

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


async def _look_up(host: str, port: int) -> list[str]:
    """The addresses of a host. OSError if it has none.

    In a thread of its own: the loop has few for looking names up, and needs them for Redis while a client's names
    find no answer.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def tell(found: list[str], error: OSError | UnicodeError | None = None) -> None:
        if not answer.done():
            answer.set_result(found) if error is None else answer.set_exception(error)

    def work() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                loop.call_soon_threadsafe(tell, [], error)
            else:
                loop.call_soon_threadsafe(tell, [str(address[0]) for *_, address in found])

    threading.Thread(target=work, daemon=True, name=f"looks {host} up").start()
    return await answer


def public(address: str) -> bool:
    """Whether an address is anybody's on the internet, also where another one is packed into it."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif found.sixtofour is not None or found.teredo is not None or any(found in net for net in _NAT64):
            return False
    # What newer Pythons know is not for everybody either: addresses of a site, ::10.0.0.1.
    if found.is_reserved or (isinstance(found, ipaddress.IPv6Address) and found.is_site_local):
        return False
    return found.is_global and not found.is_multicast
