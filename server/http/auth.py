"""Who asks: API keys, from a file that holds only their hashes.

A line of the file is `name:sha256` or `name:sha256:admin`; empty lines and those that begin with # are skipped.
`longjump key NAME` makes a key and its line. A key is 256 random bits, so that one round of SHA-256 is enough: the slow
hashes for passwords make guessing expensive, and here there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from export.runtime.manifest import check_name
from server.http.problem import Problem

PREFIX = "lj_"
"""Keys begin with this, so that scanners for leaked secrets can know them."""

_ADMIN = "admin"
_HASH = re.compile(r"[0-9a-f]{64}")
_MAX_HEADER = 512


class Key(NamedTuple):
    """What the server knows of a key."""

    name: str
    """Whose it is: the client, for fair share, limits and logs."""
    sha256: str
    admin: bool
    """Whether it may change what is served."""


class Keys:
    """The keys that a server takes."""

    def __init__(self, keys: Iterable[Key]) -> None:
        """Raises ValueError if two keys are the same; one name may have several, to change from one to the next."""
        self._by_hash: dict[str, Key] = {}
        for key in keys:
            known = self._by_hash.setdefault(key.sha256, key)
            if known is not key:
                raise ValueError(f"{known.name!r} and {key.name!r} have the same key; make another: longjump key NAME")
        self.admin = any(key.admin for key in self._by_hash.values())
        """Whether there is a key that may change what is served."""

    def __len__(self) -> int:
        return len(self._by_hash)

    def find(self, authorization: bytes) -> Key | None:
        """The key in an Authorization header (`Bearer KEY`); None if it is not one of ours."""
        scheme, _, key = authorization.strip().partition(b" ")
        if scheme.lower() != b"bearer" or len(key) > _MAX_HEADER:
            return None
        sha256 = hashlib.sha256(key.strip()).hexdigest()
        # How long the table takes depends on hashes, which nobody can steer; the comparison takes the same time always.
        known = self._by_hash.get(sha256)
        return known if known is not None and hmac.compare_digest(known.sha256, sha256) else None


def unauthorized(detail: str) -> Problem:
    """401: no key, or not one of ours."""
    return Problem(401, "no-key", "An API key is needed", detail, headers=[(b"www-authenticate", b"Bearer")])


def forbidden(name: str) -> Problem:
    """403: a key that may not do this."""
    detail = f"the key of {name} may not change what is served; that takes one made with `longjump key NAME --admin`"
    return Problem(403, "not-an-admin", "The key may not do this", detail)


def read_keys(path: Path) -> Keys:
    """The keys of a file.

    Raises OSError if it cannot be read, ValueError that names the line that is wrong, or if there is no key in it.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            found.append(_parse(text))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    if not found:
        raise ValueError(f"{path}: there is no key in it, so nobody could ask; make one: longjump key NAME")
    return Keys(found)


def make_key(name: str, *, admin: bool = False) -> tuple[str, Key]:
    """A new random key, and what the server is to know of it. ValueError for a name that is not plain."""
    text = PREFIX + secrets.token_urlsafe(32)
    return text, Key(check_name(name, "the key's name"), hashlib.sha256(text.encode()).hexdigest(), admin)


def line_of(key: Key) -> str:
    """The key's line in the file."""
    return ":".join((key.name, key.sha256, *([_ADMIN] if key.admin else [])))


def _parse(text: str) -> Key:
    name, *rest = (part.strip() for part in text.split(":"))
    if not rest or len(rest) > 2 or not _HASH.fullmatch(rest[0]) or rest[1:] not in ([], [_ADMIN]):
        # The line is not repeated: it may be a key itself, put here by mistake.
        raise ValueError("it must be name:sha256 or name:sha256:admin, as `longjump key NAME` prints it")
    return Key(check_name(name, "the key's name"), rest[0], rest[1:] == [_ADMIN])
