"""What Django takes for a timeout, as what Redis takes."""

from __future__ import annotations

import math
from typing import Any

from soa_db._core.redis.values import LONGEST
from soa_db.errors import ConfigurationError

__all__ = ["milliseconds_of"]


def milliseconds_of(timeout: Any) -> int | None:
    """Return a timeout in seconds as milliseconds, rounded up: None for none, 0 for one that is over.

    Text is taken as Django's own back end takes it: a whole number, from a variable of the environment. A bool is not:
    True would be one second.

    Raises:
        ConfigurationError: it is no number of seconds, or more of them than the server can keep.
    """
    if timeout is None:
        return None
    number: int | None = None
    too_long = False
    # What is raised comes after it: some of these errors quote what was given.
    try:
        seconds = int(timeout) if isinstance(timeout, str) else timeout
        if not isinstance(seconds, bool):
            too_long = bool(seconds > LONGEST)
            # A product that is not finite is not made of what is not asked for.
            number = 0 if too_long or seconds <= 0 else math.ceil(seconds * 1000)
    except (TypeError, ValueError, ArithmeticError):
        # No number; NaN, which is neither more nor less than anything.
        pass
    if number is None:
        raise ConfigurationError(
            f"the timeout ({type(timeout).__name__}) is not a number of seconds", hint="give one, or None for no end"
        )
    if too_long:
        raise ConfigurationError(
            f"the timeout is longer than Redis can keep ({LONGEST} seconds)", hint="give None for no end"
        )
    return number
