"""What commands write: results on stdout, progress and notes on stderr, colour and motion only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Terminal", "printable"]

# A terminal says how wide it is; for a file or a CI log this is a width that both show whole.
PLAIN_WIDTH = 100


def printable(text: str) -> str:
    """Return ``text`` with control characters spelled out: names come from servers and must not drive the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


class Terminal:
    """Where a command writes.

    Attributes:
        out: a rich console on stdout, for results.
        err: a rich console on stderr, for everything said on the way.
    """

    def __init__(self) -> None:
        self.out = _console(sys.stdout)
        self.err = _console(sys.stderr)

    def line(self, text: str = "", style: str | None = None) -> None:
        """Write one line of a result, never wrapped."""
        self.out.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str, style: str | None = None) -> None:
        """Say something on the way: not part of the result."""
        self.err.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)

    def json(self, value: object) -> None:
        """Write a result for a program: one JSON document, nothing else."""
        click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show that something is under way: a spinner on a terminal, a plain line elsewhere."""
        if not self.err.is_terminal:
            self.note(f"{text} ...")
            yield
            return
        from rich.text import Text

        with self.err.status(Text(printable(text)), spinner="dots"):
            yield


def _console(file: IO[str]) -> Console:
    from rich.console import Console

    console = Console(file=file, highlight=False)
    if not console.is_terminal:
        columns = os.environ.get("COLUMNS", "")
        console.width = int(columns) if columns.isdecimal() and int(columns) > 0 else PLAIN_WIDTH
    return console
