"""Types of command-line arguments of the load tester, and the arguments that its parts share."""

from __future__ import annotations

import argparse
import math

from loadtest.settings import Steps


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def seed(text: str) -> int:
    """A whole number below 2^32."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def number(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def percent(text: str) -> float:
    """A number of at least 0."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of percent, such as 5; files come before it")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def milliseconds(text: str) -> float:
    """A time in milliseconds, or with its unit (50, 50ms, 0.05s), as seconds."""
    digits, scale = (
        (text[:-2], 1e-3) if text.endswith("ms") else (text[:-1], 1.0) if text.endswith("s") else (text, 1e-3)
    )
    value = _number(digits) * scale
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 50, 50ms or 0.05s")
    return value


def warmup(text: str) -> float | None:
    """Seconds, or auto, which is None."""
    if text == "auto":
        return None
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number of seconds")
    return value


def steps(text: str) -> dict[Steps, float]:
    """Step counts and their shares: 1 or 1,8 or 1:0.9,8:0.1."""
    found: dict[Steps, float] = {}
    for name, weight in weights(text).items():
        if name != "auto" and (not name.isdecimal() or int(name) < 1):
            raise argparse.ArgumentTypeError(f"{name!r} is neither a number of steps nor auto")
        found["auto" if name == "auto" else int(name)] = weight
    return found


def weights(text: str) -> dict[str, float]:
    """Names and their shares: a or a,b or a:0.9,b:0.1. Shares are relative, 1 where none is given."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, colon, after = part.strip().rpartition(":")
        if not colon:
            name, after = after, "1"
        weight = _number(after)
        if not name or not 0 < weight < math.inf:
            raise argparse.ArgumentTypeError(
                f"{part.strip()!r} is not a name with a share above 0, such as {name or 'a'}:0.5"
            )
        if name in found:
            raise argparse.ArgumentTypeError(f"{name!r} is given twice")
        found[name] = weight
    return found


_OWN = {
    "steps": "use --steps",
    "label": "use --labels",
    "format": "use --formats",
    "seed": "each request has its own; --seed decides which",
    "model": "use --model",
    "stream": "streams are not measured",
}


def field(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    if name in _OWN:
        raise argparse.ArgumentTypeError(f"{name} is not given this way: {_OWN[name]}")
    return name, value


def header(text: str) -> tuple[str, str]:
    """NAME: VALUE."""
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not name or not colon or not value or not (name + value).isprintable() or not text.isascii() or " " in name:
        raise argparse.ArgumentTypeError(f"{name!r} with its value is not a header such as 'Authorization: Bearer KEY'")
    if name.lower() in ("host", "content-length", "transfer-encoding", "connection", "cache-control", "expect"):
        raise argparse.ArgumentTypeError(f"the header {name} is not yours to give: the load tester says it itself")
    return name, value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def add_requests(group: argparse._ArgumentGroup) -> None:
    """Declare what requests are about, the same for a run and a sweep."""
    group.add_argument(
        "--labels",
        type=weights,
        default={},
        metavar="MIX",
        help="labels, with shares: a:0.7,b:0.3 (default: from the seed)",
    )
    group.add_argument(
        "--formats", type=weights, default={}, metavar="MIX", help="formats, with shares (default: the server's)"
    )
    group.add_argument("--model", metavar="NAME", help="(default: the server's first)")
    group.add_argument(
        "--field",
        type=field,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="sent with every request: guidance=2, n=4, deadline_ms=200, priority=batch, bitwise=true",
    )
    group.add_argument(
        "--header",
        type=header,
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="sent with every request; results keep the name only",
    )


def add_verify(group: argparse._ArgumentGroup) -> None:
    """Declare --verify, the same for a run and a sweep."""
    group.add_argument(
        "--verify",
        type=share,
        default=0.05,
        metavar="SHARE",
        help="of requests that repeat one which was asked of the idle server, to compare bytes (default: %(default)g)",
    )
