"""The generation of a pool: how every connection made before an incident is put in doubt at once, in O(1).

A connection remembers the generation in which making it began. While that is the pool's present one, handing it out
costs one comparison. When a connection of the present generation meets an error that says "this server is gone or
demoted", the generation rises, and every older connection is checked before it is handed out again.
"""

from __future__ import annotations

from dataclasses import dataclass

from soa_db._core.classify import Category, Failure, classify

__all__ = ["Generation", "after_failure", "is_suspect"]


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a pool.

    Attributes:
        number: counts up from 0.
        demoted: it began because the server says it is a standby; older connections to a standby are then dropped
            even if they answer, so that the next one may find the new primary.
    """

    number: int = 0
    demoted: bool = False


def is_suspect(failure: Failure) -> bool:
    """Whether a failure puts the other connections of the pool in doubt.

    25006 does so only while the server says it is a standby: a user's own read-only transaction gives it too.
    """
    match classify(failure):
        case Category.SERVER_GONE:
            return True
        case Category.READ_ONLY:
            return failure.standby
        case _:
            return False


def after_failure(present: Generation, made_in: int, failure: Failure) -> Generation:
    """Return the generation after a failure on a connection made in generation ``made_in``.

    Of the many connections that meet one incident, only the first raises it.
    """
    if made_in < present.number or not is_suspect(failure):
        return present
    return Generation(present.number + 1, demoted=classify(failure) is Category.READ_ONLY)
