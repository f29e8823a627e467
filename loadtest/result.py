"""The result of a run, as it is written to JSON: one frozen model for each part. Times are in seconds.

A *request* belongs to the measured window by the time at which it should have been sent; a rate of answers counts the
replies that arrived within the window. Latency counts from the intended sending (open loop) or from the sending
(closed loop) to the last byte.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from loadtest.settings import Arrivals, Route, Steps

FORMAT_VERSION = 1

QUANTILES: tuple[float, ...] = (0.5, 0.9, 0.99, 0.999)


class Part(BaseModel):
    """What all parts are: frozen, and without fields of other versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Result = TypeVar("Result", bound=Part)


class Distribution(Part):
    """Times, in seconds: their HdrHistogram, and what is most often read from it."""

    count: int
    mean: float | None
    min: float | None
    max: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    """None: there are no samples."""
    too_few: tuple[float, ...]
    """Those of QUANTILES with fewer than 10 samples beyond them: read them as a hint."""
    histogram: str
    """HdrHistogram, V2 encoding, compressed, base64; the values are microseconds. `histogram.decode` reads it."""


class Group(Part):
    """The requests of one step count that ended in one way."""

    steps: Steps
    status: str
    """A status code, or one of outcome.FAILURES."""
    latency: Distribution


class StepCount(Part):
    """What the requests of one step count came to."""

    steps: Steps
    sent: int
    ok: int
    within_slo: int | None
    """Good replies within the SLO. None: there was no SLO."""
    latency: Distribution
    """Of good replies, from the intended sending."""
    service: Distribution
    """Of good replies, from the actual sending."""
    blocks: tuple[str, ...]
    """Histograms of `latency` in as many equal parts of the window, by intended sending, encoded as there: a block
    bootstrap of them keeps what depends on time within a run."""
    stages: dict[str, Distribution]
    """Of good replies, what the server says in Server-Timing (queue, network, decode, encode, total), and `outside`:
    from the actual sending to the last byte, less `total`."""
    steps_used: dict[str, int]
    """How many good replies were made with how many steps, for `auto`. Empty if the server does not say."""
    mean_bytes: float | None
    """Of the bodies of good replies."""
    unfinished: int = 0
    """Of `sent`, those that had no outcome yet when the run was interrupted: neither good nor failed."""

    @property
    def ended(self) -> int:
        """Requests that came to something: what a share of good or failed ones is of."""
        return self.sent - self.unfinished


class Second(Part):
    """A second of the timeline."""

    at: float
    """Its begin, in seconds after the window's; below 0: warm-up."""
    sent: int
    """Requests that should have been sent in it."""
    answered: int
    """Replies of any status that arrived in it."""
    ok: int
    p50: float | None
    p99: float | None
    """Latencies of the good replies that arrived in it."""


class Lateness(Part):
    """How well the client kept its schedule: from the intended to the actual beginning of a request's sending."""

    times: Distribution
    allowed: float
    """What `moved` may be; or, if that is None, how late 1 % of the requests may be."""
    moved: float | None = None
    """By how much it moved the one of p50, p90 and p99 that it moved most. None: `Settings.max_lateness` was given."""
    valid: bool
    why: str
    """If it is not valid, for the person. Otherwise empty."""


MOST_EXAMPLES = 5
"""Faults that are kept in words."""


class Checks(Part):
    """What was checked of the replies."""

    checked: int
    """Good replies whose status, kind and size were looked at: all of them."""
    decoded: int
    """Of which the whole was decoded after the run (as many as fit into memory)."""
    wrong: int
    """Replies with 200 that failed either; they count as status `wrong`."""
    compared: int
    """Good replies to requests that had been asked while the server was idle."""
    different: int
    """Of which the bytes differed from the idle reply."""
    same_bytes: Literal["yes", "no", "not promised", "not checked"]
    """`not promised`: the model says that its bits depend on the batch, or idle replies differ among themselves."""
    examples: tuple[str, ...]
    """The first few faults, for the person."""


class Warmup(Part):
    """What was sent before the window."""

    seconds: float
    asked: Literal["auto"] | float
    stable: bool | None
    """Whether latency had settled when the window began. None: a fixed warm-up."""


class Load(Part):
    """What was asked of the server."""

    url: str
    route: Route
    loop: Literal["open", "closed"]
    arrivals: Arrivals | None
    """None: closed loop."""
    rate: float | None
    """Requests per second that were asked for. None: closed loop."""
    cv: float | None
    """Coefficient of variation of the gaps of bursty arrivals."""
    trace: str | None
    concurrency: int | None
    """Of a closed loop."""
    steps: dict[str, float]
    """Step count -> share."""
    labels: dict[str, float]
    formats: dict[str, float]
    """Shares; empty: left to the server."""
    fields: dict[str, str]
    """Sent along with every request."""
    seed: int
    """Of arrivals, mix and images."""
    timeout: float
    processes: int


class Window(Part):
    """The measured part of a run."""

    seconds: float
    sent: int
    offered_rate: float
    """Requests per second that should have been sent in it."""
    answered_rate: float
    """Good replies per second that arrived in it."""
    in_flight_start: int
    in_flight_end: int
    unfinished: int
    """Requests of the window that had no outcome yet when the run was interrupted; they are in no histogram."""
    retried: int
    """Requests sent a second time, because the server had closed an idle connection meanwhile."""


class Goodput(Part):
    """Good replies within the SLO."""

    slo: float
    """Seconds, from the intended sending."""
    per_second: float
    share: float
    """Of all requests of the window, the refused and the failed included, the unfinished not."""


class Server(Part):
    """What the server says about itself; None where it does not."""

    model: dict[str, Any] | None
    """Its entry of /v1/models: fingerprint, steps, quality per step count."""
    capacity: dict[str, Any] | None
    """/v1/capacity, before the run."""


class Environment(Part):
    """Where the client ran."""

    command: tuple[str, ...]
    """The arguments, without the values of headers."""
    started: str
    """ISO 8601, with the offset from UTC."""
    host_cores: int
    """That the client's processes may use."""
    cpu: str
    platform: str
    python: str
    versions: dict[str, str]


class Run(Part):
    """A run, whole or interrupted."""

    format: Literal[1] = 1
    kind: Literal["run"] = "run"
    environment: Environment
    server: Server
    load: Load
    warmup: Warmup
    window: Window
    lateness: Lateness
    groups: tuple[Group, ...]
    """By steps and status."""
    steps: tuple[StepCount, ...]
    goodput: Goodput | None
    """None: there was no SLO."""
    checks: Checks
    timeline: tuple[Second, ...]
    interrupted: bool
    """By the person: the window is shorter than was asked for."""
    aborted: str
    """Why the run ended before its time by itself (the server was gone), or empty."""
    warnings: tuple[str, ...]
    """What the reader of the figures should know, one sentence each."""

    @property
    def valid(self) -> bool:
        """Whether the figures are of the server: the client kept its schedule, and the run was not aborted."""
        return self.lateness.valid and not self.aborted

    @property
    def trustworthy(self) -> bool:
        """Whether it is valid, the server gave good replies, and they were what was asked for."""
        return self.valid and self.ok > 0 and not self.checks.wrong and self.checks.same_bytes != "no"

    @property
    def ok(self) -> int:
        """Good replies in the window."""
        return sum(one.ok for one in self.steps)


def write(result: BaseModel, path: Path) -> None:
    """Write a result as JSON, as `replace_file` does."""
    replace_file(path, (json.dumps(result.model_dump(mode="json"), indent=1) + "\n").encode())


def replace_file(path: Path, content: bytes) -> None:
    """Write a file: to a temporary name beside it, then renamed. A link leads to the file that is written.

    Raises ValueError for what is there and is no file, such as /dev/null, which a rename would replace.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no ordinary file; give the name of one")
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read(path: Path) -> Run:
    """The run in a file. ValueError that says what is wrong with it."""
    return read_as(Run, path, "`longjump loadtest run --out`")


def read_document(path: Path, wrote: str) -> dict[str, Any]:
    """The JSON object in a file, empty if it is none. ValueError for what is not JSON; `wrote` writes what would be."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        beside = path.with_suffix(".json")
        hint = f": {beside}" if path.suffix == ".html" and beside.exists() else ""
        raise ValueError(f"{path} is not JSON ({error}); give a file that {wrote} wrote{hint}") from None
    return document if isinstance(document, dict) else {}


def read_as(kind: type[Result], path: Path, wrote: str) -> Result:
    """The result of a kind in a file, as `read_document` reads it. ValueError that says what is wrong with it."""
    document = read_document(path, wrote)
    wanted, found = kind.model_fields["kind"].default, document.get("kind")
    if found != wanted:
        raise ValueError(f"{path} holds {'no result' if found is None else f'a {found}'}, not a {wanted}")
    if document.get("format") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format {document.get('format')}, and this version reads {FORMAT_VERSION}; read it with the "
            "longjump that wrote it"
        )
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: {where}: {first['msg']}; it is not as {wrote} wrote it") from None
