"""Logging configured for one test, and put back as it was."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from tests.support.handlers import handlers

from soa_db.logging import configure, configure_logging

SOURCE = Path(__file__).resolve().parents[2] / "src"


class Lines(io.StringIO):
    """What was logged."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """Each line as JSON; a line that is none fails the test."""
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.records[-1]


@contextmanager
def untouched() -> Iterator[None]:
    """Put logging, structlog and warnings back as they were."""
    there = handlers()
    root = logging.getLogger()
    level, of_root, shown = root.level, list(root.handlers), warnings.showwarning
    root.handlers[:] = []  # pytest's own raise where a record cannot be shown
    try:
        yield
    finally:
        configure._installed.remove()
        for logger, handler in handlers() - there:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
            logger.propagate = True
        root.setLevel(level)
        root.handlers[:] = of_root
        logging.captureWarnings(False)
        warnings.showwarning = shown
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()


@contextmanager
def configured(**arguments: Any) -> Iterator[Lines]:
    """Logging to lines of JSON, unless the arguments say else."""
    lines = Lines()
    with untouched():
        configure_logging(**{"format": "json", "level": "DEBUG", "attributes": {}, **arguments}, stream=lines)
        yield lines


def run(
    code: str, *, variables: Mapping[str, str] | None = None, check: bool = True, **how: Any
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own, whose stdout is a pipe."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SOA_", "LOG_", "OTEL_"))}
    environment.pop("PYTHONUNBUFFERED", None)
    environment |= {"PYTHONPATH": str(SOURCE), **(variables or {})}
    # structlog imports rich where it is, which takes longer than all else here; our lines are made without it.
    command = [sys.executable, "-c", f"import sys; sys.modules['rich'] = None\n{textwrap.dedent(code)}"]
    how = {"capture_output": True, **how}
    ran = subprocess.run(command, text=True, check=False, env=environment, timeout=60, **how)
    assert not check or ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran
