"""The server before a run: whether it is there, what it says about itself, and its replies while it is idle."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from loadtest import verify
from loadtest.client import BIGGEST_REPLY, Address
from loadtest.numbers import count
from loadtest.printable import harmless, printable
from loadtest.settings import Settings, Steps
from loadtest.traffic import Case, Kind, Writer
from loadtest.verify import Expected, Wrong

PATIENCE = 10.0
"""Seconds until a server that accepts connections must say what it is; and until it must have become idle."""


class Heard(NamedTuple):
    """A reply to a request that was asked alone."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


@dataclass(frozen=True)
class Target:
    """The server, and what is to be known of it to load it."""

    url: str
    address: Address
    host: str
    """For the Host header."""
    prefix: str
    """Of all paths."""
    model: dict[str, Any] | None
    """Its entry of /v1/models; None: it has none."""
    capacity: dict[str, Any] | None

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's, if the server tells."""
        found = (self.model or {}).get("labels")
        return tuple(str(one) for one in found) if isinstance(found, list) else ()

    def expected(self, kind: Kind, settings: Settings) -> Expected:
        """What a good reply to a request of this kind looks like, as far as the model's description says."""
        model = self.model or {}
        formats = model.get("formats")
        format = kind.format or (str(formats[0]) if isinstance(formats, list) and formats else None)
        expected = Expected(settings.route, format)
        shape = model.get("image_shape" if model.get("kind") == "image" else "z_shape")
        alone = settings.fields.get("n", "1") == "1" or settings.route == "openai"
        if not (isinstance(shape, list) and all(type(side) is int and side > 0 for side in shape) and alone and format):
            return expected
        if model.get("kind") == "image" and len(shape) != 3:
            return expected
        if model.get("kind") != "image":
            return replace(expected, shape=(1, *shape))
        if format == "npy":
            return replace(expected, shape=tuple(shape))
        return replace(expected, size=(int(shape[1]), int(shape[0])))


class Line:
    """A kept connection for one request at a time."""

    def __init__(self, url: str, timeout: float) -> None:
        """Raises OSError, with a message for the person, if nothing answers at `url`."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._url = url
        secure = parts.scheme == "https"
        self.host = parts.netloc
        self.prefix = parts.path.rstrip("/")
        port = parts.port or (443 if secure else 80)
        try:
            plain = socket.create_connection((parts.hostname, port), min(timeout, PATIENCE))
            host, number = plain.getpeername()[:2]
            self.address = Address(host, number, parts.hostname if secure else None)
            context = ssl.create_default_context() if secure else None
            self._socket = context.wrap_socket(plain, server_hostname=parts.hostname) if context else plain
        except OSError as error:
            reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            here = parts.hostname in ("127.0.0.1", "localhost", "::1")
            hint = f"; `longjump serve --port {port}` would start a server" if here else ""
            raise OSError(f"nothing can be asked at {url}: {reason}{hint}") from None
        self._socket.settimeout(timeout)

    def ask(self, data: bytes) -> Heard:
        """Send a request. OSError, with a message for the person, if no whole reply comes."""
        begun = time.monotonic()
        what = data.partition(b" HTTP/")[0].decode()
        timeout = self._socket.gettimeout() or PATIENCE
        # The socket's own limit is of each piece; a server that drips would never reach it.
        late = threading.Event()
        alarm = threading.Timer(timeout, self._give_up, (late,))
        alarm.daemon = True
        alarm.start()
        try:
            self._socket.sendall(data)
            reply = http.client.HTTPResponse(self._socket)
            reply.begin()
            body = reply.read(BIGGEST_REPLY + 1)
            if len(body) > BIGGEST_REPLY:
                raise OSError(f"it is longer than {BIGGEST_REPLY} bytes")
            if late.is_set():
                raise TimeoutError
        except (OSError, OverflowError, MemoryError, ValueError, http.client.HTTPException) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise OSError(f"{self._url} gave no answer to {what} within {timeout:g} s") from None
            said = printable(str(error)) or type(error).__name__
            raise OSError(f"{self._url} did not answer {what} with a whole HTTP reply: {said}") from None
        finally:
            alarm.cancel()
        headers = {name.lower(): value for name, value in reply.getheaders()}
        return Heard(reply.status, headers, body, time.monotonic() - begun)

    def _give_up(self, late: threading.Event) -> None:
        late.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it."""
        self._socket.close()


def ask_once(url: str, data: bytes, timeout: float) -> Heard:
    """`Line.ask` over a connection of its own, since a server may close one after each reply."""
    line = Line(url, timeout)
    try:
        return line.ask(data)
    finally:
        line.close()


def find(settings: Settings) -> Target:
    """Look at the server. Raises OSError or ValueError, with a message for the person, if it cannot be loaded."""
    line = Line(settings.url, min(settings.timeout, PATIENCE))
    line.close()
    target = Target(settings.url, line.address, line.host, line.prefix, None, None)
    heard = _get(target, settings, "/v1/models")
    if heard.status in (401, 403):
        raise ValueError(f"{settings.url} wants a key ({heard.status}): give --header 'Authorization: Bearer KEY'")
    if 300 <= heard.status < 400:
        where = printable(heard.headers.get("location", "elsewhere"))
        raise ValueError(f"{settings.url} redirects ({heard.status}) to {where}; give the address that serves")
    if heard.status == 503:
        raise ValueError(f"{settings.url} is not ready: {_detail(heard)}")
    models = _document(heard).get("data")
    served = [one for one in models if isinstance(one, dict)] if isinstance(models, list) else []
    found = served
    if found and settings.model is not None:
        found = [one for one in found if one.get("id") == settings.model]
        if not found:
            ids = printable(", ".join(str(one.get("id")) for one in served))
            raise ValueError(f"there is no model {settings.model!r} at {settings.url}; it serves {ids}")
    model = None
    if found:
        # Labels stay as they are, since they are asked for.
        model = harmless(found[0]) | {name: value for name, value in found[0].items() if name == "labels"}
    target = replace(target, model=model, capacity=_capacity(target, settings))
    if model is not None:
        _check(settings, model)
    return target


def _check(settings: Settings, model: Mapping[str, Any]) -> None:
    """Raise ValueError for labels that the model does not have: a kind that is drawn seldom would fail only later."""
    names = model.get("labels")
    if not isinstance(names, list):
        return
    for label in settings.labels:
        index = label.isascii() and label.isdecimal() and int(label) < len(names)
        if label != "none" and label not in names and not index:
            listed = printable(", ".join(str(name) for name in names[:30]))
            name = printable(str(model.get("id")))
            raise ValueError(f"{name} has no label {label!r}; it has {listed}, their indices, and none")


def _capacity(target: Target, settings: Settings) -> dict[str, Any] | None:
    return _document(_get(target, settings, "/v1/capacity")) or None


def _get(target: Target, settings: Settings, path: str) -> Heard:
    lines = {"host": target.host, "accept": "application/json", "connection": "close", **settings.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    data = f"GET {target.prefix}{path} HTTP/1.1\r\n{head}\r\n".encode("latin-1")
    return ask_once(settings.url, data, min(settings.timeout, PATIENCE))


def _document(heard: Heard) -> dict[str, Any]:
    """The JSON object of a good reply; empty if it is none."""
    if heard.status != 200:
        return {}
    try:
        document = json.loads(heard.body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _detail(heard: Heard) -> str:
    """What an error says, in one line."""
    try:
        document = json.loads(heard.body)
        error = document.get("error")
        said = document.get("detail") or (error.get("message") if isinstance(error, dict) else error)
    except (ValueError, AttributeError, RecursionError):
        said = None
    if not said:
        said = heard.body[:200].decode(errors="replace")
    return printable(str(said)) or "without a word"


@dataclass(frozen=True)
class IdleReplies:
    """What was learnt while the server was idle."""

    expected: dict[Kind, Expected]
    references: tuple[bytes, ...]
    """The digest of each case's reply."""
    alike: bool
    """Whether the same request gave the same bytes twice."""
    warnings: tuple[str, ...]


@dataclass
class References:
    """Replies of the idle server that runs after one another are compared with, and look like."""

    digests: dict[Case, bytes] = field(default_factory=dict)
    looks: dict[tuple[Steps, str | None], Expected] = field(default_factory=dict)
    """By (steps, format)."""
    unlike: set[Steps] = field(default_factory=set)
    """Step counts of which the same request gave other bytes the second time."""


def ask_idle(
    target: Target,
    settings: Settings,
    writer: Writer,
    kinds: Sequence[Kind],
    cases: Sequence[Case],
    known: References | None = None,
) -> IdleReplies:
    """Ask each case, and one of each (steps, format) that has none, one after another; not those that are `known`.

    Raises ValueError with what the server says if it refuses one: under load it would refuse all of that kind.
    """
    known = References() if known is None else known
    warnings = _await_idle(target, settings)
    expected = {kind: target.expected(kind, settings) for kind in dict.fromkeys((*kinds, *(one.kind for one in cases)))}
    for i, case in enumerate(one for one in cases if one not in known.digests):
        data = writer.write(case.kind, case.seed)
        body, look = _ask_well(settings, data, expected[case.kind])
        known.digests[case] = verify.digest(look, body)
        known.looks[case.kind.steps, case.kind.format] = look
        if i == 0 and verify.digest(look, _ask_well(settings, data, look)[0]) != known.digests[case]:
            known.unlike.add(case.kind.steps)
    for kind in kinds:
        if (kind.steps, kind.format) not in known.looks:
            look = _ask_well(settings, writer.write(kind, 0), expected[kind])[1]
            known.looks[kind.steps, kind.format] = look
    return IdleReplies(
        {kind: known.looks.get((kind.steps, kind.format), one) for kind, one in expected.items()},
        tuple(known.digests[case] for case in cases),
        not known.unlike.intersection(kind.steps for kind in kinds),
        warnings,
    )


def _ask_well(settings: Settings, data: bytes, expected: Expected) -> tuple[bytes, Expected]:
    """The body of a good reply, and what it looks like. A server that is busy is asked again for a while."""
    what = data.partition(b" HTTP/")[0].decode()
    until = time.monotonic() + PATIENCE
    while True:
        heard = ask_once(settings.url, data, settings.timeout)
        if heard.status not in (429, 503) or time.monotonic() > until:
            break
        wait = heard.headers.get("retry-after", "")
        time.sleep(min(max(float(wait) if wait.isdecimal() else 0.5, 0.1), 2.0))
    if 300 <= heard.status < 400:
        where = printable(heard.headers.get("location", "elsewhere"))
        raise ValueError(f"{settings.url} redirects {what} ({heard.status}) to {where}; give the address that serves")
    if heard.status != 200:
        raise ValueError(f"{settings.url}, idle, answers {what} with {heard.status}: {_detail(heard)}")
    try:
        verify.glance(expected, heard.headers.get("content-type", ""), heard.body)
        return heard.body, verify.decode(expected, heard.body)
    except Wrong as error:
        said = printable(str(error))
        raise ValueError(f"{settings.url}, idle, answers {what} with something else than was asked: {said}") from None


def _await_idle(target: Target, settings: Settings) -> tuple[str, ...]:
    """Wait until the server has no work left, if it says how much it has; a warning if it never was idle."""
    until = time.monotonic() + PATIENCE
    capacity = target.capacity
    while (busy := _busy(capacity)) and time.monotonic() < until:
        time.sleep(0.2)
        capacity = _capacity(target, settings)
    return (f"the server was not idle before the run ({count(busy, 'request')} of others in it)",) if busy else ()


def _busy(capacity: Mapping[str, Any] | None) -> int:
    models = (capacity or {}).get("models")
    if not isinstance(models, list):
        return 0
    counts = [one.get(name) for one in models if isinstance(one, dict) for name in ("waiting", "running")]
    return sum(count for count in counts if isinstance(count, int))
