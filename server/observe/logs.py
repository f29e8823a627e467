"""Log lines on stderr, as text or JSON, written so that nothing can stop or delay the server.

A line is put into a bounded buffer and written by a thread; what does not fit, because a disk is full or a reader is
slow, is counted and left out. Everything goes through Python's `logging`, but for the line of each request
(`--log-requests`), which is made only in the thread.
"""

from __future__ import annotations

import atexit
import datetime
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from server.observe.account import Account, Caller

Form = Literal["text", "json"]

MAX_LINES = 10_000
"""Lines that wait to be written at most."""

BATCH_SECONDS = 0.05
"""How long the writer gathers lines, so that it does not wake up for each."""

_MAX_PATH = 200

Line = dict[str, Any]


class Log:
    """Lines on their way to a file descriptor."""

    def __init__(self, form: Form, descriptor: int = 2, command: str = "serve") -> None:
        """`command` is the subcommand that speaks."""
        self._command = command
        self._form = form
        self._descriptor = descriptor
        self._lines: deque[Callable[[], Line]] = deque()
        self.left_out = 0
        """Lines that could not be written, since the last one that could."""
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._ending = False
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def add(self, line: Callable[[], Line], *, now: bool = False) -> None:
        """Write what `line` makes, soon or `now`, in another thread: it holds what does not change any more."""
        if len(self._lines) >= MAX_LINES:
            self.left_out += 1
            return
        self._lines.append(line)
        if now:
            self._hurry.set()
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Lines to be written."""
        return len(self._lines)

    def close(self, patience: float = 1.0) -> None:
        """Write what is there, for at most `patience` seconds."""
        self._ending = True
        self._hurry.set()
        self._wake.set()
        self._writer.join(patience)

    def request(self, scope: Mapping[str, Any], caller: Caller, account: Account, start: float, seconds: float) -> None:
        """The line of a request that is over; `server.http.gate.Closed`."""
        self.add(lambda: request_line(scope["method"], scope["path"], caller, account, start, seconds))

    def _write(self) -> None:
        while not self._ending or self._lines:
            self._wake.wait()
            self._hurry.wait(BATCH_SECONDS)
            self._hurry.clear()
            self._wake.clear()
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            left_out, self.left_out = self.left_out, 0
            made = [make() for make in lines]
            if left_out:
                made.append(message_line("warning", f"{left_out} log lines were left out: they could not be written"))
            try:
                _write_all(self._descriptor, "".join(map(self._text, made)).encode())
            except OSError:
                self.left_out += left_out + len(lines)

    def _text(self, line: Line) -> str:
        return (json.dumps(line) if self._form == "json" else as_text(line, self._command)) + "\n"


class Handler(logging.Handler):
    """What the server and its libraries log, as lines of a Log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        self._format = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; its text is made at once, since what it names may change."""
        text = self._format.format(record)
        line = message_line(record.levelname.lower(), text, record.created)
        self._log.add(lambda: line, now=True)


def set_up(form: Form, descriptor: int = 2, command: str = "serve") -> Log:
    """Send what is logged from now on to a file descriptor (default: stderr); the rest of it when the process ends."""
    log = Log(form, descriptor, command)
    atexit.register(log.close)
    logging.getLogger().addHandler(Handler(log))
    logging.getLogger("longjump").setLevel(logging.INFO)
    return log


def message_line(level: str, text: str, when: float | None = None) -> Line:
    """A line that says something; `when` in seconds of the epoch, now by default."""
    return {"time": _timestamp(when), "level": level, "message": text}


def request_line(method: str, path: str, caller: Caller, account: Account, start: float, seconds: float) -> Line:
    """The line of a request that began at `start` (of the epoch) and took `seconds`. Times in it are milliseconds."""
    line: Line = {
        "time": _timestamp(start),
        "level": "error" if account.status == 500 else "info",
        "message": "request",
        "request_id": caller.request_id,
        "client": caller.client,
        "method": method,
        "path": path[:_MAX_PATH],
        "status": account.status,
        "ms": round(1000 * seconds, 3),
    }
    for name in ("refused", "model", "steps", "source"):
        if (value := getattr(account, name)) is not None:
            line[name] = value
    if account.first_image is not None:
        line["first_image_ms"] = round(1000 * account.first_image, 3)
    if account.stages is not None:
        line |= {f"{name}_ms": round(1000 * value, 3) for name, value in vars(account.stages).items()}
    return line


def as_text(line: Line, command: str = "serve") -> str:
    """A line for a person: its message, and name=value for the rest."""
    if line["message"] != "request":
        return f"longjump {command}: {line['message']}"
    rest = ((name, value) for name, value in line.items() if name not in ("level", "message"))
    return " ".join(f"{name}={_plain(value)}" for name, value in rest)


def _plain(value: Any) -> str:
    """A value without anything that could pass for another field or line."""
    text = str(value)
    return text if text.isprintable() and " " not in text and '"' not in text else json.dumps(text)


def _timestamp(when: float | None) -> str:
    moment = (
        datetime.datetime.now(datetime.UTC) if when is None else datetime.datetime.fromtimestamp(when, datetime.UTC)
    )
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
