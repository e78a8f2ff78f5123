"""The account the demo gives: numbered steps with their times, and promises kept or broken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from soa_db.cli.terminal import Terminal, printable

__all__ = ["Story"]

_TIME_COLUMN = 92


class Story:
    """Prints what happens as it happens.

    Args:
        terminal: where to.

    Attributes:
        broken: the promises that were not kept.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.broken: list[str] = []
        self._terminal = terminal
        self._number = 0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._began

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Tell one step; lines appended to the list yielded stand under its title once it is done."""
        self._number += 1
        began = time.monotonic()
        lines: list[str] = []
        with self._terminal.busy(title):
            yield lines
        head = f"{self._number:2}  {printable(title)}"
        column = min(_TIME_COLUMN, self._terminal.out.width - 8)
        self._terminal.line(f"{head.ljust(column)}{time.monotonic() - began:6.1f} s", style="bold")
        for line in lines:
            self._terminal.line(f"    {line}")

    def say(self, text: str) -> None:
        """Tell a detail."""
        self._terminal.line(f"    {text}")

    def promise(self, kept: bool, text: str) -> None:
        """Tell whether a promise was kept."""
        if not kept:
            self.broken.append(text)
        self._terminal.line(f"    {'✓' if kept else '✗ BROKEN:'} {text}", style="green" if kept else "bold red")
