"""What ``verify`` found, on a terminal: the matrix in colour, then everything that is not all right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from soa_db.access.report import grouped
from soa_db.cli.terminal import Terminal, printable

if TYPE_CHECKING:
    from rich.text import Text

    from soa_db.access.report import Cell, Check, VerifyReport

__all__ = ["show_report"]

# Marks that can be told apart without colour.
_STYLES = {"ok": "green", "FAIL": "bold red", "?": "yellow", "-": "dim", ".": "dim"}


def show_report(terminal: Terminal, report: VerifyReport) -> None:
    """Print the matrix, the violations with how to mend each, what is undecided, the notes and a summary."""
    _show_matrix(terminal, report)
    for heading, checks, style in (
        ("Violated", report.violations, "bold red"),
        ("Inconclusive", report.inconclusive, "yellow"),
    ):
        _show_checks(terminal, heading, checks, style)
    if report.notes:
        terminal.line()
        terminal.line("Noted, nothing for provision to change", style="dim")
        for line in grouped(report.notes, fold=True):
            terminal.line(line)
    terminal.line()
    terminal.line(
        report.summary(), style="bold red" if report.violations else "yellow" if report.inconclusive else "green"
    )


def _show_matrix(terminal: Terminal, report: VerifyReport) -> None:
    from rich.table import Table
    from rich.text import Text

    columns, rows = report.matrix()
    who, where = _widths(terminal.out.width, columns, rows)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("identity", no_wrap=True, overflow="ellipsis", width=who)
    table.add_column("database", no_wrap=True, overflow="ellipsis", width=where)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="center", min_width=len(column))
    previous = None
    for identity, database, cells in rows:
        shown = "" if identity == previous else identity
        previous = identity
        table.add_row(Text(printable(shown)), Text(printable(database)), *map(_mark, cells))
    terminal.out.print(table)


def _widths(
    room: int, columns: tuple[str, ...], rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]
) -> tuple[int, int]:
    """How wide the names may be, so that every mark stays on the line: the names give way."""
    who = max([len("identity"), *(len(identity) for identity, _, _ in rows)])
    where = max([len("database"), *(len(database) for _, database, _ in rows)])
    room = max(room - sum(max(len(column), 4) + 2 for column in columns) - 3, 24)
    if who + where > room:
        where = max(room - who, min(where, room // 2))
        who = room - where
    return who, where


def _mark(cell: Cell) -> Text:
    from rich.text import Text

    mark = str(cell)
    return Text(mark, style=_STYLES.get(mark, ""))


def _show_checks(terminal: Terminal, heading: str, checks: Iterable[Check], style: str) -> None:
    """Print checks under the step that mends them, so that one cause with many effects reads as one."""
    groups: dict[str, list[Check]] = {}
    for check in checks:
        groups.setdefault(check.mend, []).append(check)
    if not groups:
        return
    terminal.line()
    terminal.line(heading, style=style)
    for mend, found in groups.items():
        for check in found:
            terminal.line(f"  {check}")
        if mend:
            terminal.line(f"    → {mend}")
