"""What telemetry costs: one provider with OpenTelemetry's SDK collecting, with its API alone, and with neither.

They take turns in short rounds, as in ``bench.provider``; what is switched is outside the time taken. The SDK keeps
what it is told in memory, and collects the metrics once a round.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider

from bench.provider import CALLS, QUERY, ROUNDS, SIZES
from bench.report import Row
from bench.servers import Plain, plain_server
from bench.timing import alternate, alternate_async, lower_decile
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider, connect
from soa_db.telemetry import instrument, uninstrument

BAR = 1.02
# Calls after a switch: making an SDK's objects leaves the processor's caches to them.
WARM_UP = 10


def _sdk() -> None:
    reader = InMemoryMetricReader()
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    instrument(meter_provider=MeterProvider([reader], shutdown_on_exit=False), tracer_provider=tracer_provider)
    reader.get_metrics_data()


def _api() -> None:
    instrument(meter_provider=NoOpMeterProvider(), tracer_provider=NoOpTracerProvider())


SWITCHES: dict[str, Callable[[], None]] = {"sdk": _sdk, "api": _api, "off": uninstrument}


def _blocking(plain: Plain) -> dict[str, list[float]]:
    with PostgresProvider(plain.config(pool=SIZES)) as provider:
        provider.pool.wait()
        config = plain.config()

        def query() -> None:
            with provider.connection() as conn:
                conn.execute(QUERY).fetchone()

        def timed(switch: Callable[[], None], call: Callable[[], None], calls: int) -> Callable[[], float]:
            def once() -> float:
                switch()
                for _ in range(WARM_UP):
                    call()
                start = time.perf_counter()
                for _ in range(calls):
                    call()
                return (time.perf_counter() - start) / calls

            return once

        queries = {name: timed(switch, query, CALLS) for name, switch in SWITCHES.items()}
        alternate(queries, 10)  # statements prepared, caches warm
        found = alternate(queries, ROUNDS)
        connects = {
            f"connect {name}": timed(switch, lambda: connect(config).close(), 2) for name, switch in SWITCHES.items()
        }
        return found | alternate(connects, ROUNDS // 5)


async def _asynchronous(plain: Plain) -> dict[str, list[float]]:
    async with AsyncPostgresProvider(plain.config(pool=SIZES)) as provider:
        await provider.pool.wait()

        async def query() -> None:
            async with provider.connection() as conn:
                await (await conn.execute(QUERY)).fetchone()

        def timed(switch: Callable[[], None]) -> Callable[[], Awaitable[float]]:
            async def once() -> float:
                switch()
                for _ in range(WARM_UP):
                    await query()
                start = time.perf_counter()
                for _ in range(CALLS):
                    await query()
                return (time.perf_counter() - start) / CALLS

            return once

        contenders = {name: timed(switch) for name, switch in SWITCHES.items()}
        await alternate_async(contenders, 10)
        return await alternate_async(contenders, ROUNDS)


def run() -> list[Row]:
    """Blocking, then asynchronous."""
    with plain_server() as plain:
        gc.disable()  # a collection would fall on whoever is running
        try:
            found = {"sync": lower_decile(_blocking(plain), scale=1e6)}
            gc.collect()
            found["async"] = lower_decile(asyncio.run(_asynchronous(plain)), scale=1e6)
        finally:
            gc.enable()
            uninstrument()
    rows = []
    for how, times in found.items():
        for name, what in (("sdk", "telemetry on"), ("api", "telemetry's API alone")):
            rows.append(Row(f"SELECT 1, {what}, {how}", times[name], "us", times["off"], "telemetry off", BAR))
    times = found["sync"]
    rows.append(Row("connect, telemetry on", times["connect sdk"], "us", times["connect off"], "telemetry off"))
    return rows
