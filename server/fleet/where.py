"""Which Redis, and how to be let in: from the command line to redis-py's options."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PASSWORD = "LONGJUMP_REDIS_PASSWORD"
"""Environment variable: the password, where it shall not be in the process list."""

IN_QUERY = ("db", "username", "password")
"""What a URL may say after ?. The rest of redis-py's options is ours: with some of them answers read otherwise."""


@dataclass(frozen=True)
class Where:
    """Which Redis, and how to be let in."""

    url: str
    """redis://, rediss:// (TLS) or unix://; user, password and database as usual."""
    password_file: Path | None = None
    ca: Path | None = None
    """Certificates that may have signed the server's; None: the system's."""
    certificate: Path | None = None
    key: Path | None = None
    """This client's own, where the server asks for one."""

    @property
    def shown(self) -> str:
        """The URL without user and password, to be printed."""
        scheme, _, rest = self.url.rpartition("://")
        place = rest.rpartition("@")[2].partition("?")[0].partition("#")[0]  # whatever is wrong with the rest
        return f"{scheme}://{place}" if scheme else place

    def options(self) -> dict[str, Any]:
        """Arguments of redis-py's connections. ValueError or OSError for what cannot be right."""
        scheme = self.url.partition(":")[0].lower()
        if not _leads_somewhere(self.url):
            raise ValueError(
                f"--redis {self.shown}: not the URL of a Redis; write redis://HOST:6379, rediss://HOST:6379 for TLS, "
                "or unix:///PATH"
            )
        if parse_qs(urlsplit(self.url).query, keep_blank_values=True).keys() - IN_QUERY:
            raise ValueError(  # without its name, which may be a piece of a password
                f"--redis {self.shown}: what the URL says after ? is no option; it may be {', '.join(IN_QUERY)}"
            )
        found: dict[str, Any] = {} if scheme == "unix" else {"socket_keepalive": True}
        if self.password_file is not None:
            found["password"] = self.password_file.read_text(encoding="utf-8").strip()
        elif PASSWORD in os.environ:
            found["password"] = os.environ[PASSWORD]
        tls = {"ssl_ca_certs": self.ca, "ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        given = {name: str(path) for name, path in tls.items() if path is not None}
        if given and scheme != "rediss":
            raise ValueError(f"--redis {self.shown}: certificates are for TLS; write rediss:// or leave them out")
        for path in given.values():
            Path(path).read_bytes()  # an error that names the file, now
        return found | given


def where(args: argparse.Namespace) -> Where:
    """The Redis that the flags name."""
    return Where(args.redis, args.redis_password_file, args.redis_ca, args.redis_cert, args.redis_key)


def _leads_somewhere(url: str) -> bool:
    """Whether a URL names a host, with a port that is a number if there is one, or a socket of this machine."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return bool(parts.path.strip("/")) and not parts.hostname
        return parts.scheme in ("redis", "rediss") and parts.port != 0
    except ValueError:
        return False
