"""A suite's program, run to its end or stopped: with all the processes it has started, whatever stops it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["DidNotEnd", "run_to_end", "stop_in_order"]

# Seconds between asking a group of processes to end and ending it.
GRACE = 5.0


class DidNotEnd(RuntimeError):
    """A program did not come to its end in time, and was stopped."""


def run_to_end(
    command: Sequence[str], *, timeout: float, cwd: Path, log: Path, env: Mapping[str, str] | None = None
) -> int:
    """Run a program with its output in a file; return its exit code.

    Its processes are a group of their own. However this ends, by a time-out, Ctrl-C or an error, none of them is left.

    Args:
        command: the program and its arguments.
        timeout: seconds it may take.
        cwd: where it runs.
        log: where its output goes.
        env: its environment; this process's when left out.

    Raises:
        DidNotEnd: it took longer; quotes the end of the output, where a Python program says at which line it was.
    """
    # It makes Python tell on SIGABRT where each thread is.
    variables = {**(os.environ if env is None else env), "PYTHONFAULTHANDLER": "1"}
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        finally:
            # Also of a program that has ended: what it has started may not have.
            _end_group(process)
    end = log.read_text("utf-8", "replace")[-4000:]
    raise DidNotEnd(f"`{' '.join(command[1:4])} …` was stopped after {timeout:g} s; its output ends:\n{end}")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    # The group has the number of its first process, and keeps it as long as any of them lives.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def stop_in_order() -> None:
    """Have SIGTERM end this process as Ctrl-C does: servers are stopped and folders removed on the way out."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)
