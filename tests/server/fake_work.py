"""`longjump worker` with the worker process of fake_worker.py. Run as a script."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])  # in place of this folder: its modules are scripts

from server.fleet import command  # noqa: E402

WORKER = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    try:
        code = command.run(parser.parse_args(), worker=WORKER)
    except (ValueError, OSError) as error:
        print(f"longjump worker: error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)
