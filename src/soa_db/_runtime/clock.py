"""The two clocks, as one value that tests replace."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Monotonic seconds for caches and deadlines, wall-clock seconds since the epoch for signatures."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
