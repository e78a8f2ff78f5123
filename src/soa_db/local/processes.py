"""Process trees by pid: who is whose child, since when, and signals to all of a tree.

PostgreSQL's children each lead a session of their own, so a signal to a process group does not reach them; and a pid
alone may have been recycled, so that a recorded process is known by pid *and* start time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Process", "alive", "command_line", "find", "kill_tree", "pause_tree", "resume_tree", "table", "tree"]

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process as it was seen.

    Attributes:
        pid: process id.
        parent: the parent's process id.
        started: when it started, as the system writes it; comparable for equality only.
        zombie: dead, and not yet waited for.
    """

    pid: int
    parent: int
    started: str
    zombie: bool = False


def _from_proc(pid: int) -> Process | None:
    try:
        text = (PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # proc(5): "pid (comm) state ppid …", start time is field 22; comm may hold blanks and parentheses.
    fields = text.rpartition(")")[2].split()
    return Process(pid=pid, parent=int(fields[1]), started=fields[19], zombie=fields[0] in "ZX")


def _from_ps() -> dict[int, Process]:
    command = ["ps", "-A", "-o", "pid=,ppid=,stat=,lstart="]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 (a fixed command)
    found = {}
    for line in output.splitlines():
        pid, parent, state, started = line.split(None, 3)
        found[int(pid)] = Process(int(pid), int(parent), started.strip(), state.startswith("Z"))
    return found


def table() -> dict[int, Process]:
    """Every process now, by pid."""
    if not (PROC / "self" / "stat").exists():
        return _from_ps()
    seen = (_from_proc(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    return {process.pid: process for process in seen if process is not None}


def find(pid: int) -> Process | None:
    """The process with this pid, or None when there is none (a zombie counts as none)."""
    process = _from_proc(pid) if (PROC / "self" / "stat").exists() else _from_ps().get(pid)
    return None if process is None or process.zombie else process


def alive(pid: int, started: str) -> bool:
    """Whether the process recorded as (pid, started) still runs; a recycled pid is another process."""
    process = find(pid)
    return process is not None and process.started == started


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments a process was started with; empty when it is gone or is not ours to see."""
    try:
        return tuple((PROC / str(pid) / "cmdline").read_text("utf-8", "replace").rstrip("\0").split("\0"))
    except OSError:
        command = ["ps", "-o", "args=", "-p", str(pid)]
        run = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 (a fixed command)
        return tuple(run.stdout.split())


def tree(pid: int) -> tuple[int, ...]:
    """The living descendants of a process, children before grandchildren, without the process itself."""
    processes = table().values()
    found: list[int] = []
    level = {pid}
    while level:
        level = {process.pid for process in processes if process.parent in level and not process.zombie}
        found.extend(sorted(level))
    return tuple(found)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def pause_tree(pid: int) -> None:
    """SIGSTOP a process and all its descendants: it hangs, its sockets stay open."""
    # The parent first, so that it makes no further children while we look.
    _signal(pid, signal.SIGSTOP)
    for child in tree(pid):
        _signal(child, signal.SIGSTOP)


def resume_tree(pid: int) -> None:
    """SIGCONT what ``pause_tree`` stopped."""
    for child in tree(pid):
        _signal(child, signal.SIGCONT)
    _signal(pid, signal.SIGCONT)


def kill_tree(pid: int, *, timeout: float = 5.0) -> None:
    """SIGKILL a process and all its descendants, and wait until none runs.

    Args:
        pid: the root of the tree.
        timeout: seconds to wait for the kernel.
    """
    # All stand still before the first is killed: killed one by one, some would still answer while others are dead.
    pause_tree(pid)
    victims = (*tree(pid), pid)
    for victim in victims:
        _signal(victim, signal.SIGKILL)
    deadline = time.monotonic() + timeout
    while any(find(victim) is not None for victim in victims) and time.monotonic() < deadline:
        time.sleep(0.005)
