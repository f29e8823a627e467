"""Servers under test: real `longjump serve` processes on free ports, over tiny bundles, ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.runtime.grids import flow_grid, renoise_grid
from export.runtime.manifest import Guidance
from export.wrap import wrap
from server.jobs import Job

ROOT = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).with_name("fake_serve.py")

PATIENCE = 60.0
"""Seconds until a test gives up waiting for something that should happen at once."""


def eventually(happens: Callable[[], object], what: str) -> None:
    """Wait until `happens()` is true; fail the test if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not happens():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen: {what}")
        time.sleep(0.01)


def make_job(number: int, **fields: object) -> Job:
    """A job that asks for little: one sample, one step, an hour's time. `fields` are those of Job."""
    now = time.monotonic()
    usual: dict[str, object] = {
        "client": "someone",
        "priority": "interactive",
        "arrival": now,
        "due": float(number),
        "deadline": now + 3600,
        "seed": 0,
        "n": 1,
        "label": 0,
        "steps": 1,
        "guidance": None,
        "format": "png",
        "layout": "whole",
    }
    return Job(number, **{**usual, **fields})  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Server:
    """A server process and what a client sees of it."""

    def __init__(self, command: list[str], environment: dict[str, str], gate: Path, log: Path | None = None) -> None:
        """`log`: what the server says goes to this file, and is not in `said`."""
        self.gate = gate
        """Where the engine is held: see fake_worker.py."""
        with contextlib.ExitStack() as files:
            self.process = subprocess.Popen(
                command,
                stderr=subprocess.PIPE if log is None else files.enter_context(log.open("w")),
                text=True,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._pool = ThreadPoolExecutor(64)
        self.client = httpx.Client(timeout=PATIENCE, limits=httpx.Limits(max_connections=100))

    def _read(self) -> None:
        if self.process.stderr is not None:
            self.said.extend(iter(self.process.stderr.readline, ""))

    def wait_until_ready(self) -> None:
        """Learn the address from what the server says."""
        eventually(lambda: self.process.poll() is not None or self._address(), "the server is ready")
        assert self.process.poll() is None, "".join(self.said)
        self.client.base_url = self._address()

    def _address(self) -> str:
        found = re.search(r"ready on (\S+)", "".join(self.said))
        return found[1] if found else ""

    def wait_until_listening(self) -> None:
        """Learn the address of a server that is not ready, from the sockets of its process."""

        def listening() -> bool:
            table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            ports = {f"socket:[{row[9]}]": int(row[1].split(":")[1], 16) for row in table if row[3] == "0A"}
            for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if port := ports.get(os.readlink(link)):
                        self.client.base_url = f"http://127.0.0.1:{port}"
                        return True
            return False

        eventually(listening, "the server listens")

    @property
    def port(self) -> int:
        return int(self._address().rsplit(":", 1)[1])

    def send(self, target: str, **options: object) -> Future[httpx.Response]:
        """POST in the background."""
        return self._pool.submit(self.client.post, target, **options)  # type: ignore[arg-type]

    def metric(self, series: str) -> float:
        """The value of a series of /metrics, 0 if it is not there yet; of a name alone, the sum of its series."""
        total = 0.0
        for line in self.client.get("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if series in (name, name.partition("{")[0]):
                total += float(value)
        return total

    def wait_for(self, series: str, value: float) -> None:
        """Wait until a series has the value."""
        eventually(lambda: self.metric(series) == value, f"{series} is {value}")

    def open_gate(self) -> None:
        """Let the engine run."""
        self.gate.touch()

    def worker(self) -> int:
        """The process id of the worker, if it is the only one."""
        (worker,) = self.workers()
        return worker

    def workers(self) -> list[int]:
        """The process ids of all workers."""
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and self._parent(entry) == self.process.pid and alive(int(entry.name))
        ]

    def accepted(self) -> float:
        """Requests that are waiting or with a worker."""
        return self.metric("longjump_waiting") + self.metric("longjump_running")

    @staticmethod
    def _parent(entry: Path) -> int:
        try:
            return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return -1

    def end(self) -> None:
        """Kill what is left, the worker with it."""
        self.gate.touch()
        for pid in (self.process.pid, *self._group()):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.client.close()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _group(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.getpgid(int(entry.name)) == self.process.pid:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
        return found


Start = Callable[..., Server]


def starter(folder: Path) -> Iterator[Start]:
    """A function that starts servers, and their end."""
    servers: list[Server] = []

    def start(
        bundle: Path,
        *options: str,
        fake: bool = True,
        ready: bool = True,
        held: bool = False,
        log: Path | None = None,
        **environment: str,
    ) -> Server:
        """`fake`: the worker of fake_worker.py, behind a closed gate if `held`; else the real front door.

        Requests have a minute, unless an option or they say otherwise: a gate takes its time.
        """
        gate = folder / f"gate{len(servers)}"
        environment.setdefault("LONGJUMP_COST_CACHE", str(folder / "costs"))
        if held:
            environment["TEST_GATE"] = str(gate)
        program = [str(FAKE)] if fake else [str(ROOT / "longjump.py"), "serve"]
        command = [sys.executable, *program, "--port", "0", "--deadline", "60000", str(bundle), *options]
        server = Server(command, environment, gate, log)
        servers.append(server)
        if ready and log is None:
            server.wait_until_ready()
        return server

    yield start
    for server in servers:
        server.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers for one test."""
    yield from starter(tmp_path)


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start servers that the tests of a module share."""
    yield from starter(tmp_path_factory.mktemp("gates"))


def jump_graph(path: Path, shape: tuple[int, ...], guidance: bool = False) -> Path:
    """An ONNX jump with a matrix product over all of z, so that its arithmetic is that of a network."""
    size = int(np.prod(shape))
    weight = np.random.Generator(np.random.PCG64(1)).normal(0, size**-0.5, (size, size)).astype(np.float32)
    column = np.array([-1, 1], dtype=np.int64)
    nodes = [
        helper.make_node("Cast", ["label"], ["label_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["label_f", "small"], ["shift"]),
        *([helper.make_node("Add", ["shift", "guidance"], ["shifted"])] if guidance else []),
        helper.make_node("Flatten", ["z"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["mixed"]),
        helper.make_node("Reshape", ["shifted" if guidance else "shift", "column"], ["shift_column"]),
        helper.make_node("Add", ["mixed", "shift_column"], ["velocity"]),
        helper.make_node("Sub", ["t", "s"], ["span"]),
        helper.make_node("Reshape", ["span", "column"], ["span_column"]),
        helper.make_node("Mul", ["velocity", "span_column"], ["step"]),
        helper.make_node("Sub", ["flat", "step"], ["moved"]),
        helper.make_node("Shape", ["z"], ["shape"]),
        helper.make_node("Reshape", ["moved", "shape"], ["z_s"]),
    ]
    constants = {"weight": weight, "column": column, "small": np.float32(0.05)}

    def info(name: str, kind: int, *dims: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", *dims])

    inputs = [
        info("z", TensorProto.FLOAT, *shape),
        info("t", TensorProto.FLOAT),
        info("s", TensorProto.FLOAT),
        info("label", TensorProto.INT64),
        *([info("guidance", TensorProto.FLOAT)] if guidance else []),
    ]
    graph = helper.make_graph(
        nodes,
        "jump",
        inputs,
        [info("z_s", TensorProto.FLOAT, *shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


GRIDS = {"1": flow_grid(1), "2": renoise_grid([1.0, 0.5]), "4": flow_grid(4)}
"""Two steps re-noise, so that a mixed batch has rows with and without new noise."""


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 8x8 images with three labels and 1, 2 or 4 steps."""
    folder = tmp_path_factory.mktemp("images")
    graph = jump_graph(folder / "jump.onnx", (3, 8, 8))
    wrap(graph, folder / "tiny", z_shape=(3, 8, 8), labels=["cat", "dog", "owl"], span="any", grids=GRIDS)
    return folder / "tiny"


@pytest.fixture(scope="session")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graph takes guidance from 1 to 4."""
    folder = tmp_path_factory.mktemp("guided")
    graph = jump_graph(folder / "jump.onnx", (1, 8, 8), guidance=True)
    scale = Guidance(min=1.0, max=4.0, default=2.0)
    wrap(graph, folder / "guided", z_shape=(1, 8, 8), labels=["cat", "dog"], span="any", guidance=scale)
    return folder / "guided"


@pytest.fixture(scope="session")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of points in the plane without labels, which takes 2 steps or 4."""
    folder = tmp_path_factory.mktemp("points")
    graph = jump_graph(folder / "jump.onnx", (2,))
    grids = {"2": flow_grid(2), "4": flow_grid(4)}
    wrap(graph, folder / "plane", z_shape=(2,), labels=[], span="any", grids=grids)
    return folder / "plane"
