"""The flags of `longjump serve` for jobs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from server.arguments import positive

if TYPE_CHECKING:
    from server.errands.store import Bounds
    from server.errands.webhook import Hooks

SECRET = "LONGJUMP_WEBHOOK_SECRET"
"""Environment variable: the secret, where there is no file of it."""


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    group = parser.add_argument_group(
        "jobs", "Of POST /jobs. With --redis they outlive a server; without they end with it."
    )
    group.add_argument(
        "--max-jobs",
        type=positive,
        default=1000,
        metavar="N",
        help="jobs that wait or run, at most (default: %(default)s)",
    )
    group.add_argument(
        "--job-ttl",
        type=positive,
        default=3600,
        metavar="S",
        help="how long a job and its result are kept when it is over; in less than 2820 a webhook's last try is not "
        "made (default: %(default)s)",
    )
    group.add_argument(
        "--job-bytes",
        type=positive,
        default=64 * 2**20,
        metavar="N",
        help="bytes of all results; the oldest go first, and one has a quarter at most (default: 64 MiB)",
    )
    group.add_argument(
        "--webhooks",
        action="append",
        default=[],
        metavar="HOST",
        help="let jobs name a URL of this host that is told when they are over: HOST, HOST:PORT, *.DOMAIN or * (any "
        "public address), over TLS unless it begins with http:// (repeat for more; default: none)",
    )
    group.add_argument(
        "--webhook-secret-file",
        type=Path,
        metavar="FILE",
        help=f"what such messages are signed with, if a job brings no webhook_secret: whsec_ and base64 (or: {SECRET} "
        "in the environment)",
    )


def read_bounds(args: argparse.Namespace) -> Bounds:
    """How much is kept."""
    from server.errands.store import Bounds

    return Bounds(args.max_jobs, args.job_ttl, args.job_bytes)


def read_hooks(args: argparse.Namespace) -> Hooks:
    """Who may be told. Raises ValueError or OSError that says what is wrong."""
    from server.errands.webhook import Hooks, pattern, secret_key

    patterns = [pattern(text) for text in args.webhooks]
    text = os.environ.get(SECRET)
    if args.webhook_secret_file is not None:
        text = args.webhook_secret_file.read_text(encoding="utf-8").strip()
    try:
        return Hooks(patterns, None if text is None else secret_key(text))
    except ValueError as error:
        raise ValueError(f"the secret of webhooks: {error}") from None
