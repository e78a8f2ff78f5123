"""The parser of the blocking client, which bounds a whole reply: redis-py bounds each read of it.

A server that sends a byte now and then would otherwise hold a call for as long as it likes. The asynchronous client has
a timeout around each reply.
"""

from __future__ import annotations

import time
from typing import Any

# Named here because redis-py works without it, and then takes another parser.
import hiredis  # noqa: F401
from redis._parsers import _HiredisParser
from redis.exceptions import TimeoutError as DriverTimeout
from redis.utils import SENTINEL

__all__ = ["DeadlineParser", "remaining"]

# A timeout of 0 would make a socket non-blocking.
_LEAST = 0.001


def remaining(ends: float) -> float:
    """Return the seconds until ``ends`` (monotonic seconds), as a socket takes them for its timeout."""
    return max(ends - time.monotonic(), _LEAST)


class DeadlineParser(_HiredisParser):
    """redis-py's parser on hiredis, whose timeouts are for a reply and not for each read.

    Attributes:
        ends: monotonic seconds by which a reply has to be there; set at its first read, where it is None.
        login_ends: monotonic seconds by which the login under way has to be done; None when there is none.
    """

    ends: float | None = None
    login_ends: float | None = None

    def read_from_socket(self, timeout: Any = SENTINEL, raise_on_timeout: bool = True) -> Any:
        """Read what is there, or wait for it; a reply that comes in one piece is read as redis-py does it."""
        # With a timeout of its own it is a subscription, which stays where it was for the next read.
        if timeout is SENTINEL:
            now = time.monotonic()
            if self.ends is None:
                self.ends = now + self._socket_timeout
                if self.login_ends is not None:
                    self.ends = min(self.ends, self.login_ends)
                    timeout = remaining(self.ends)
            elif now >= self.ends:
                raise DriverTimeout("Timeout reading from socket")
            else:
                timeout = remaining(self.ends)
        return super().read_from_socket(timeout, raise_on_timeout)  # type: ignore[no-untyped-call]  # redis-py has no types
