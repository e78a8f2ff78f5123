"""How figures are taken on a machine that does other things too: many short rounds, interleaved.

The figure is the lower decile of the rounds for what takes microseconds (the rounds nothing else disturbed, but not the
one lucky round) and the median for what takes long.
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence

__all__ = ["alternate", "alternate_async", "lower_decile", "median", "median_ratio", "order"]


def order(names: Sequence[str], number: int) -> list[str]:
    """The contenders in the order of one round: each comes first equally often, so that none profits from its place."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


def alternate(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Ask each contender for one figure per round."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in order(tuple(contenders), number):
            found[name].append(contenders[name]())
    return found


async def alternate_async(
    contenders: Mapping[str, Callable[[], Awaitable[float]]], rounds: int
) -> dict[str, list[float]]:
    """The same for coroutines."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in order(tuple(contenders), number):
            found[name].append(await contenders[name]())
    return found


def median(figures: Mapping[str, Sequence[float]], *, scale: float = 1.0) -> dict[str, float]:
    """The median of each contender, times ``scale``."""
    return {name: statistics.median(values) * scale for name, values in figures.items()}


def lower_decile(figures: Mapping[str, Sequence[float]], *, scale: float = 1.0) -> dict[str, float]:
    """The lower decile of each contender, times ``scale``."""
    return {name: statistics.quantiles(values, n=10)[0] * scale for name, values in figures.items()}


def median_ratio(figures: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """The median of what single rounds give for ``one`` over ``other``."""
    return statistics.median(ours / theirs for ours, theirs in zip(figures[one], figures[other], strict=True))
