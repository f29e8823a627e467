"""Work on several processes, its results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from export.runtime.cores import available_cores

Task = TypeVar("Task")
Result = TypeVar("Result")

WAITING = 3  # tasks per process that are under way or done and not yet taken: what bounds the memory


def in_processes(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int | None = None
) -> Generator[Result, None, None]:
    """`function(task)` for each task, in order; in this process when one worker is asked for.

    Args:
        function: of a module, or a partial of one: it is sent to the processes.
        tasks: taken from as there is room, so they may be more than fit into memory.
        workers: None means one per core that this process may use.

    Raises:
        OSError: a process died.
    """
    workers = workers or available_cores()
    if workers == 1:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    waiting: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= WAITING * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise OSError("a worker process died (out of memory?); try fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


def check_workers(workers: int | None) -> None:
    """Raise ValueError unless `--workers` is at least 1, or not given."""
    if workers is not None and workers < 1:
        raise ValueError(f"--workers is {workers}; it must be at least 1")


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends: the pool's workers would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
