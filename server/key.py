"""Make an API key for a client of `longjump serve`.

    longjump key alice >> keys.txt            the line for the server's file; the key itself is shown on the terminal
    longjump key ops --admin >> keys.txt      a key that may also change what is served (POST /admin/models)
    longjump serve --api-keys keys.txt

    curl -H 'Authorization: Bearer KEY' -X POST localhost:8000/generate -o a.png

The file holds only hashes: a key cannot be read from it, and is shown once. To take a key back, delete its line and
start the server again. A name may have several lines, so that a client can change from one key to the next.
"""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump key`."""
    parser.add_argument("name", metavar="NAME", help="whose key it is: for logs, limits and fair share")
    parser.add_argument("--admin", action="store_true", help="may also change what is served")


def run(args: argparse.Namespace) -> int:
    """Print the line to stdout and the key to stderr. ValueError for a name that is not plain."""
    from server.http.auth import line_of, make_key

    text, key = make_key(args.name, admin=args.admin)
    print(line_of(key))
    print(f"longjump key: the key of {key.name}, shown once: {text}", file=sys.stderr)
    return 0
