"""ONNX Runtime's options on this CPU, other precisions and OpenVINO, in one alternating run: which default is the best.

    python -m tests.bench.cpu_options BUNDLE [--openvino PYTHON] [--rounds N] [--threads N]
    python -m tests.bench.cpu_options --dit-s FOLDER      first write a bundle of a DiT-S/4 with random weights, 32x32

Each variant is a process with one session; they take turns, a few evaluations each, so that all see the same machine.
OpenVINO's build of ONNX Runtime replaces the usual one, so it needs an environment of its own, whose Python is given
(`python -m venv E; E/bin/pip install onnxruntime-openvino`). Printed as a table in Markdown: milliseconds of one
evaluation, median and least, and the medians of two ratios to the default within a round, of time and of processor
time. The latter is the one to look at where other programs run too; it also counts threads that spin.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.flow_map import FlowMap

ROWS = (1, 8)
STINT = 4
"""Evaluations in a row, of which the first is not counted."""

SETTLE_SECONDS = 0.05
"""After each stint: threads stop spinning."""

SPIN, DENORMALS = "session.intra_op.allow_spinning", "session.set_denormal_as_zero"


@dataclass(frozen=True)
class Variant:
    """One way to run one file."""

    name: str
    precision: str = "fp32"
    level: str = "ORT_ENABLE_ALL"
    arena: bool = True
    pattern: bool = True
    threads: int | None = None
    """None: as many as all others."""
    entries: dict[str, str] = field(default_factory=dict)
    openvino: bool = False


VARIANTS = (
    Variant("default"),
    Variant("optimisation: none", level="ORT_DISABLE_ALL"),
    Variant("optimisation: basic", level="ORT_ENABLE_BASIC"),
    Variant("optimisation: extended", level="ORT_ENABLE_EXTENDED"),
    Variant("threads do not spin", entries={SPIN: "0"}),
    Variant("no arena", arena=False),
    Variant("no memory pattern", pattern=False),
    Variant("denormals are zero", entries={DENORMALS: "1"}),
    Variant("one thread", threads=1),
    Variant("fp16", "fp16"),
    Variant("int8", "int8"),
    Variant("OpenVINO", openvino=True),
    Variant("OpenVINO, int8", "int8", openvino=True),
)


class Runner:
    """A variant's process."""

    def __init__(self, variant: Variant, bundle: Path, threads: int, python: str) -> None:
        self.variant = variant
        task = {
            "file": str(bundle / f"jump.{variant.precision}.onnx"),
            "shape": json.loads((bundle / "manifest.json").read_bytes())["z_shape"],
            "level": variant.level,
            "arena": variant.arena,
            "pattern": variant.pattern,
            "threads": variant.threads or threads,
            "entries": variant.entries,
            "openvino": variant.openvino,
        }
        self._process = subprocess.Popen(
            [python, __file__, "--process", json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.times(ROWS[0])

    def times(self, rows: int) -> list[tuple[float, float]]:
        """Seconds, and processor seconds, of the evaluations of a stint that count."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{rows}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"{self.variant.name}: the process ended with {self._process.wait()}")
        return [tuple(pair) for pair in json.loads(line)]

    def end(self) -> None:
        """Let it go."""
        self._process.communicate()


def process(task: dict[str, Any]) -> None:
    """The process: a number of rows comes in as a line, the seconds of a stint go out as JSON."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, task["level"])
    options.enable_cpu_mem_arena, options.enable_mem_pattern = task["arena"], task["pattern"]
    options.intra_op_num_threads = task["threads"]
    options.log_severity_level = 4
    for key, value in task["entries"].items():
        options.add_session_config_entry(key, value)
    providers: list[Any] = ["CPUExecutionProvider"]
    if task["openvino"]:
        settings = {"device_type": "CPU", "num_of_threads": str(task["threads"])}
        providers = [("OpenVINOExecutionProvider", settings), *providers]
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # as its documentation has it
    session = ort.InferenceSession(task["file"], options, providers=providers)
    if task["openvino"] and session.get_providers()[0] != "OpenVINOExecutionProvider":
        raise OSError("OpenVINO's provider did not start")
    names = {node.name for node in session.get_inputs()}
    random = np.random.default_rng(0)
    for line in sys.stdin:
        rows = int(line)
        feed = {
            "z": random.standard_normal((rows, *task["shape"]), dtype=np.float32),
            "t": np.ones(rows, np.float32),
            "s": np.zeros(rows, np.float32),
            "label": np.zeros(rows, np.int64),
            "guidance": np.ones(rows, np.float32),
        }
        feed = {name: value for name, value in feed.items() if name in names}
        seconds = []
        for _ in range(STINT):
            start, spent = time.perf_counter(), time.process_time()
            session.run(None, feed)
            seconds.append((time.perf_counter() - start, time.process_time() - spent))
        print(json.dumps(seconds[1:]), flush=True)


def measure(bundle: Path, threads: int, rounds: int, openvino: str | None) -> str:
    """The table."""
    has = {file.name for file in bundle.glob("jump.*.onnx")}
    wanted = [
        variant
        for variant in VARIANTS
        if f"jump.{variant.precision}.onnx" in has and (openvino or not variant.openvino)
    ]
    runners = [
        Runner(variant, bundle, threads, openvino if variant.openvino and openvino else sys.executable)
        for variant in wanted
    ]
    times: dict[tuple[str, int], list[list[tuple[float, float]]]] = {
        (v.name, rows): [] for v in wanted for rows in ROWS
    }
    for _ in range(rounds):
        for rows in ROWS:
            for runner in runners:
                times[runner.variant.name, rows].append(runner.times(rows))
                time.sleep(SETTLE_SECONDS)
    for runner in runners:
        runner.end()
    lines = [
        "| variant | "
        + " | ".join(f"{rows} rows: median, least (ms) | of the default: time, CPU" for rows in ROWS)
        + " |",
        "|---|" + "---|---|" * len(ROWS),
    ]
    for variant in wanted:
        cells = []
        for rows in ROWS:
            own, default = times[variant.name, rows], times[VARIANTS[0].name, rows]
            walls = [wall for stint in own for wall, _ in stint]
            ratios = [
                statistics.median(min(x[part] for x in a) / min(x[part] for x in b) for a, b in zip(own, default))
                for part in (0, 1)
            ]
            cells.append(
                f"{1000 * statistics.median(walls):.1f}, {1000 * min(walls):.1f} | {ratios[0]:.2f}, {ratios[1]:.2f}"
            )
        lines.append(f"| {variant.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_dit(folder: Path, width: int = 384, depth: int = 12, heads: int = 6) -> FlowMap:
    """A bundle of a DiT/4 for 32x32 pictures with random weights, in every precision, at `folder`; its network.

    Without another size it is a DiT-S.
    """
    from tempfile import TemporaryDirectory

    import torch

    from export.export import export
    from export.runtime.grids import flow_grid
    from models.build import DiTArchitecture, build
    from models.checkpoint import CheckpointConfig, write_weights

    torch.manual_seed(0)
    architecture = DiTArchitecture(width=width, depth=depth, heads=heads, patch=4)
    flow_map = build(architecture, (3, 32, 32), 10, "any")
    for name, parameter in flow_map.named_parameters():
        if any(last in name for last in ("modulation", "project", "gain")):  # they start at zero
            torch.nn.init.normal_(parameter, std=0.02)
    config = CheckpointConfig(
        method="none",
        kind="image",
        shape=(3, 32, 32),
        labels=tuple(map(str, range(10))),
        architecture=architecture,
        span="any",
        grids={"1": [tuple(step) for step in flow_grid(1)]},
        emas=("0.05",),
        step=0,
        recipe={},
        data={"name": "none"},
    )
    with TemporaryDirectory() as checkpoint:
        write_weights(Path(checkpoint), "ema-0.05", flow_map.state_dict())
        (Path(checkpoint) / "config.json").write_text(config.model_dump_json())
        export(Path(checkpoint), folder, precisions=("fp32", "fp16", "int8"), force_precision=True)
    return flow_map


def main() -> None:
    """See the module."""
    if sys.argv[1:2] == ["--process"]:
        process(json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dit-s", action="store_true", help="write such a bundle there first")
    parser.add_argument("--openvino", metavar="PYTHON", help="of the environment with onnxruntime-openvino")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if args.dit_s:
        write_dit(args.bundle)
    before = os.getloadavg()[0]
    print(measure(args.bundle, args.threads, args.rounds, args.openvino))
    after = os.getloadavg()[0]
    print(f"\n{args.threads} threads, {args.rounds} rounds; load average {before:.1f} before, {after:.1f} after")


if __name__ == "__main__":
    main()
