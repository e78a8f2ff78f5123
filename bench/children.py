"""Processes of a benchmark that must not share an interpreter: contenders, probers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import IO

from bench.environment import child_environment

__all__ = ["Child", "start_to_end"]


def start_to_end(module: str, *arguments: str, prints: str) -> float:
    """Run a module in a new process and return the seconds it took; RuntimeError if it printed something else."""
    command = [sys.executable, "-m", module, *arguments]
    start = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=child_environment(), timeout=60)
    seconds = time.perf_counter() - start
    if run.stdout.strip() != prints:
        raise RuntimeError(f"{module} {' '.join(arguments)} did not print {prints}: {run.stderr[-2000:]}")
    return seconds


class Child:
    """A child that is talked to in lines."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[str] = self._process.stdin
        self._from: IO[str] = self._process.stdout

    def say(self, line: str) -> None:
        """Send a line."""
        self._to.write(line + "\n")
        self._to.flush()

    def hear(self) -> str:
        """Wait for a line."""
        line = self._from.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended: exit code {self._process.wait()}")
        return line.strip()

    def end(self) -> None:
        """End its standard input, and it."""
        self._to.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._from.close()
