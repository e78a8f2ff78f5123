"""How long to wait before the next attempt."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["full_jitter"]


def full_jitter(attempt: int, *, base: float, cap: float, rng: Callable[[], float]) -> float:
    """Return the seconds to wait after failed attempt number ``attempt`` (from 1).

    Full jitter: uniform between nothing and the exponential bound, so that many clients that failed together do not
    come back together (AWS Architecture Blog, "Exponential Backoff And Jitter").

    Args:
        attempt: how many attempts have failed.
        base: bound after the first, in seconds.
        cap: bound in the end, in seconds.
        rng: gives numbers in [0, 1).
    """
    # The exponent is bounded too: 2.0 ** 1024 overflows.
    return float(rng() * min(cap, base * 2.0 ** min(attempt - 1, 63)))
