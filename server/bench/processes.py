"""What Linux says about a tree of processes: who is in it, its memory and its processor time."""

from __future__ import annotations

import os
import resource
from pathlib import Path

PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """`pid` and its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def pss(pid: int) -> int:
    """Bytes of proportional memory: pages shared with other processes count in equal parts. 0 for one that ended."""
    try:
        return parse_pss((PROC / str(pid) / "smaps_rollup").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0


def own_memory(pid: int) -> int:
    """Bytes of memory that holds no file's content, where leaks are: unlike `pss` it does not change when another
    process that shares our libraries comes or goes. 0 for a process that ended."""
    try:
        return parse_pss((PROC / str(pid) / "smaps_rollup").read_text(), "Pss_Anon:")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def parse_pss(text: str, name: str = "Pss:") -> int:
    """The bytes that a smaps_rollup gives by `name`; 0 if it is empty, as that of a process which is ending."""
    sizes = [line.split() for line in text.splitlines() if line.startswith(name)]
    return int(sizes[0][1]) * 1024 if sizes else 0


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time that a process has used (in steps of 10 ms); 0 for one that ended."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def used_by_all() -> float:
    """Seconds of processor time, over all cores, that the machine has used, waiting and idling left out."""
    user, nice, system, _, _, *rest = map(int, (PROC / "stat").read_text().split(maxsplit=9)[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def used_by_us() -> float:
    """Seconds of processor time of this process, and of those it started, and they, once they have ended."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def open_files(pid: int) -> int:
    """How many descriptors a process has open; 0 for one that ended."""
    try:
        return len(os.listdir(PROC / str(pid) / "fd"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        return (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
