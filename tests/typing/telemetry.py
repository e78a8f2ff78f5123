"""``soa_db.telemetry``: providers of one's own, or the global ones."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from soa_db.telemetry import instrument, uninstrument

instrument()
instrument(meter_provider=MeterProvider(), tracer_provider=TracerProvider())
uninstrument()
instrument(meter_provider=TracerProvider())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
