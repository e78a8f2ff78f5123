"""One cached value of something fetched: thread-safe state around the decisions of ``_core.refresh``."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from soa_db._core.refresh import Allowance, Held, Need, Policy, hold, need, take
from soa_db._runtime import telemetry

if TYPE_CHECKING:
    from soa_db._runtime.clock import Clock
    from soa_db._runtime.telemetry import Renewal

__all__ = ["Cache"]

T = TypeVar("T")


class Cache(Generic[T]):
    """A value, when to renew it, and what the last attempt gave.

    It fetches only when told to, in the caller's thread; who calls, and that only one does at a time, is the
    shell's affair.

    Args:
        what: what the value is, for the log.
        kind: what it is to telemetry.
        source: whose it is: a secret's id, or ``aws``.
        fetch: gets the value and the monotonic time of its end (``math.inf`` for none). May block.
        policy: how the value is kept.
        clock: the clocks.
        rng: gives numbers in [0, 1).
    """

    def __init__(
        self,
        what: str,
        fetch: Callable[[], tuple[T, float]],
        *,
        kind: Literal["secret", "aws"],
        source: str,
        policy: Policy,
        clock: Clock,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._what = what
        self._fetch = fetch
        self._kind = kind
        self._source = source
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._held: Held[T] | None = None
        self._error: Exception | None = None
        self._tried_at = -math.inf
        self._allowance: Allowance | None = None
        self._guard = threading.Lock()

    def look(self) -> tuple[Need, Held[T] | None]:
        """Return what a reader has to do, and what is held."""
        held = self._held
        return need(held, now=self._clock.monotonic(), tried_at=self._tried_at, policy=self._policy), held

    def fill(self, why: Renewal | None = None) -> T:
        """Fetch and hold the value. A failure leaves what is held in place, and is raised."""
        why = why or ("initial" if self._held is None else "expired")
        started = self._tried_at = self._clock.monotonic()
        try:
            value, ends_at = self._fetch()
        except Exception as error:
            telemetry.refreshed(self._kind, self._source, why, error)
            with self._guard:
                if not self._has_later_than(started):
                    self._error = error
            raise
        telemetry.refreshed(self._kind, self._source, why)
        held = hold(value, now=started, policy=self._policy, rng=self._rng, ends_at=ends_at)
        with self._guard:
            if self._held is not None and self._has_later_than(started):
                # A fetch that was forced after this one began has ended before it. What this one brings may be the
                # very value that was refused.
                return self._held.value
            self._held, self._error = held, None
        return value

    def _has_later_than(self, started: float) -> bool:
        return self._held is not None and self._held.fetched_at > started

    def fill_unless_held(self) -> T:
        """Fetch, unless somebody has done so since the caller looked."""
        now, held = self.look()
        return held.value if held is not None and now is not Need.NOW else self.fill()

    def fill_ahead(self) -> None:
        """Fetch while the held value is still good: a failure is logged, and tried again later."""
        try:
            self.fill("ahead")
        except Exception as error:  # noqa: BLE001 - nobody waits for this call, and the value held is still good
            import logging

            text = "%s could not be renewed ahead of its end, what is held stays in use: %s"
            logging.getLogger("soa_db.aws").warning(text, self._what, error)

    def force(self, before: Callable[[], None] | None = None) -> T:
        """Fetch whatever is held, or when that was done too often lately return or raise what the last time gave.

        Args:
            before: what to do before an allowed fetch, e.g. drop what the source itself has cached.
        """
        with self._guard:
            left = take(self._allowance, now=self._clock.monotonic(), policy=self._policy)
            self._allowance = left or self._allowance
            error, held = self._error, self._held
        if left is None and error is not None:
            raise error.with_traceback(None)
        if left is None and held is not None:
            return held.value
        if before is not None:
            before()
        return self.fill("forced")
