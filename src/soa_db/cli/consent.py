"""Changing prod asks first."""

from __future__ import annotations

import sys

import click

__all__ = ["ask_before_prod"]


def ask_before_prod(env: str, question: str, *, yes: bool) -> None:
    """Return when prod may be changed, or another environment is meant.

    Args:
        env: the environment about to be changed.
        question: what is about to be done, e.g. ``apply 12 changes to prod?``
        yes: ``--yes`` was given.

    Raises:
        click.UsageError: there is nobody to ask.
        click.exceptions.Exit: the answer was no.
    """
    if env != "prod" or yes:
        return
    if not _can_answer():
        raise click.UsageError("changing prod asks first, and nobody can answer here: look at the plan, then add --yes")
    if not click.confirm(question, err=True):
        click.echo("nothing was changed", err=True)
        click.get_current_context().exit(1)


def _can_answer() -> bool:
    return sys.stdin.isatty()
