"""`make drill`: all drills, as often as asked, and a table of what became of the requests, as docs/drills.md has it.

python -m tests.server.fleet.drills.run [TIMES]

Ctrl-C ends it with the table of what was held until then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from ..redis_server import program
from .conftest import LOG, ROUND

ALL = "all"
COLUMNS = ("sent", "answered", "refused", "errored", "lost", "wrong")


def table(counted: Sequence[dict[str, int | str]]) -> str:
    """The sums of each drill, and of all, as Markdown."""
    lines = [f"| drill | times | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * (1 + len(COLUMNS))}"]
    for drill in (*dict.fromkeys(str(one["drill"]) for one in counted), ALL):
        own = [one for one in counted if drill in (one["drill"], ALL)]
        sums = [str(sum(int(one[column]) for one in own)) for column in COLUMNS]
        lines.append(f"| {drill} | {len(own)} | {' | '.join(sums)} |")
    return "\n".join(lines)


def main(times: int) -> int:
    """Run them; 1 if any failed."""
    failed, seconds, loads = 0, list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        try:
            for number in range(1, times + 1):
                print(f"drills, {number} of {times}", flush=True)
                command = [sys.executable, "-m", "pytest", "-q", "-rs", "-s", str(Path(__file__).parent)]
                environment = {**os.environ, LOG: str(log), ROUND: str(number)}
                start = time.monotonic()
                failed += subprocess.run(command, env=environment, check=False).returncode != 0
                seconds.append(time.monotonic() - start)
                loads.append(os.getloadavg()[0])
        except KeyboardInterrupt:
            print("\nended early")
        counted = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if seconds:
        commit, server = said("git", "rev-parse", "--short", "HEAD"), said(program(), "--version")
        print(
            f"\n{len(seconds)} rounds, {failed} of them with a drill that failed; {len(counted)} drills counted, "
            f"{min(seconds):.0f} to {max(seconds):.0f} s a round\n(commit {commit}, load average {min(loads):.1f} to "
            f"{max(loads):.1f}, {server}, {date.today()})\n\n{table(counted)}"
        )
    return int(failed > 0 or len(seconds) < times)


def said(*command: str) -> str:
    """What a command prints; nothing where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
