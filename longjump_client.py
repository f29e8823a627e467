"""A client of a longjump server, in one module that needs nothing but Python.

    from longjump_client import Client

    with Client("http://127.0.0.1:8000") as client:
        image = client.generate(label="cat", steps=1, seed=7)
        image.save("cat.png")
        again = client.generate(**image.recipe())         # the same bytes
        for shown in client.stream(steps=8):              # the one-step picture first, then the refined one
            shown.save(f"{shown.steps}.png")
        job = client.submit(steps=8, seed=7)              # answered at once; the image when there is time
        client.wait(job)
        client.result(job).save("later.png")

A client may be used by many threads; each request takes a connection of its own, and idle ones are kept.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NotRequired, Self, TypedDict, Unpack
from urllib.parse import quote, unquote, urlencode, urlsplit

__all__ = ["Busy", "Client", "Image", "Options", "Recipe", "ServerError", "Settings"]

Connection = http.client.HTTPConnection

MAX_WAIT = 60.0
"""Seconds that a retry waits at most, whatever the server says."""

IDLE_CONNECTIONS = 32
"""Connections kept open for later requests at most."""

_BROKEN = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
_MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


class Recipe(TypedDict):
    """What makes an image again, byte for byte, on a server with the same fingerprint."""

    model: str
    seed: int
    label: int | str | None
    steps: int
    guidance: float
    bitwise: NotRequired[bool]
    """There where it was asked for and makes a difference."""


class Settings(TypedDict, total=False):
    """Fields that every request takes; see the server's /docs. Left out: the server's default."""

    model: str | None
    label: int | str | None
    """A class: index, name, or `none` for no class. Left out: each image draws one from its seed."""
    steps: int | Literal["auto"] | None
    """Network evaluations per image; auto: as many as `deadline_ms` allows, within `min_steps` and `max_steps`."""
    min_steps: int | None
    max_steps: int | None
    guidance: float | None
    format: Literal["png", "jpeg", "webp", "npy", "json"] | None
    quality: int | None
    """1 to 100, for jpeg and webp."""
    deadline_ms: int | None
    priority: Literal["interactive", "batch"] | None
    on_disconnect: Literal["cancel", "finish"] | None
    bitwise: bool | None
    """The same bytes whatever else is in the batch, of a model that does not promise it."""


class Options(Settings, total=False):
    """Settings, and the seed of the first image. Without it the server draws one."""

    seed: int | None


class ServerError(Exception):
    """The server refused a request, or failed at it; the message is the server's own."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {document.get('detail') or document.get('title') or 'no reason given'}")
        self.status = status
        """The HTTP status; 0 where the error came in the middle of a stream without one."""
        self.document = dict(document)
        """The problem document (RFC 9457)."""
        self.errors: list[dict[str, Any]] = list(document.get("errors", []))
        """For 422: each wrong field with `field`, `value`, `detail` and often `allowed`."""


class Busy(ServerError):
    """429 or 503: the server cannot take the request now."""

    def __init__(self, status: int, document: Mapping[str, Any], retry_after: float) -> None:
        super().__init__(status, document)
        self.retry_after = retry_after
        """Seconds until the server expects to have room."""


@dataclass(frozen=True)
class Image:
    """One image (or grid, animation, or for a bundle of points their JSON text), and what made it."""

    data: bytes = field(repr=False)
    media_type: str
    model: str
    seed: int
    label: int | str | None
    """The label's index, or `none`. Of a grid: all of them, separated by commas. None: drawn, and not known yet."""
    label_name: str
    """Empty where there is not one label."""
    steps: int
    guidance: float
    fingerprint: str
    seconds: dict[str, float] = field(default_factory=dict)
    """Where the server's time went: queue, network, decode, encode."""
    last: bool = True
    """Of a stream: whether this is the final image."""
    bitwise: bool = False
    """Whether the server filled batches up so that the bytes do not depend on them; see `Settings`."""

    def save(self, path: str | Path) -> None:
        """Write the bytes to a file."""
        Path(path).write_bytes(self.data)

    def recipe(self) -> Recipe:
        """The fields that ask for this image again."""
        recipe: Recipe = {
            "model": self.model,
            "seed": self.seed,
            "label": self.label,
            "steps": self.steps,
            "guidance": self.guidance,
        }
        return {**recipe, "bitwise": True} if self.bitwise else recipe


class Client:
    """A longjump server at `base_url`.

    `timeout` is in seconds, for connecting and for each wait for bytes. A busy server (429, 503) is asked again
    `retries` times, after as long as it says; then `Busy` is raised, as `ServerError` is for every other refusal.
    OSError means that the server could not be reached. ValueError: the address is not one.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 2,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base_url!r} is not an address such as http://127.0.0.1:8000")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else Connection
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._headers = {"user-agent": "longjump-client", "accept": "*/*"}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._timeout = timeout
        self._retries = retries
        self._idle: deque[Connection] = deque()  # its append and pop are atomic

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def generate(self, n: int = 1, **options: Unpack[Options]) -> Image:
        """One image, or `n` of them as a grid."""
        return self._image("/generate", _json({"n": n, **options}))

    def generate_many(self, n: int, **options: Unpack[Options]) -> list[Image]:
        """`n` images on their own; image i has the seed seed + i. Not for bundles of points."""
        document = self._document("POST", "/generate", _json({"n": n, **options}))
        shared = {name: document[name] for name in ("media_type", "model", "steps", "guidance", "fingerprint")}
        return [
            Image(
                base64.b64decode(one["base64"]),
                seed=one["seed"],
                label=one["label"],
                label_name=one["label_name"],
                bitwise=document.get("bitwise", False),
                **shared,
            )
            for one in document["images"]
        ]

    def stream(self, every_step: bool = False, **options: Unpack[Options]) -> Iterator[Image]:
        """The one-step image as soon as it is there, then the refined one; or what each step of it shows.

        Leaving the loop early cancels the rest.
        """
        body = _json({"stream": "every" if every_step else "first", **options})
        connection, response = self._send("POST", "/generate", body, {"accept": "text/event-stream"})
        whole = False
        try:
            for event, data in _events(response):
                if event == "error":
                    raise _error(int(data.get("status", 0)), data, None)
                if event == "image":
                    yield _shown(data)
            whole = True
        finally:
            if whole:
                self._keep(connection)
            else:
                connection.close()

    def variations(self, image: bytes | Image, strength: float, n: int = 1, **options: Unpack[Options]) -> Image:
        """Images like the given one (a PNG, JPEG or WebP): near it for a small `strength`, free of it at 1."""
        data = image.data if isinstance(image, Image) else image
        media_type = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
        if media_type is None:
            raise ValueError(f"the image begins with {data[:4]!r}; it must be a PNG, JPEG or WebP file")
        return self._image(_target("/variations", {"strength": strength, "n": n, **options}), (data, media_type))

    def interpolate(
        self,
        seed: int,
        seed_to: int,
        n: int = 8,
        *,
        label_to: int | str | None = None,
        animate: bool = False,
        frame_ms: int | None = None,
        **settings: Unpack[Settings],
    ) -> Image:
        """`n` images on the way from one seed, and `label`, to another: a grid, or an animation (png, webp)."""
        ends = {"seed": seed, "seed_to": seed_to, "label_to": label_to}
        shape = {"n": n, "animate": animate or None, "frame_ms": frame_ms}
        return self._image("/interpolate", _json({**ends, **shape, **settings}))

    def submit(
        self, n: int = 1, *, webhook: str | None = None, webhook_secret: str | None = None, **options: Unpack[Options]
    ) -> str:
        """Ask for images without waiting for them; the id of the job, for `job`, `wait`, `result` and `cancel`.

        `webhook`, a URL that the server must allow, is told when it is over, signed with `webhook_secret`.
        """
        fields = {"n": n, "webhook": webhook, "webhook_secret": webhook_secret, **options}
        return str(self._document("POST", "/jobs", _json(fields), {"accept": "*/*"})["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as it stands: `state` is queued, running, done, failed or cancelled."""
        return self._document("GET", f"/jobs/{job_id}")

    def wait(self, job_id: str) -> dict[str, Any]:
        """The job when it is over."""
        while (job := self.job(job_id))["state"] in ("queued", "running"):
            connection, response = self._send("GET", f"/jobs/{job_id}/events")
            with contextlib.closing(connection):
                for _ in _events(response):
                    pass
        return job

    def result(self, job_id: str) -> Image:
        """The image, grid or points of a job that is done; `ServerError` of one that is not, or failed."""
        return _image(*self._exchange("GET", f"/jobs/{job_id}/result"))

    def cancel(self, job_id: str) -> None:
        """End a job, or forget one that is over."""
        self._exchange("DELETE", f"/jobs/{job_id}")

    def models(self) -> list[dict[str, Any]]:
        """What is served, the default first: each bundle's labels, steps, formats and fingerprint."""
        listed: list[dict[str, Any]] = self._document("GET", "/v1/models")["data"]
        return listed

    def capacity(self) -> dict[str, Any]:
        """How fast the server is and how long a request would wait now."""
        return self._document("GET", "/v1/capacity")

    def ready(self) -> bool:
        """Whether every bundle can be asked now. OSError if there is no server."""
        try:
            self._exchange("GET", "/readyz", retries=0)
        except Busy:
            return False
        return True

    def _image(self, target: str, content: tuple[bytes, str]) -> Image:
        return _image(*self._exchange("POST", target, content))

    def _document(
        self,
        method: str,
        target: str,
        content: tuple[bytes, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        body, _ = self._exchange(method, target, content, headers or {"accept": "application/json"})
        document: dict[str, Any] = json.loads(body)
        return document

    def _exchange(
        self,
        method: str,
        target: str,
        content: tuple[bytes, str] | None = None,
        headers: Mapping[str, str] | None = None,
        retries: int | None = None,
    ) -> tuple[bytes, http.client.HTTPMessage]:
        """Body and headers of a reply that is not an error."""
        connection, response = self._send(method, target, content, headers, retries)
        try:
            body = response.read()
        except BaseException:
            connection.close()
            raise
        self._keep(connection)
        return body, response.headers

    def _send(
        self,
        method: str,
        target: str,
        content: tuple[bytes, str] | None = None,
        headers: Mapping[str, str] | None = None,
        retries: int | None = None,
    ) -> tuple[Connection, http.client.HTTPResponse]:
        """Send a request; its connection and the reply, unread. Waits and asks again while the server is busy."""
        left = self._retries if retries is None else retries
        while True:
            connection, response = self._once(method, target, content, headers or {})
            if response.status < 300:
                return connection, response
            try:
                body = response.read()
            finally:
                connection.close()
            error = _error(response.status, _problem(body), response.headers.get("retry-after"))
            if not isinstance(error, Busy) or left <= 0:
                raise error
            left -= 1
            time.sleep(min(error.retry_after, MAX_WAIT))

    def _once(
        self, method: str, target: str, content: tuple[bytes, str] | None, headers: Mapping[str, str]
    ) -> tuple[Connection, http.client.HTTPResponse]:
        body, media_type = content or (None, None)
        sent = {**self._headers, **headers} | ({"content-type": media_type} if media_type else {})
        try:
            connection, reused = self._idle.pop(), True
        except IndexError:
            connection, reused = self._open(), False
        while True:
            try:
                connection.request(method, self._prefix + target, body, sent)
                return connection, connection.getresponse()
            except BaseException as error:
                connection.close()
                # An idle connection may have been closed at the other end; a request may run twice without harm.
                if not reused or not isinstance(error, _BROKEN):
                    raise
                connection, reused = self._open(), False

    def _keep(self, connection: Connection) -> None:
        if len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()

    def _open(self) -> Connection:
        return self._kind(self._host, self._port, timeout=self._timeout)


def _image(body: bytes, headers: http.client.HTTPMessage) -> Image:
    """The image of a reply."""
    label = headers["longjump-label"]
    return Image(
        body,
        media_type=headers["content-type"],
        model=headers["longjump-model"],
        seed=int(headers["longjump-seed"]),
        label=int(label) if label.isdecimal() else label,
        label_name=unquote(headers.get("longjump-label-name", "")),
        steps=int(headers["longjump-steps"]),
        guidance=float(headers["longjump-guidance"]),
        fingerprint=headers["longjump-fingerprint"],
        bitwise="longjump-bitwise" in headers,
        seconds=_seconds(headers.get("server-timing", "")),
    )


def _json(fields: Mapping[str, Any]) -> tuple[bytes, str]:
    """Fields as a body; None means that one is not given."""
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode(), "application/json"


def _target(path: str, fields: Mapping[str, Any]) -> str:
    """A path with the fields in its query."""
    return f"{path}?{urlencode({name: value for name, value in fields.items() if value is not None}, quote_via=quote)}"


def _problem(body: bytes) -> dict[str, Any]:
    """The document of an error; what is no document (a proxy's page) becomes one."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {"detail": body[:200].decode(errors="replace")}


def _error(status: int, document: Mapping[str, Any], retry_after: str | None) -> ServerError:
    """The exception for an error; the document's wait is exact, the header's in whole seconds."""
    if status not in (429, 503):
        return ServerError(status, document)
    wait = document.get("retry_after_seconds", retry_after)
    try:
        return Busy(status, document, max(0.0, float(wait)))
    except (TypeError, ValueError):  # none, or a date
        return Busy(status, document, 1.0)


def _events(response: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    """(event, data) of server-sent events. Comments, which keep the connection alive, are passed over."""
    event, data = "message", list[str]()
    while line := response.readline():
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif not line.strip():
            if data:
                yield event, json.loads("\n".join(data))
            event, data = "message", []


def _shown(data: Mapping[str, Any]) -> Image:
    """The image of an event."""
    return Image(
        base64.b64decode(data["base64"]),
        # Before the last picture, a label that the server draws is not known yet.
        label=data.get("label"),
        label_name=data.get("label_name", ""),
        seconds=data.get("stages", {}),
        bitwise=data.get("bitwise", False),
        **{name: data[name] for name in ("media_type", "model", "seed", "steps", "guidance", "fingerprint", "last")},
    )


def _seconds(server_timing: str) -> dict[str, float]:
    """Stage -> seconds, of a Server-Timing header."""
    found = {}
    for entry in server_timing.split(","):
        name, _, duration = entry.strip().partition(";dur=")
        if duration:
            found[name] = float(duration) / 1000
    return found
