"""Forked children of a test."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from typing import NoReturn

import coverage


def in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child; return the child's id. Its exit status is 0 if it raised nothing."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.alarm(30)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        leave(status)


def leave(status: int) -> NoReturn:
    """End a forked child at once, pytest's own clean-up left to the parent; what it ran counts as covered."""
    measuring = coverage.Coverage.current()
    if measuring is not None:
        measuring.stop()
        measuring.save()
    os._exit(status)


def succeeded(pid: int) -> bool:
    """Wait for a child."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0
