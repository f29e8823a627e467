"""Load a server, and see what its latency depends on.

    longjump loadtest run --rate 50                       50 requests per second on a Poisson schedule
    longjump loadtest run --concurrency 16                as fast as 16 clients that wait for their answers can
    longjump loadtest sweep                               which step count for which rate and deadline, as a report
    longjump loadtest compare before.json after.json      what changed, and whether that is more than chance

The server is one that is running (`longjump serve`), here or elsewhere. Each part has its own --help.
"""

from __future__ import annotations

import argparse
import importlib

PARTS: dict[str, tuple[str, str]] = {
    "run": ("loadtest.run", "one load for a while: latency by steps, goodput, the server's stages"),
    "sweep": ("loadtest.sweep.command", "rising rates for each step count, to the highest that meets a deadline"),
    "compare": ("loadtest.compare", "two results: what changed, with uncertainty"),
    "report": ("loadtest.report.command", "a sweep's report again, and its charts as pictures"),
}
"""Name -> the module that owns it, as a subcommand of longjump is owned, and its line of help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump loadtest`."""
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for name, (module, help) in PARTS.items():
        owner = importlib.import_module(module)
        own = parts.add_parser(
            name,
            help=help,
            description=owner.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # --head would be --header, whose value is kept out of the result by its name
        )
        owner.add_arguments(own)


def run(args: argparse.Namespace) -> int:
    """Run the part that was named."""
    module, _ = PARTS[args.part]
    return int(importlib.import_module(module).run(args))
