"""A plan as a person reads it: its sentences under their headings, what takes something away marked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from soa_db.cli.terminal import counted

if TYPE_CHECKING:
    from soa_db.access.plan import Change, Notice, Plan, ServerPlan
    from soa_db.cli.terminal import Terminal

__all__ = ["show_changes", "show_notices"]

_LEVELS = {
    "error": ("Cannot be applied", "bold red"),
    "unreachable": ("Out of this administrator's reach", "yellow"),
    "pending": ("Waiting for another service", "yellow"),
    "note": ("Seen, not managed here", "dim"),
}


def show_changes(terminal: Terminal, plan: Plan) -> None:
    """Print each server's headline and changes; an exclamation mark where somebody may lose access or data."""
    if not plan.servers:
        terminal.line(f"{plan.env}: the specs declare nothing", style="yellow")
    for number, server in enumerate(plan.servers):
        if number:
            terminal.line()
        _show_server(terminal, server)


def _show_server(terminal: Terminal, plan: ServerPlan) -> None:
    where = f"{plan.env}: {plan.engine} at {plan.server}"
    if plan.is_empty:
        terminal.line(f"{where}: nothing to do", style="green")
        return
    destructive = f", {len(plan.destructive)} destructive (marked !)" if plan.destructive else ""
    terminal.line(f"{where}: {counted(len(plan.changes), 'change')}{destructive}", style="bold")
    for group, changes in plan.grouped().items():
        terminal.line()
        terminal.line(group, style="cyan")
        _show_group(terminal, changes)


def _show_group(terminal: Terminal, changes: Iterable[Change]) -> None:
    for change in changes:
        terminal.line(
            f"  {'!' if change.destructive else '+'} {change.sentence}", "red" if change.destructive else None
        )


def show_notices(terminal: Terminal, notices: Iterable[Notice]) -> None:
    """Print what was seen and not changed, the serious first."""
    found = tuple(notices)
    for level, (heading, style) in _LEVELS.items():
        chosen = [notice for notice in found if notice.level == level]
        if not chosen:
            continue
        terminal.line()
        terminal.line(heading, style=style)
        for notice in chosen:
            where = f"{notice.database}: " if notice.database else ""
            terminal.line(f"  {where}{notice.sentence}")
            if notice.remedy:
                terminal.line(f"    → {notice.remedy}")
