"""Changing prod asks first."""

from __future__ import annotations

import sys

import click

__all__ = ["confirm_prod", "require_somebody_to_ask"]


def require_somebody_to_ask(env: str, *, yes: bool) -> None:
    """Refuse, before anything is done, to change prod when nobody can answer the question that will come.

    Args:
        env: the environment about to be changed.
        yes: ``--yes`` was given.

    Raises:
        click.UsageError: there is nobody to ask.
    """
    if env == "prod" and not yes and not _can_answer():
        raise click.UsageError("changing prod asks first, and nobody can answer here: look at the plan, then add --yes")


def confirm_prod(env: str, question: str, *, yes: bool) -> bool:
    """Tell whether to go on: asked for prod only, and no is the default.

    Args:
        env: the environment about to be changed.
        question: what is about to be done, e.g. ``apply 12 changes to prod?``
        yes: ``--yes`` was given.
    """
    if env != "prod" or yes or click.confirm(question, err=True):
        return True
    click.echo("nothing was changed", err=True)
    return False


def _can_answer() -> bool:
    return sys.stdin.isatty()
