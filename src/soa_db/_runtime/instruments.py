"""The instruments of OpenTelemetry, by the semantic conventions for database clients. The one module that imports it.

Conventions: https://opentelemetry.io/docs/specs/semconv/database/database-metrics/. What they have no name for is in
our own namespace, ``soa_db``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation

from soa_db._version import __version__
from soa_db.errors import SoaDbError

if TYPE_CHECKING:
    from soa_db._runtime.telemetry import Attempt, Pool, PoolUse, Renewal

__all__ = ["Instruments", "error_type"]

_SCOPE = "soa_db"
_SCHEMA = "https://opentelemetry.io/schemas/1.33.0"
_STATE = "db.client.connection.state"
_SOURCE = "soa_db.credential.source"
# Seconds. The conventions name these for operations; the SDK's own begin at 5.
_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)

Attributes = Mapping[str, str | int]


def _of_pool(pool: Pool) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "db.system.name": pool.system,
        "db.namespace": pool.namespace,
        "server.address": pool.address,
        "server.port": pool.port,
    }
    if pool.name is not None:
        found["db.client.connection.pool.name"] = pool.name
    return found


def error_type(kind: type[BaseException]) -> str:
    """Return the name of an error's class: of ours the public one, whatever driver's error it is too."""
    for one in kind.__mro__:
        if one.__module__ == SoaDbError.__module__:
            return one.__name__
    return kind.__name__


class Instruments:
    """One meter's instruments and a tracer.

    Args:
        read: gives the pools there are and their use, when asked for these instruments; nothing once they are replaced.
        meter_provider: the API's global one when left out, also if it is set later.
        tracer_provider: likewise.
    """

    def __init__(
        self,
        read: Callable[[Instruments], Mapping[Pool, PoolUse]],
        meter_provider: metrics.MeterProvider | None,
        tracer_provider: trace.TracerProvider | None,
    ) -> None:
        self._read = read
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider, _SCHEMA)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider, _SCHEMA)
        self._create_time = meter.create_histogram(
            "db.client.connection.create_time",
            "s",
            "The time it took to create a new connection.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._wait_time = meter.create_histogram(
            "db.client.connection.wait_time",
            "s",
            "The time it took to obtain an open connection from the pool.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._timeouts = meter.create_counter(
            "db.client.connection.timeouts",
            "{timeout}",
            "The number of connection timeouts that have occurred trying to obtain a connection from the pool.",
        )
        self._errors = meter.create_counter(
            "soa_db.connection.errors",
            "{error}",
            "The number of connections that could not be made, or were lost while they were used.",
        )
        self._retries = meter.create_counter(
            "soa_db.authentication.retries",
            "{retry}",
            "The number of logins tried again with other credentials, because the server refused the first.",
        )
        self._refreshes = meter.create_counter(
            "soa_db.credential.refreshes",
            "{refresh}",
            "The number of times credentials were fetched from AWS, or made.",
        )
        self._observe(meter)

    # --- pools

    def _observe(self, meter: metrics.Meter) -> None:
        def observe(name: str, unit: str, text: str, of: Callable[[PoolUse], Iterable[tuple[int, Attributes]]]) -> None:
            def observations(_: CallbackOptions) -> list[Observation]:
                return [
                    Observation(value, {**_of_pool(pool), **attributes})
                    for pool, use in self._read(self).items()
                    for value, attributes in of(use)
                ]

            meter.create_observable_up_down_counter(name, [observations], unit, text)

        observe(
            "db.client.connection.count",
            "{connection}",
            "The number of connections that are currently in state described by the `state` attribute.",
            lambda use: ((use.idle, {_STATE: "idle"}), (use.used, {_STATE: "used"})),
        )
        observe(
            "db.client.connection.max",
            "{connection}",
            "The maximum number of open connections allowed.",
            lambda use: () if use.maximum is None else ((use.maximum, {}),),
        )
        observe(
            "db.client.connection.idle.min",
            "{connection}",
            "The minimum number of idle open connections allowed.",
            lambda use: () if use.idle_min is None else ((use.idle_min, {}),),
        )
        observe(
            "db.client.connection.pending_requests",
            "{request}",
            "The number of current pending requests for an open connection.",
            lambda use: ((use.pending, {}),),
        )

    def waited(self, pool: Pool, seconds: float) -> None:
        """Record a wait for a connection."""
        self._wait_time.record(seconds, _of_pool(pool))

    def timed_out(self, pool: Pool) -> None:
        """Count a wait in vain."""
        self._timeouts.add(1, _of_pool(pool))

    def failed(self, pool: Pool, error: type[BaseException]) -> None:
        """Count a connection that could not be made, or was lost."""
        self._errors.add(1, {**_of_pool(pool), "error.type": error_type(error)})

    # --- connections

    def retried(self, attempt: Attempt) -> None:
        """Count another try with other credentials."""
        self._retries.add(1, {**_of_pool(attempt.pool), _SOURCE: attempt.source})

    def connected(self, attempt: Attempt) -> None:
        """Record how an attempt to connect ended."""
        error = attempt.error
        if error is None:
            if attempt.pool.name is not None:
                self._create_time.record(attempt.seconds, _of_pool(attempt.pool))
        elif isinstance(error, Exception):
            # What was cancelled did not fail.
            self.failed(attempt.pool, type(error))
        if error is None or not attempt.probing:
            self._trace(attempt, error)

    def _trace(self, attempt: Attempt, error: BaseException | None) -> None:
        # Afterwards, with its times: an attempt that is cancelled or forked halfway leaves no open span behind.
        span = self._tracer.start_span(
            f"connect {attempt.pool.namespace}",
            context=Context() if attempt.background else None,
            kind=trace.SpanKind.CLIENT,
            attributes=_of_pool(attempt.pool),
            start_time=attempt.began,
        )
        if span.is_recording():
            if attempt.source:
                span.set_attribute(_SOURCE, attempt.source)
            if attempt.retries:
                span.set_attribute("soa_db.authentication.retries", attempt.retries)
            if error is not None:
                span.set_attribute("error.type", error_type(type(error)))
                # Not recorded as an exception: its causes are the driver's, and what they say is not ours to vouch for.
                text = error.message if isinstance(error, SoaDbError) else type(error).__name__
                span.set_status(trace.StatusCode.ERROR, text)
        span.end(attempt.began + round(attempt.seconds * 1e9))

    # --- credentials

    def refreshed(self, kind: str, source: str, why: Renewal, error: Exception | None) -> None:
        """Count credentials fetched or made."""
        attributes: dict[str, str | int] = {
            "soa_db.credential.kind": kind,
            _SOURCE: source,
            "soa_db.credential.refresh.reason": why,
        }
        if error is not None:
            attributes["error.type"] = error_type(type(error))
        self._refreshes.add(1, attributes)
