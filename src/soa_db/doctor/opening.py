"""How long it takes to open what a service holds for its whole life, and to be answered through it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Opening", "open_and_ask"]

P = TypeVar("P")
_ROUND_TRIPS = 5


@dataclass(frozen=True, slots=True)
class Opening:
    """What opening a provider came to.

    Attributes:
        opened: seconds it took to open.
        round_trip: seconds a question took, the median.
        answered: whether each question was answered.
    """

    opened: float
    round_trip: float
    answered: bool

    def __str__(self) -> str:
        return f"opens in {self.opened * 1000:.0f} ms, a round trip takes {self.round_trip * 1000:.1f} ms"


def open_and_ask(provider: AbstractContextManager[P], ask: Callable[[P], bool]) -> Opening:
    """Open a provider, ask through it some times, and close it.

    Args:
        provider: what a service opens at its start.
        ask: one round trip; whether it was answered.
    """
    begun = time.monotonic()
    with provider as held:
        opened = time.monotonic() - begun
        took, answered = [], True
        for _ in range(_ROUND_TRIPS):
            begun = time.monotonic()
            answered = ask(held) and answered
            took.append(time.monotonic() - begun)
    return Opening(opened, statistics.median(took), answered)
