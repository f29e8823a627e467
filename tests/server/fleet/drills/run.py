"""`make drill`: all drills, as often as asked, and a table of what became of the requests.

python -m tests.server.fleet.drills.run [TIMES]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .conftest import LOG, ROUND

COLUMNS = ("sent", "answered", "refused", "errored", "lost", "wrong")


def table(counted: Sequence[dict[str, int | str]]) -> str:
    """The sums of each drill, as Markdown."""
    drills = dict.fromkeys(str(one["drill"]) for one in counted)
    lines = [f"| drill | times | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * (1 + len(COLUMNS))}"]
    for drill in drills:
        own = [one for one in counted if one["drill"] == drill]
        sums = [str(sum(int(one[column]) for one in own)) for column in COLUMNS]
        lines.append(f"| {drill} | {len(own)} | {' | '.join(sums)} |")
    return "\n".join(lines)


def main(times: int) -> int:
    """Run them; 1 if any failed."""
    failed = 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        for number in range(1, times + 1):
            print(f"drills, {number} of {times}", flush=True)
            command = [sys.executable, "-m", "pytest", "-q", "-rs", "-s", str(Path(__file__).parent)]
            environment = {**os.environ, LOG: str(log), ROUND: str(number)}
            failed += subprocess.run(command, env=environment, check=False).returncode != 0
        counted = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    print(f"\n{times} times in {time.monotonic() - start:.0f} s; {failed} of them failed\n\n{table(counted)}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
