"""What requests ask for: kinds drawn from a mix, each request with a seed of its own. Pure.

No figure comes from a cache: each request says `Cache-Control: no-store`, which keeps a longjump server from answering
it from its cache and from joining it with an equal one in flight, and each has another seed, for servers and proxies
that do not know the header. The few that repeat an idle request (`case`) have the header alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import numpy as np
from numpy.typing import NDArray

from loadtest.arrivals import Recorded
from loadtest.settings import Route, Settings, Steps

CASES_PER_KIND = 2
"""Requests of each (steps, format) that are asked while the server is idle, and again under load."""

MOST_CASES = 24

_SEED_BITS = 31
"""Of the first seed: with the number of requests added, seeds stay below 2^32."""


class Kind(NamedTuple):
    """All requests that differ only in their seed. None: left to the server."""

    steps: Steps
    label: str | None
    format: str | None


class Case(NamedTuple):
    """A request that is asked while the server is idle, and again under load."""

    kind: Kind
    seed: int


@dataclass(frozen=True)
class Requests:
    """Requests in the order of their sending, as columns."""

    kinds: tuple[Kind, ...]
    cases: tuple[Case, ...]
    kind: NDArray[np.int32]
    """Index into `kinds`."""
    seed: NDArray[np.int64]
    case: NDArray[np.int16]
    """Index into `cases`; -1: none."""

    def __len__(self) -> int:
        return len(self.kind)

    def share(self, process: int, processes: int) -> Requests:
        """Those of one process: every so-manieth."""
        part = slice(process, None, processes)
        return Requests(self.kinds, self.cases, self.kind[part], self.seed[part], self.case[part])


@dataclass(frozen=True)
class Mix:
    """Kinds and their shares, and the cases among them."""

    kinds: tuple[Kind, ...]
    shares: tuple[float, ...]
    cases: tuple[Case, ...]
    verify: float
    first_seed: int
    images: int
    """A request uses so many seeds."""


def mix(settings: Settings, labels: Sequence[str] = ()) -> Mix:
    """The mix that `settings` describe. `labels`: what to draw from, where none are given and the route needs one."""
    given: Mapping[str, float] = settings.labels or dict.fromkeys(labels, 1.0)
    kinds, shares = list[Kind](), list[float]()
    for steps, a in settings.steps.items():
        for label, b in _options(given):
            for format, c in _options(settings.formats):
                kinds.append(Kind(steps, label, format))
                shares.append(a * b * c)
    rng = np.random.default_rng([settings.seed, 1])
    images = int(settings.fields.get("n", "1")) if settings.fields.get("n", "1").isdecimal() else 1
    own = rng if settings.verify_seed is None else np.random.default_rng([settings.verify_seed, 4])
    # A trace is sent as it was recorded: nothing in it repeats a request of the idle server.
    cases = _cases(kinds, own) if settings.verify and settings.trace is None else ()
    return Mix(tuple(kinds), tuple(shares), cases, settings.verify, int(rng.integers(2**_SEED_BITS)), max(1, images))


def _options(weights: Mapping[str, float]) -> list[tuple[str | None, float]]:
    return list(weights.items()) if weights else [(None, 1.0)]


def _cases(kinds: Sequence[Kind], rng: np.random.Generator) -> tuple[Case, ...]:
    """Some of each (steps, format), with labels and seeds drawn; fewer of each where there are many."""
    pairs: dict[tuple[Steps, str | None], list[Kind]] = {}
    for kind in kinds:
        # What `auto` gives depends on the load.
        if kind.steps != "auto":
            pairs.setdefault((kind.steps, kind.format), []).append(kind)
    chosen = [kinds[int(rng.integers(len(kinds)))] for _ in range(CASES_PER_KIND) for kinds in pairs.values()]
    return tuple(Case(kind, int(rng.integers(2**_SEED_BITS, 2**32))) for kind in chosen[:MOST_CASES])


def draw(mix: Mix, count: int, rng: np.random.Generator, first: int = 0, stride: int = 1) -> Requests:
    """`count` requests. Their seeds are those of the requests first, first + stride, ... of the run."""
    kind = rng.choice(len(mix.kinds), count, p=np.asarray(mix.shares) / sum(mix.shares)).astype(np.int32)
    seed = mix.first_seed + (first + stride * np.arange(count, dtype=np.int64)) * mix.images
    case = np.full(count, -1, np.int16)
    checked = rng.random(count) < mix.verify
    # A request becomes one of the cases of its own steps and format, so that the mix of work stays what it is.
    for steps, format in {(one.kind.steps, one.kind.format) for one in mix.cases}:
        alike = [i for i, one in enumerate(mix.cases) if (one.kind.steps, one.kind.format) == (steps, format)]
        same = [i for i, one in enumerate(mix.kinds) if (one.steps, one.format) == (steps, format)]
        where = np.flatnonzero(checked & np.isin(kind, same))
        case[where] = rng.choice(alike, len(where))
    for i in np.flatnonzero(case >= 0):
        one = mix.cases[case[i]]
        kind[i], seed[i] = mix.kinds.index(one.kind), one.seed
    return Requests(mix.kinds, mix.cases, kind, seed, case)


def replay(recorded: Sequence[Recorded], mix: Mix, rng: np.random.Generator) -> Requests:
    """The requests of a trace; what a line leaves out is drawn from the mix."""
    drawn = draw(Mix(mix.kinds, mix.shares, (), 0.0, mix.first_seed, mix.images), len(recorded), rng)
    kinds = dict[Kind, None]()
    which, seeds = list[Kind](), list[int]()
    for line, kind, seed in zip(recorded, drawn.kind, drawn.seed):
        usual = mix.kinds[kind]
        asked = Kind(line.steps or usual.steps, line.label or usual.label, line.format or usual.format)
        kinds.setdefault(asked)
        which.append(asked)
        seeds.append(int(seed) if line.seed is None else line.seed)
    index = {kind: i for i, kind in enumerate(kinds)}
    kind_column = np.array([index[one] for one in which], np.int32)
    case = np.full(len(which), -1, np.int16)
    return Requests(tuple(kinds), (), kind_column, np.array(seeds, np.int64), case)


class Writer:
    """Writes requests as the bytes of HTTP/1.1."""

    def __init__(self, settings: Settings, host: str, prefix: str) -> None:
        """`host`: for the Host header. `prefix`: of the path, where the server lies below one."""
        lines = {
            "host": host,
            "user-agent": "longjump-loadtest",
            "accept": "application/json" if settings.route == "openai" else "*/*",
            "cache-control": "no-store",
            **{name.lower(): value for name, value in settings.headers.items()},
        }
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("latin-1")
        self._route: Route = settings.route
        self._prefix = prefix
        self._fields = dict(settings.fields) | ({} if settings.model is None else {"model": settings.model})
        self._begins: dict[Kind, bytes] = {}

    def write(self, kind: Kind, seed: int) -> bytes:
        """One request."""
        begin = self._begins.get(kind)
        if begin is None:
            begin = self._begins[kind] = self._begin(kind)
        if self._route == "generate":
            return b"%s%d HTTP/1.1\r\n%scontent-length: 0\r\n\r\n" % (begin, seed, self._head)
        body = b"%s%d}" % (begin, seed)
        line = f"POST {self._prefix}/v1/images/generations HTTP/1.1\r\n".encode()
        length = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        return b"%s%s%s%s" % (line, self._head, length, body)

    def _begin(self, kind: Kind) -> bytes:
        """All that comes before the seed: of the request line, or of the body."""
        if self._route == "generate":
            fields = {"steps": str(kind.steps), "label": kind.label, "format": kind.format, **self._fields}
            query = urlencode({name: value for name, value in fields.items() if value is not None}, quote_via=quote)
            return f"POST {self._prefix}/generate?{query}&seed=".encode()
        members: dict[str, Any] = {"prompt": kind.label, "steps": kind.steps, "output_format": kind.format}
        members |= {name: _number(value) for name, value in self._fields.items()}
        members = {"response_format": "b64_json"} | {name: one for name, one in members.items() if one is not None}
        return json.dumps(members).encode()[:-1] + b', "seed": '


def _number(text: str) -> Any:
    """A field's value as JSON has it: a number or truth value where it reads as one, else text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text
