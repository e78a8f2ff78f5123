"""OpenTelemetry: metrics of pools, connections and credentials, and a span for each connection that is made.

There is nothing to call where the API's global providers are used: who imports OpenTelemetry gets both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db._runtime import telemetry
from soa_db.errors import MissingExtra

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["instrument", "uninstrument"]


def instrument(*, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None) -> None:
    """Use these providers from now on, for providers that are connected already too; calling it again replaces them.

    Args:
        meter_provider: gets the metrics; the API's global one when left out, also if that is set later.
        tracer_provider: gets the spans; likewise.

    Raises:
        MissingExtra: opentelemetry-api is not installed.
    """
    try:
        telemetry.start(meter_provider, tracer_provider)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise MissingExtra("opentelemetry-api is not installed", hint="pip install 'soa-db[telemetry]'") from error


def uninstrument() -> None:
    """Give no more metrics and spans, until ``instrument`` is called."""
    telemetry.stop()
