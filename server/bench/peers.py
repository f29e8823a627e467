"""Servers to compare with: small services over mosec and FastAPI, which lie with the tests and are not installed."""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path

from server.bench.contenders import HOME, Contender, post_json

MOSEC = "mosec"

SERVICES = HOME / "tests" / "bench" / "peers"


def find_peers(bundle: Path, workers: int, threads: int) -> tuple[Contender, ...]:
    """mosec with our split of the cores, and FastAPI without batching: one process and one engine with all the threads,
    called from a pool of threads, so that it fills every core whatever the split is.

    Raises ValueError outside a source checkout, and without mosec.
    """
    if not SERVICES.is_dir():
        raise ValueError(f"--peers needs a source checkout: there is no {SERVICES}")
    if importlib.util.find_spec("mosec") is None:
        raise ValueError("--peers needs mosec: pip install -c constraints.txt mosec")

    def service(file: str, name: str, *split: int) -> Contender:
        port = _free_port()
        options = ("--bundle", str(bundle), "--port", str(port), "--split", *map(str, split))
        return Contender(name, (sys.executable, str(SERVICES / file), *options), post_json, post_json, port)

    return (
        service("mosec_service.py", MOSEC, workers, threads),
        service("fastapi_service.py", "FastAPI, no batching, all cores", 1, workers * threads),
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
