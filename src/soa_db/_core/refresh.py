"""When a cached value may be used, when it is renewed ahead of its end, and how often somebody may insist.

All times are monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

__all__ = ["Allowance", "Held", "Need", "Policy", "hold", "need", "take"]

T = TypeVar("T")


class Need(Enum):
    """What a reader of a cache has to do."""

    NOTHING = "use the value"
    AHEAD = "use the value, and let it be renewed meanwhile"
    NOW = "wait for a new value"


@dataclass(frozen=True, slots=True)
class Policy:
    """How one kind of value is kept.

    Attributes:
        lifetime: a value without an end of its own is renewed after this many seconds at most.
        ahead: a value with an end is renewed this many seconds before it, or at half its life if that is later.
        margin: a value is not handed out in the last seconds before its end.
        jitter: the part, 0 to 1, by which the moment of renewal varies between processes.
        retry: seconds between two attempts to renew ahead, when the first one failed.
        burst: how many forced renewals are allowed at once.
        per: seconds after which one more is allowed.
    """

    lifetime: float = 3600.0
    ahead: float = 300.0
    margin: float = 60.0
    jitter: float = 0.25
    retry: float = 10.0
    burst: int = 4
    per: float = 5.0


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """A value with the times between which it is used."""

    value: T
    fetched_at: float
    refresh_at: float
    expires_at: float


def hold(value: T, *, now: float, policy: Policy, rng: Callable[[], float], ends_at: float = math.inf) -> Held[T]:
    """Return ``value`` with its times.

    Args:
        value: what was fetched.
        now: a reading from before the fetch, so that a slow one shortens the use and never lengthens it.
        policy: how this kind of value is kept.
        rng: gives numbers in [0, 1).
        ends_at: when it becomes worthless.
    """
    if math.isinf(ends_at):
        return Held(value, now, now + policy.lifetime * (1 - policy.jitter * rng()), math.inf)
    expires_at = ends_at - policy.margin
    usable = max(0.0, expires_at - now)
    lead = min(policy.ahead, usable / 2)
    # The jitter makes it earlier, never later than asked; at half its life at the earliest, less the jitter.
    refresh_at = expires_at - lead * (1 + policy.jitter * rng())
    return Held(value, now, max(now, min(refresh_at, expires_at)), expires_at)


def need(held: Held[T] | None, *, now: float, tried_at: float, policy: Policy) -> Need:
    """Return what to do about a cache that holds ``held`` and was last tried to be filled at ``tried_at``."""
    if held is None or now >= held.expires_at:
        return Need.NOW
    if now >= held.refresh_at and now - tried_at >= policy.retry:
        return Need.AHEAD
    return Need.NOTHING


@dataclass(frozen=True, slots=True)
class Allowance:
    """A token bucket: how many forced renewals were left at a time."""

    left: float
    at: float


def take(allowance: Allowance | None, *, now: float, policy: Policy) -> Allowance | None:
    """Return what is left of the allowance after one forced renewal, or None when none is allowed now."""
    left = float(policy.burst)
    if allowance is not None:
        left = min(left, allowance.left + max(0.0, now - allowance.at) / policy.per)
    return Allowance(left - 1, now) if left >= 1 else None
