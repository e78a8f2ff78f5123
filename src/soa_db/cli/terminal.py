"""What commands write: results on stdout, progress and notes on stderr, colour and motion only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import click

from soa_db._core.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

__all__ = ["Terminal", "counted", "printable"]

# A terminal says how wide it is; for a file or a CI log this is a width that both show whole.
PLAIN_WIDTH = 100


def counted(number: int, thing: str) -> str:
    """``1 change``, ``2 changes``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


class Terminal:
    """Where a command writes.

    Attributes:
        out: a rich console on stdout, for results.
        err: a rich console on stderr, for everything said on the way.
    """

    def __init__(self) -> None:
        self.out = _console(sys.stdout)
        self.err = _console(sys.stderr)
        self._status: Status | None = None

    def line(self, text: str = "", style: str | None = None) -> None:
        """Write one line of a result, never wrapped."""
        self.out.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str, style: str | None = None) -> None:
        """Say something on the way: not part of the result."""
        self.err.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)

    def json(self, value: object) -> None:
        """Write a result for a program: one JSON document, nothing else."""
        # Any encoding but UTF-8 might lack a character, and what stands in for it would be no JSON.
        readable = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        click.echo(json.dumps(value, indent=2, ensure_ascii=not readable, default=str))

    @contextmanager
    def busy(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show that something is under way; call what it yields to say what is done now, from any thread.

        A spinner on a terminal, plain lines elsewhere.
        """
        if not self.err.is_terminal:
            self.note(f"{text} ...")
            yield lambda now: self.note(f"  {now}")
            return
        from rich.text import Text

        with self.err.status(Text(printable(text)), spinner="dots") as status:
            self._status = status
            try:
                yield lambda now: status.update(Text(printable(f"{text}: {now}")))
            finally:
                self._status = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the spinner still while a person is asked something."""
        if self._status is not None:
            self._status.stop()
        try:
            yield
        finally:
            if self._status is not None:
                self._status.start()

    @contextmanager
    def counting(self, text: str) -> Iterator[Callable[[int, int, str], None]]:
        """Show how far something is, told by calls of (done, all, what was done last), from any thread.

        A bar on a terminal; elsewhere a plain line at each quarter.
        """
        if not self.err.is_terminal:
            yield self._plain_counter(text)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task(printable(text), total=None)
            yield lambda done, whole, _name: bar.update(task, completed=done, total=whole)

    def _plain_counter(self, text: str) -> Callable[[int, int, str], None]:
        self.note(f"{text} ...")
        told = 0

        def count(done: int, whole: int, _name: str) -> None:
            nonlocal told
            quarter = done * 4 // max(whole, 1)
            if quarter > told:
                told = quarter
                self.note(f"{text}: {done} of {whole}")

        return count


def _console(file: IO[str]) -> Console:
    from rich.console import Console

    console = Console(file=file, highlight=False)
    if not console.is_terminal:
        columns = os.environ.get("COLUMNS", "")
        console.width = int(columns) if columns.isdecimal() and int(columns) > 0 else PLAIN_WIDTH
    return console
