"""The flags that both sides of a fleet have: which Redis, how to be let in, and which fleet."""

from __future__ import annotations

import argparse
from pathlib import Path

from server.arguments import whole


def add_redis_arguments(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Declare them. `required`: --redis must be given."""
    group = parser.add_argument_group("many machines", "See docs/fleet.md.")
    group.add_argument(
        "--redis",
        metavar="URL",
        required=required,
        help="the Redis that carries the work: redis://HOST:6379, rediss://HOST:6379 (TLS) or unix:///PATH",
    )
    group.add_argument(
        "--fleet",
        default="default",
        metavar="NAME",
        help="API processes and workers of one name belong together; several may share a Redis (default: %(default)s)",
    )
    group.add_argument(
        "--redis-password-file",
        type=Path,
        metavar="FILE",
        help="the password, out of sight of the process list (or: LONGJUMP_REDIS_PASSWORD in the environment)",
    )
    group.add_argument("--redis-ca", type=Path, metavar="FILE", help="certificates that may have signed Redis' own")
    group.add_argument("--redis-cert", type=Path, metavar="FILE", help="our certificate, where Redis asks for one")
    group.add_argument("--redis-key", type=Path, metavar="FILE", help="the key of --redis-cert")


def add_commons_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what API processes share in Redis beside the work."""
    group = parser.add_argument_group("what servers with --redis share")
    group.add_argument(
        "--shared-cache-bytes",
        type=whole,
        default=64 * 2**20,
        metavar="N",
        help="bytes of Redis for answers that all API processes may give again, at most; it makes room when Redis' "
        "memory fills. 0: none (default: 64 MiB)",
    )
