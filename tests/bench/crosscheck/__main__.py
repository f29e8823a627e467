"""Our load tester beside wrk and locust on one server, in turn: do they see the same latencies?

    make crosscheck                        wrk is Debian's package of that name; locust comes from PyPI
    make crosscheck ARGS="--rate 60 --steps 4 --rounds 3"

All send at a constant rate below the knee. wrk asks POST /generate, locust the OpenAI route, and ours both, so each
has its counterpart on the same route. wrk and locust count from the sending, ours from the time at which a request
should have been sent, which is at most its lateness earlier; at such a rate that is a fraction of a millisecond.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtest.result import read

HERE = Path(__file__).parent

CONNECTIONS = 16
"""Of wrk, and users of locust: enough that one is always free for the next slot."""


@dataclass(frozen=True)
class Figures:
    """What a tool saw; seconds."""

    count: int
    seconds: float
    p50: float
    p99: float
    failed: int
    invalid: str = ""
    """Why the figures are not of the server; only our own tester says so."""


@dataclass(frozen=True)
class Question:
    """What every tool is to do."""

    url: str
    rate: int
    steps: int
    seconds: int
    folder: Path


def main() -> int:
    """Ask all tools in turn, for some rounds, and print what they saw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=40, metavar="R", help="requests per second (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1, metavar="K", help="(default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=25, metavar="S", help="of a run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--url", metavar="URL", help="of a server (default: the demo is started)")
    args = parser.parse_args()
    for tool, how in (("wrk", "apt install wrk"), ("locust", "make crosscheck installs it")):
        if not _found(tool):
            print(f"crosscheck: there is no {tool}; {how}", file=sys.stderr)
            return 2
    tools = {
        "ours": lambda question, seed: ours(question, seed, "generate"),
        "wrk": wrk,
        "ours, OpenAI": lambda question, seed: ours(question, seed, "openai"),
        "locust, OpenAI": locust,
    }
    seen: dict[str, list[Figures]] = {name: [] for name in tools}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = args.url or stack.enter_context(demo())
        question = Question(url, args.rate, args.steps, args.seconds, folder)
        for round_ in range(args.rounds):
            for number, (name, tool) in enumerate(tools.items()):
                seen[name].append(tool(question, 10**6 * (1 + round_ * len(tools) + number)))
                print(f"round {round_ + 1}: {name}: {line(seen[name][-1])}", flush=True)
    print(
        f"\n{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {_cpu()}: {args.rate}/s, {args.steps} steps, ", end=""
    )
    print(f"medians of {args.rounds} rounds of {args.seconds} s")
    for name, figures in seen.items():
        print(f"  {name:<16} p50 {median(figures, 'p50'):6.2f} ms   p99 {median(figures, 'p99'):6.2f} ms")
    for one, other in (("ours", "wrk"), ("ours, OpenAI", "locust, OpenAI")):
        apart = [median(seen[one], which) - median(seen[other], which) for which in ("p50", "p99")]
        print(f"  {one} less {other}: p50 {apart[0]:+.2f} ms, p99 {apart[1]:+.2f} ms")
    return 1 if any(one.failed or one.invalid for figures in seen.values() for one in figures) else 0


def ours(question: Question, seed: int, route: str) -> Figures:
    """`longjump loadtest run`, at constant gaps."""
    out = question.folder / f"{seed}.json"
    command = [sys.executable, "-m", "longjump", "loadtest", "run", question.url, "--route", route, "--quiet"]
    command += ["--arrivals", "constant", "--rate", str(question.rate), "--steps", str(question.steps)]
    command += ["--seconds", str(question.seconds), "--warmup", "2", "--verify", "0", "--seed", str(seed)]
    # Label `none` for all, so that both routes and all tools ask for the same work.
    command += ["--labels", "none", "--out", str(out)]
    finished = subprocess.run(command, capture_output=True, text=True)
    if not out.exists():
        raise SystemExit(f"crosscheck: our own run failed: {finished.stderr.strip()}")
    run = read(out)
    [one] = run.steps
    assert one.latency.p50 is not None
    assert one.latency.p99 is not None
    figures = (one.ok, run.window.seconds, one.latency.p50, one.latency.p99, one.sent - one.ok)
    return Figures(*figures, invalid="" if run.valid else run.lateness.why or run.aborted)


def wrk(question: Question, seed: int) -> Figures:
    """wrk with one thread, paced by pace.lua."""
    target = f"/generate?steps={question.steps}&label=none"
    environment = {**os.environ, "RATE": str(question.rate), "TARGET": target, "SEED": str(seed)}
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{question.seconds}s", "-s", str(HERE / "pace.lua"), question.url]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return Figures(**json.loads(finished.stdout.strip().splitlines()[-1]))


def locust(question: Question, seed: int) -> Figures:
    """locust with as many users as wrk has connections."""
    report = question.folder / f"locust-{seed}.json"
    asked = {"RATE": str(question.rate), "STEPS": str(question.steps), "SEED": str(seed), "REPORT": str(report)}
    environment = {**os.environ, **asked}
    command = [str(_found("locust")), "-f", str(HERE / "locustfile.py"), "--headless", "--host", question.url]
    command += ["-u", str(CONNECTIONS), "-r", str(CONNECTIONS), "-t", f"{question.seconds + 2}s", "--only-summary"]
    subprocess.run(command, env=environment, capture_output=True, text=True)
    return Figures(**json.loads(report.read_text(encoding="utf-8")))


@contextlib.contextmanager
def demo() -> Iterator[str]:
    """The demo on a free port, until it is no longer wanted."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "longjump", "serve", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=1):
                break
            time.sleep(0.2)
        else:
            raise SystemExit("crosscheck: the demo did not become ready within 20 s")
        yield url
    finally:
        server.terminate()
        server.wait()


def line(figures: Figures) -> str:
    """Figures as text."""
    rate = figures.count / figures.seconds
    return (
        f"{figures.count} answers, {rate:.1f}/s, p50 {1000 * figures.p50:.2f} ms, p99 {1000 * figures.p99:.2f} ms, "
        f"{figures.failed} failed{figures.invalid and f'; INVALID: {figures.invalid}'}"
    )


def median(figures: list[Figures], which: str) -> float:
    """The median over rounds, in milliseconds."""
    return 1000 * statistics.median(getattr(one, which) for one in figures)


def _found(tool: str) -> str | None:
    """A program on the path or beside the interpreter."""
    return shutil.which(tool) or shutil.which(tool, path=str(Path(sys.executable).parent))


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for text in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if text.startswith("model name"):
                return text.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
