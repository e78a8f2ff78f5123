"""How often to look at a server that does not accept connections. Pure; times are seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["probe_delay"]


def probe_delay(elapsed: float, *, rng: Callable[[], float]) -> float:
    """Return the wait between two looks at a server that does not accept connections.

    About 20 ms for the first 2 s, which covers a crash or a restart; from then on a twentieth of the time passed, so
    that its return is noticed soon in proportion; never much over 1 s. One connection of a pool looks, the others wait.

    Args:
        elapsed: seconds since it was first found not to accept.
        rng: gives numbers in [0, 1), for ±25 % of jitter.
    """
    delay = 0.02 if elapsed < 2.0 else min(1.0, elapsed / 20.0)
    return delay * (0.75 + rng() / 2.0)
