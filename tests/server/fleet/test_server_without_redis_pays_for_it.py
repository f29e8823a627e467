"""One machine needs no Redis: without `--redis` neither the library nor the fleet's room is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ..conftest import ROOT, Start

WHOLE = """
import sys
import server.backend.lines, server.application, server.http.flags, server.observe.metrics, server.serve
import server.worker.process
print(*sorted(name for name in sys.modules if name.startswith(("redis", "hiredis", "server.fleet"))))
"""


def test_server_loads_no_redis() -> None:
    found = subprocess.run([sys.executable, "-c", WHOLE], cwd=ROOT, capture_output=True, text=True, check=True)
    # The flags are declared in any case, by a file that imports argparse alone.
    assert set(found.stdout.split()) <= {"server.fleet", "server.fleet.arguments"}


def test_running_server_has_no_redis_in_its_memory(start: Start, images: Path) -> None:
    api = start(images, fake=False)
    assert api.client.post("/generate?seed=1").status_code == 200
    for pid in (api.process.pid, api.worker()):
        assert "hiredis" not in Path(f"/proc/{pid}/maps").read_text()
