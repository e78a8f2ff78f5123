"""What pools, connections and credentials tell OpenTelemetry: nothing, and at no cost, where nobody uses it.

The API is not imported here. Who uses OpenTelemetry has imported it to set it up, so a look at the loaded modules
tells. It is taken when a connection is made or credentials are renewed, never when a free connection is lent. Pool use
is read from the providers' own counts when metrics are collected. Nothing here raises what others' code raises:
telemetry may fail, connecting not.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from soa_db._runtime.instruments import Instruments

__all__ = [
    "Attempt",
    "Pool",
    "PoolUse",
    "Renewal",
    "connecting",
    "failed",
    "refreshed",
    "start",
    "stop",
    "timed_out",
    "waited",
    "watch",
]

T = TypeVar("T")
Renewal = Literal["initial", "expired", "ahead", "forced"]

# The variable of OpenTelemetry's distribution for Python: instrumentations that are not to be used, by name.
_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_NAME = "soa_db"
# A set or dict that another thread changes while it is read raises RuntimeError. It is read again, this often at most.
_READS = 5


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of connections, as telemetry tells it from others.

    Attributes:
        system: the database's name in the semantic conventions.
        name: the provider's ``instance_name``; None for a connection without a pool.
        namespace: the database; of Redis, its number.
        address: the server's host, behind any tunnel.
        port: its port.
    """

    system: Literal["postgresql", "redis", "mongodb"]
    name: str | None
    namespace: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How a pool is used at a moment.

    Attributes:
        idle: open connections that nobody uses.
        used: those lent to somebody.
        pending: callers who wait for one.
        maximum: how many there may be; None where there is no bound.
        idle_min: how many the pool keeps at least; None where it has no such number.
    """

    idle: int
    used: int
    pending: int
    maximum: int | None
    idle_min: int | None = None


Uses = Iterable[tuple[Pool, PoolUse]]


class _State:
    """Whether OpenTelemetry is used, and what with."""

    def __init__(self) -> None:
        self.instruments: Instruments | None = None
        self.wanted = True
        self.complained = False
        self.guard = threading.Lock()

    def after_fork_in_child(self) -> None:
        # Whoever held it is not in the child.
        self.guard = threading.Lock()


_state = _State()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_state.after_fork_in_child)
_watched: weakref.WeakKeyDictionary[Any, Callable[[Any], Uses]] = weakref.WeakKeyDictionary()


# --- whether


def start(meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None) -> None:
    """Use OpenTelemetry from now on, with these providers or the API's global ones; raises what importing it raises."""
    from soa_db._runtime.instruments import Instruments

    with _state.guard:
        _state.instruments = Instruments(_read, meter_provider, tracer_provider)
        _state.wanted = True


def stop() -> None:
    """Use it no more."""
    with _state.guard:
        _state.instruments, _state.wanted = None, False


def _in_use() -> Instruments | None:
    found = _state.instruments
    if found is None and _state.wanted:
        modules = sys.modules
        if modules.get("opentelemetry.trace") is not None or modules.get("opentelemetry.metrics") is not None:
            return _begin()
    return found


def _begin() -> Instruments | None:
    with _state.guard:
        if _state.instruments is None and _state.wanted:
            names = {name.strip() for name in os.environ.get(_DISABLED, "").split(",")}
            try:
                if not names & {_NAME, "*"}:
                    from soa_db._runtime.instruments import Instruments

                    _state.instruments = Instruments(_read, None, None)
            except Exception as error:  # noqa: BLE001 - an API of another age, say
                _complain(error)
            _state.wanted = _state.instruments is not None
        return _state.instruments


def _tell(tell: Callable[[Instruments], object]) -> None:
    try:
        instruments = _in_use()
        if instruments is not None:
            tell(instruments)
    except Exception as error:  # noqa: BLE001 - whatever processors and exporters of others raise
        _complain(error)


def _complain(error: Exception) -> None:
    if not _state.complained:
        _state.complained = True
        import logging

        # Its class alone: what a stranger's error says may be anything.
        text = "OpenTelemetry failed with %s; connections are made all the same. This is said once."
        logging.getLogger("soa_db.telemetry").warning(text, type(error).__name__)


# --- pools


def watch(provider: T, uses: Callable[[T], Uses]) -> None:
    """Have ``uses(provider)`` called when metrics are collected, as long as there is the provider.

    Args:
        provider: is not kept alive.
        uses: gives its pools and their use, nothing while it is not connected. Called in any thread.
    """
    _watched[provider] = uses


def _read(instruments: Instruments) -> dict[Pool, PoolUse]:
    """Return the pools there are; those of one name at one database together."""
    found: dict[Pool, PoolUse] = {}
    # What was replaced is still asked: the API knows no end of a callback.
    if instruments is not _state.instruments:
        return found
    for provider, uses in _again(lambda: list(_watched.items())) or ():
        for pool, use in _again(lambda: list(uses(provider))) or ():  # noqa: B023 - called here and now
            found[pool] = _sum(found[pool], use) if pool in found else use
    return found


def _again(read: Callable[[], list[T]]) -> list[T] | None:
    for _ in range(_READS):
        try:
            return read()
        except RuntimeError:
            continue
        except Exception as error:  # noqa: BLE001 - one pool that cannot be read is no reason to read none
            _complain(error)
            return None
    return None


def _sum(one: PoolUse, other: PoolUse) -> PoolUse:
    return PoolUse(
        one.idle + other.idle,
        one.used + other.used,
        one.pending + other.pending,
        None if one.maximum is None or other.maximum is None else one.maximum + other.maximum,
        None if one.idle_min is None or other.idle_min is None else one.idle_min + other.idle_min,
    )


def waited(pool: Pool, seconds: float) -> None:
    """Tell that a caller had to wait for a connection, and got one."""
    _tell(lambda instruments: instruments.waited(pool, seconds))


def timed_out(pool: Pool) -> None:
    """Tell that a caller waited for a connection in vain."""
    _tell(lambda instruments: instruments.timed_out(pool))


def failed(pool: Pool, error: type[BaseException]) -> None:
    """Tell that a connection was lost while it was used."""
    _tell(lambda instruments: instruments.failed(pool, error))


# --- connections


class Attempt:
    """A connection that is being made, from entering this context to leaving it.

    Attributes:
        pool: whose it is.
        background: made by a pool on its own: the span has no parent, whatever the context of the pool's worker.
        probing: made to see whether a server is back: a failure gets no span, which would be fifty a second.
        source: where the credentials came from.
        retries: how often it was tried again with other credentials.
        error: what it failed with; the error that leaves the context unless set.
        began: nanoseconds since the epoch.
        seconds: how long it took.
    """

    __slots__ = ("_started", "background", "began", "error", "pool", "probing", "retries", "seconds", "source")

    def __init__(self, pool: Pool, *, background: bool, probing: bool) -> None:
        self.pool = pool
        self.background = background
        self.probing = probing
        self.source = ""
        self.retries = 0
        self.error: BaseException | None = None
        self.seconds = 0.0

    def retry(self) -> None:
        """Tell that the credentials were refused, and others are tried."""
        self.retries += 1
        _tell(lambda instruments: instruments.retried(self))

    def __enter__(self) -> Self:
        self.began = time.time_ns()
        self._started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self._started
        if self.error is None or error is None:
            self.error = error
        try:
            _tell(lambda instruments: instruments.connected(self))
        finally:
            # Its frames hold this object.
            self.error = None


def connecting(pool: Pool, *, background: bool = False, probing: bool = False) -> Attempt:
    """Return the context in which a connection is made.

    Args:
        pool: whose it is.
        background: nobody waits for just this one.
        probing: the server is known to be away.
    """
    return Attempt(pool, background=background, probing=probing)


# --- credentials


def refreshed(
    kind: Literal["secret", "aws", "token"], source: str, why: Renewal, error: Exception | None = None
) -> None:
    """Tell that credentials were fetched or made, or with ``error`` that this failed.

    Args:
        kind: a secret's payload, the AWS credentials, or a token signed with them.
        source: the secret's id, ``rds-iam``, ….
        why: there were none, or they had come to their end, soon would, or were refused.
        error: what it failed with.
    """
    _tell(lambda instruments: instruments.refreshed(kind, source, why, error))
