"""What ``doctor`` found, on a terminal: the chain of each target, then what to do, each thing once."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from soa_db.cli.terminal import Terminal, printable
from soa_db.doctor import Status

if TYPE_CHECKING:
    from soa_db.doctor import Finding, Report, TargetReport
    from soa_db.doctor.report import NextStep

__all__ = ["show_report"]

# Marks that can be told apart without colour.
_MARKS = {
    Status.OK: ("ok", "green"),
    Status.WARNING: ("warn", "yellow"),
    Status.FAILED: ("FAIL", "bold red"),
    Status.SKIPPED: ("-", "dim"),
    Status.NOT_APPLICABLE: (".", "dim"),
}
_MARK_WIDTH, _STEP_WIDTH = 5, 15
_NARROWEST = 30
# Of more targets than these, those that are all right take one line each.
_IN_FULL = 3


def show_report(terminal: Terminal, report: Report, *, everything: bool) -> None:
    """Print the chains, what to do, and a summary.

    Args:
        terminal: where.
        report: what was found.
        everything: also what is all right in detail, what does not apply, and how long each step took.
    """
    terminal.line("AWS", style="bold")
    _show(terminal, report.aws, everything=everything)
    full = everything or len(report.targets) <= _IN_FULL
    for one in report.targets:
        if not full and one.status in {Status.OK, Status.NOT_APPLICABLE}:
            _heading(terminal, f"{'ok':{_MARK_WIDTH}}{_short(one)}", "green")
            continue
        if full or one.status is not Status.OK:
            terminal.line()
        _heading(terminal, str(one.target))
        _show(terminal, one.findings, everything=everything)
    alike: dict[tuple[str, str], list[NextStep]] = {}
    for step in report.next_steps():
        alike.setdefault((step.finding.step, step.finding.hint), []).append(step)
    # Of a few targets this would only repeat what stands above.
    if alike and (not full or any(len(steps) > 1 or len(steps[0].where) > 1 for steps in alike.values())):
        terminal.line()
        terminal.line("What to do", style="bold")
        for steps in alike.values():
            _show_next_step(terminal, steps, everything=everything)
    terminal.line()
    style = {Status.OK: "green", Status.WARNING: "yellow"}.get(_overall(report), "bold red")
    _heading(terminal, report.summary(), style)


def _show_next_step(terminal: Terminal, steps: list[NextStep], *, everything: bool) -> None:
    """Print what is done by one thing, that, and all it is for."""
    mark, style = _MARKS[Status.FAILED]
    shown = steps if everything or len(steps) <= _IN_FULL else steps[:_IN_FULL]
    for one in shown:
        _line(terminal, mark, style, one.finding.step, one.finding.summary)
    if rest := len(steps) - len(shown):
        _line(terminal, "", None, "", f"and {rest} more like {'this' if rest == 1 else 'these'}")
    hint = steps[0].finding.hint
    _line(terminal, "", None, "", f"→ {hint}" if hint else "")
    where = tuple(dict.fromkeys(place for one in steps for place in one.where))
    _line(terminal, "", "dim", "", f"for {_places(where, everything=everything)}")


def _overall(report: Report) -> Status:
    if not report.ok:
        return Status.FAILED
    every = [*report.aws, *(finding for one in report.targets for finding in one.findings)]
    return Status.WARNING if any(finding.status is Status.WARNING for finding in every) else Status.OK


def _short(one: TargetReport) -> str:
    done = sum(1 for finding in one.findings if finding.status is Status.OK)
    return f"{one.target}: {done} checks"


def _places(where: tuple[str, ...], *, everything: bool) -> str:
    shown = where if everything or len(where) <= _IN_FULL else where[:_IN_FULL]
    rest = len(where) - len(shown)
    return "; ".join(shown) + (f"; and {rest} more" if rest else "")


def _show(terminal: Terminal, findings: Iterable[Finding], *, everything: bool) -> None:
    for finding in findings if everything else _folded(findings):
        if finding.status is Status.NOT_APPLICABLE and not everything:
            continue
        mark, style = _MARKS[finding.status]
        took = f"  [{finding.seconds * 1000:.0f} ms]" if everything and finding.seconds is not None else ""
        _line(terminal, mark, style, finding.step, f"{finding.summary}{took}")
        if finding.hint:
            _line(terminal, "", None, "", f"→ {finding.hint}")
        if everything:
            for detail in finding.details:
                _line(terminal, "", "dim", "", detail)


def _folded(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Steps in a row that were not tried for one reason, as one line."""
    for (status, reason), run in groupby(findings, key=lambda finding: (finding.status, finding.reason)):
        if status is not Status.SKIPPED:
            yield from run
            continue
        several = list(run)
        names = ", ".join(finding.step for finding in several)
        told = next((one.summary for one in several if reason in one.summary), f"not tried, since {reason} failed")
        yield replace(several[0], step="", summary=f"{told}: {names}")


def _heading(terminal: Terminal, text: str, style: str = "bold") -> None:
    for line in _broken(text, terminal.out.width):
        terminal.line(line, style=style)


def _broken(text: str, room: int) -> list[str]:
    """Break a text at blanks; names and commands stay whole, to be copied."""
    return textwrap.wrap(printable(text), room, break_long_words=False, break_on_hyphens=False)


def _line(terminal: Terminal, mark: str, style: str | None, step: str, text: str) -> None:
    """Print a line in columns, or below one another where there is no room for these."""
    if not text:
        return
    indent = f"{mark:{_MARK_WIDTH}}{step:{_STEP_WIDTH}}"
    room = terminal.out.width - len(indent)
    # A name that is longer than the column, but no longer than the terminal, is to stand in one line.
    if room < _NARROWEST or room < max(map(len, text.split())) <= terminal.out.width - 2:
        if indent.strip():
            terminal.line(indent.rstrip(), style=style)
        indent, room = "  ", max(terminal.out.width - 2, 10)
    from rich.text import Text

    for number, line in enumerate(_broken(text, room)):
        start = Text(" " * len(indent)) if number else Text(indent, style="dim" if style == "dim" else "")
        if mark and not number:
            start.stylize(style or "", 0, len(mark))
        start.append(line, style="dim" if style == "dim" else "")
        terminal.out.print(start, soft_wrap=True)
