"""The options that commands share."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from soa_db.cli.run import Invocation

__all__ = ["debug_option", "verbose_option"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _set_debug(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).debug = True


def _set_verbose(_context: click.Context, _option: click.Parameter, value: int) -> None:
    if value:
        logger = logging.getLogger("soa_db")
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if value == 1 else logging.DEBUG)


def debug_option(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Add ``--debug``."""
    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="On an error, show where it was raised."
    )(function)


def verbose_option(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Add ``--verbose``."""
    return click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_set_verbose,
        help="Say more on stderr; twice for everything.",
    )(function)
