"""What soa-db tells OpenTelemetry's real SDK, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from soa_db._runtime import telemetry
from soa_db.telemetry import instrument

POOL = "db.client.connection.pool.name"
COUNT = "db.client.connection.count"
STATE = "db.client.connection.state"


class Collected:
    """The metrics and spans of a test."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = InMemorySpanExporter()
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def metrics(self) -> dict[str, Any]:
        """Every metric of ours, collected now."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes if scope.scope.name == "soa_db" for metric in scope.metrics}

    def points(self, name: str, **attributes: object) -> list[tuple[dict[str, Any], Any]]:
        """Attributes and value of each point of a metric (of a histogram, how many were recorded), collected now.

        Args:
            name: the metric.
            attributes: those that must be there, with underscores for dots.
        """
        metric = self.metrics().get(name)
        if metric is None:
            return []
        found = []
        for point in metric.data.data_points:
            value = point.count if isinstance(point, HistogramDataPoint) else point.value
            given = {key.replace(".", "_"): one for key, one in point.attributes.items()}
            if attributes.items() <= given.items():
                found.append((dict(point.attributes), value))
        return found

    def total(self, name: str, **attributes: object) -> int:
        """The sum of those points' values."""
        return sum(value for _, value in self.points(name, **attributes))

    def use(self, pool: str) -> tuple[int, int]:
        """Idle and used connections of a pool."""
        idle, used = (
            self.total(COUNT, db_client_connection_pool_name=pool, db_client_connection_state=state)
            for state in ("idle", "used")
        )
        return idle, used

    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended."""
        return list(self._exporter.get_finished_spans())

    def forget_spans(self) -> None:
        """Begin anew."""
        self._exporter.clear()

    def everything(self) -> str:
        """All that would leave the process, as text."""
        return "\n".join([*(repr(one) for one in self.metrics().values()), *(span.to_json() for span in self.spans())])


@contextmanager
def collecting() -> Iterator[Collected]:
    """Have everything collected as long as the block runs."""
    state = telemetry._state
    before = state.instruments, state.wanted
    collected = Collected()
    instrument(meter_provider=collected.meter_provider, tracer_provider=collected.tracer_provider)
    try:
        yield collected
    finally:
        state.instruments, state.wanted = before
        collected.meter_provider.shutdown()
        collected.tracer_provider.shutdown()
