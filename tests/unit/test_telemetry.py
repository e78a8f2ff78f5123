"""OpenTelemetry where it is absent, switched off, broken, or changed while it is used."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from tests.support.telemetry import Collected, collecting

from soa_db._aws.cache import Cache
from soa_db._core.refresh import Policy
from soa_db._redis.failures import LoginRefused
from soa_db._runtime import instruments, telemetry
from soa_db._runtime.clock import Clock
from soa_db._runtime.instruments import error_type
from soa_db._runtime.telemetry import Pool, PoolUse, connecting, failed, refreshed, timed_out, waited, watch
from soa_db.errors import SecretNotFound, ServerUnavailable
from soa_db.telemetry import instrument, uninstrument

SOURCE = Path(__file__).resolve().parents[2] / "src"
POOL = Pool("postgresql", "chat", "chat_api", "db.example", 5432)


class Provider:
    """Something with pools."""

    def __init__(self, *uses: PoolUse, name: str) -> None:
        # A name of each test's own: others may not have been collected as garbage yet.
        self.pool = replace(POOL, name=name)
        self.uses = uses
        self.reads = 0
        self.failures: list[Exception] = []

    def use(self) -> list[tuple[Pool, PoolUse]]:
        """What it has now."""
        self.reads += 1
        if self.failures:
            raise self.failures.pop()
        return [(self.pool, use) for use in self.uses]


@pytest.fixture
def state() -> Iterator[Any]:
    """The process's, as it was again afterwards."""
    found = telemetry._state
    before = found.instruments, found.wanted, found.complained
    yield found
    found.instruments, found.wanted, found.complained = before


@pytest.fixture
def collected(state: object) -> Iterator[Collected]:
    """The real SDK, in memory."""
    with collecting() as found:
        yield found


def run(code: str, **environment: str) -> Any:
    """What a fresh interpreter prints, as JSON."""
    start = f"import sys, json; sys.path.insert(0, {str(SOURCE)!r})\n"
    variables = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, check=True, env=variables
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


EVERYTHING = """
from soa_db._runtime import telemetry as t
pool = t.Pool("postgresql", "chat", "chat_api", "db.example", 5432)
with t.connecting(pool) as attempt:
    attempt.retry()
t.waited(pool, 0.1); t.timed_out(pool); t.failed(pool, OSError); t.refreshed("aws", "aws", "initial")
loaded = lambda: sorted(name for name in sys.modules if name.startswith("opentelemetry") and sys.modules[name])
"""
BLOCKED = """
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def test_without_the_api_nothing_is_imported_and_nothing_fails() -> None:
    """All the drivers and faces load, every hook is called, and there is no module of OpenTelemetry."""
    code = BLOCKED + "import soa_db.postgres, soa_db.redis, soa_db.mongo, soa_db.telemetry\n" + EVERYTHING
    assert run(code + "print(json.dumps(loaded()))") == []


def test_without_the_api_instrument_names_the_extra() -> None:
    """Whoever asks for it is told what to install."""
    code = BLOCKED + "import soa_db.telemetry\n"
    code += "try: soa_db.telemetry.instrument()\n"
    code += "except ImportError as error: print(json.dumps([type(error).__name__, error.hint]))"
    assert run(code) == ["MissingExtra", "pip install 'soa-db[telemetry]'"]


def test_an_api_nobody_imported_is_not_imported() -> None:
    """It may be installed for somebody else's sake: who uses it has imported it, who has not pays nothing."""
    assert run("import soa_db.postgres, soa_db.telemetry\n" + EVERYTHING + "print(json.dumps(loaded()))") == []


def test_with_the_api_and_no_sdk_every_hook_is_a_no_op() -> None:
    """The API's own instruments do nothing; the SDK is not loaded."""
    code = "import opentelemetry.trace\n" + EVERYTHING
    code += "print(json.dumps([bool(t._state.instruments), [name for name in loaded() if '.sdk' in name]]))"
    assert run(code) == [True, []]


@pytest.mark.parametrize("names", ["soa_db", "flask, soa_db", "*"])
def test_the_variable_that_names_instrumentations_switches_it_off(names: str) -> None:
    """OpenTelemetry's own, of its distribution for Python."""
    code = "import opentelemetry.trace\n" + EVERYTHING
    code += "print(json.dumps([bool(t._state.instruments), 'soa_db._runtime.instruments' in sys.modules]))"
    assert run(code, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=names) == [False, False]


def test_an_api_that_cannot_be_used_is_said_once_and_breaks_nothing() -> None:
    """An API of another age, say: no error, one warning, and it is not tried again."""
    code = (
        "import types\n"
        "for name in ('opentelemetry', 'opentelemetry.trace'): sys.modules[name] = types.ModuleType(name)\n"
        "import logging; lines = []\n"
        "class Lines(logging.Handler):\n"
        "    def emit(self, record): lines.append(record.getMessage())\n"
        "logging.getLogger('soa_db.telemetry').addHandler(Lines())\n"
    )
    code += EVERYTHING + "print(json.dumps([lines, t._state.wanted]))"
    lines, wanted = run(code)
    assert len(lines) == 1
    assert "ImportError" in lines[0]
    assert wanted is False


@pytest.mark.parametrize("before", ["", "import opentelemetry.trace\n"])
def test_a_global_provider_set_later_gets_everything(before: str) -> None:
    """The API hands out stand-ins until the SDK is set up; pools watched before are read too."""
    code = before + EVERYTHING
    code += """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
class Provider: pass
provider = Provider()
t.watch(provider, lambda provider: [(pool, t.PoolUse(1, 2, 3, 4))])
reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
metrics.set_meter_provider(MeterProvider([reader]))
tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(tracers)
with t.connecting(pool): pass
data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
names = [metric.name for metric in data]
print(json.dumps(sorted(names) + [span.name for span in exporter.get_finished_spans()]))
"""
    assert run(code) == [
        "db.client.connection.count",
        "db.client.connection.create_time",
        "db.client.connection.max",
        "db.client.connection.pending_requests",
        "connect chat_api",
    ]


class Failing(SpanProcessor):
    """A processor with a fault."""

    def on_start(self, span: Span, parent_context: object = None) -> None:  # noqa: ARG002 - the SDK's
        raise ValueError("a secret of somebody's")

    def on_end(self, span: ReadableSpan) -> None:  # noqa: ARG002 - likewise
        raise ValueError("another")


def test_a_failing_processor_breaks_no_connect_and_is_said_once(state: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Its class is named; what it says is not ours to repeat."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Failing())
    state.complained = False
    instrument(meter_provider=NoOpMeterProvider(), tracer_provider=provider)
    with caplog.at_level(logging.WARNING, "soa_db.telemetry"):
        for _ in range(3):
            with connecting(POOL):
                pass
    assert len(caplog.records) == 1
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_the_error_of_a_connect_is_the_one_that_is_raised(collected: Collected) -> None:
    """The context swallows nothing and keeps nothing."""
    attempt = connecting(POOL)
    with pytest.raises(ServerUnavailable), attempt:
        raise ServerUnavailable("the server is not available", host="db.example")
    assert attempt.error is None
    (span,) = collected.spans()
    assert span.status.description == "the server is not available"
    assert collected.total("soa_db.connection.errors", error_type="ServerUnavailable") == 1


def test_an_error_given_a_better_name_is_told_by_that(collected: Collected) -> None:
    """And only if the connect failed at all."""
    with pytest.raises(OSError, match="broken"), connecting(POOL) as attempt:
        attempt.error = ServerUnavailable("the server is not available")
        raise OSError("broken pipe")
    with connecting(POOL) as attempt:
        attempt.error = ServerUnavailable("it came after all")
    assert collected.total("soa_db.connection.errors", error_type="ServerUnavailable") == 1
    assert collected.total("db.client.connection.create_time") == 1


def test_a_foreign_error_is_named_and_not_quoted(collected: Collected) -> None:
    """A driver's text may hold anything."""
    with pytest.raises(OSError, match="token"), connecting(POOL):
        raise OSError("the token eyJ…")
    (span,) = collected.spans()
    assert span.status.description == "OSError"
    assert "token" not in collected.everything()


def test_the_name_of_an_error_is_its_public_class() -> None:
    """Classes that are a driver's too are private."""
    assert error_type(LoginRefused) == "AuthenticationFailed"
    assert error_type(ServerUnavailable) == "ServerUnavailable"
    assert error_type(KeyError) == "KeyError"


def test_pools_of_one_name_are_added_up(collected: Collected, unique_name: str) -> None:
    """What one of them does not have, the sum has not either."""
    one, other = (
        Provider(PoolUse(1, 2, 3, 10, 1), name=unique_name),
        Provider(PoolUse(1, 0, 0, 5, 1), PoolUse(0, 0, 1, 5), name=unique_name),
    )
    for provider in (one, other):
        watch(provider, Provider.use)
    assert collected.use(unique_name) == (2, 2)
    assert collected.total("db.client.connection.max", db_client_connection_pool_name=unique_name) == 20
    assert collected.total("db.client.connection.pending_requests", db_client_connection_pool_name=unique_name) == 4
    assert not collected.points("db.client.connection.idle.min", db_client_connection_pool_name=unique_name)
    del one.uses, other
    one.uses = (PoolUse(1, 0, 0, None),)
    assert not collected.points("db.client.connection.max", db_client_connection_pool_name=unique_name)


def test_a_pool_that_changes_while_it_is_read_is_read_again(collected: Collected, unique_name: str) -> None:
    """A set changed by another thread: RuntimeError, five times at most."""
    provider = Provider(PoolUse(1, 0, 0, 10), name=unique_name)
    watch(provider, Provider.use)
    provider.failures = [RuntimeError("Set changed size during iteration")] * 3
    assert collected.use(unique_name)[0] == 1
    provider.failures = [RuntimeError("Set changed size during iteration")] * 1000
    assert collected.use(unique_name)[0] == 0
    provider.failures = []
    assert collected.use(unique_name)[0] == 1


def test_a_pool_that_cannot_be_read_hides_no_other(
    collected: Collected, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it break the collection of what others measure."""
    telemetry._state.complained = False
    broken, good = Provider(name=unique_name), Provider(PoolUse(1, 0, 0, 10), name=unique_name)
    for provider in (broken, good):
        watch(provider, Provider.use)
    broken.failures = [KeyError("no")] * 1000
    with caplog.at_level(logging.WARNING, "soa_db.telemetry"):
        assert collected.use(unique_name)[0] == 1
    assert "KeyError" in caplog.text


def test_pools_are_read_while_others_come_and_go(collected: Collected, unique_name: str) -> None:
    """The collecting thread is another one: no point is lost, no error is raised."""
    stop = threading.Event()
    kept = Provider(PoolUse(1, 0, 0, 10), name=unique_name)
    watch(kept, Provider.use)

    def churn() -> None:
        while not stop.is_set():
            for provider in [Provider(name=unique_name) for _ in range(50)]:
                watch(provider, Provider.use)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        found = [collected.use(unique_name)[0] for _ in range(100)]
    finally:
        stop.set()
        thread.join()
    assert found == [1] * 100


def test_after_uninstrument_nothing_is_told(collected: Collected, unique_name: str) -> None:
    """Not even of pools that are watched; and instrument() begins anew, with other providers."""
    provider = Provider(PoolUse(1, 0, 0, 10), name=unique_name)
    watch(provider, Provider.use)
    waited(POOL, 0.5)
    uninstrument()
    provider.reads = 0
    waited(POOL, 0.5)
    timed_out(POOL)
    failed(POOL, OSError)
    with connecting(POOL):
        pass
    refreshed("aws", "aws", "initial")
    assert collected.total("db.client.connection.wait_time") == 1
    assert not collected.points("db.client.connection.timeouts")
    assert not collected.points("db.client.connection.count")
    assert collected.spans() == []
    assert provider.reads == 0
    with collecting() as again:
        timed_out(POOL)
        assert again.total("db.client.connection.timeouts") == 1
        assert again.use(unique_name)[0] == 1
        assert not collected.points("db.client.connection.count")


def test_many_first_connects_make_one_set_of_instruments(state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK warns of an instrument made twice."""
    state.instruments, state.wanted = None, True
    barrier = threading.Barrier(8)
    made: list[object] = []

    class Slow(instruments.Instruments):
        """Takes so long to be made that all the others come meanwhile."""

        def __init__(self, *arguments: Any) -> None:
            made.append(self)
            threading.Event().wait(0.05)
            super().__init__(*arguments)

    monkeypatch.setattr(instruments, "Instruments", Slow)

    def connect() -> None:
        barrier.wait()
        timed_out(POOL)

    threads = [threading.Thread(target=connect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [state.instruments]


def test_waits_are_in_buckets_of_seconds(collected: Collected) -> None:
    """The SDK's own buckets begin at five."""
    waited(POOL, 0.003)
    (point,) = collected.metrics()["db.client.connection.wait_time"].data.data_points
    assert point.explicit_bounds[0] == 0.001
    assert point.sum == pytest.approx(0.003)


def test_a_pools_own_connects_have_no_parent(collected: Collected) -> None:
    """Whatever the context of whoever happened to open the pool."""
    tracer = collected.tracer_provider.get_tracer("the service")
    with tracer.start_as_current_span("request"):
        with connecting(POOL, background=True):
            pass
        with connecting(POOL):
            pass
    pools, callers, _ = collected.spans()
    assert pools.parent is None
    assert callers.parent is not None


def test_an_unsampled_span_costs_no_attributes(state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connect in a trace that is not recorded, which fails at that."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    instrument(meter_provider=NoOpMeterProvider(), tracer_provider=provider)
    ended: list[object] = []
    for name in ("set_attribute", "set_status"):
        monkeypatch.setattr(trace.NonRecordingSpan, name, lambda *_: pytest.fail("a span that nobody gets"))
    monkeypatch.setattr(trace.NonRecordingSpan, "end", lambda span, *_: ended.append(span))
    with pytest.raises(OSError, match="broken"), connecting(POOL) as attempt:
        attempt.source = "dev/secret"
        raise OSError("broken pipe")
    assert len(ended) == 1


def test_refreshes_are_told_with_their_reason(collected: Collected, unique_name: str) -> None:
    """First, at its end, ahead of it, by force; and what failed."""
    now, failure = 1000.0, [False]

    def fetch() -> tuple[str, float]:
        if failure[0]:
            raise SecretNotFound("there is no secret")
        return "the value of the secret", now + 1000

    clock = Clock(monotonic=lambda: now, wall=lambda: now)
    policy = Policy(jitter=0, ahead=300, margin=60)
    cache = Cache("secret", fetch, kind="secret", source=unique_name, policy=policy, clock=clock)
    cache.fill_unless_held()
    now += 700
    cache.fill_ahead()
    now += 2000
    cache.fill_unless_held()
    cache.force()
    failure[0] = True
    cache.fill_ahead()
    found = {
        (point["soa_db.credential.refresh.reason"], point.get("error.type")): count
        for point, count in collected.points("soa_db.credential.refreshes", soa_db_credential_source=unique_name)
    }
    assert found == {
        ("initial", None): 1,
        ("ahead", None): 1,
        ("expired", None): 1,
        ("forced", None): 1,
        ("ahead", "SecretNotFound"): 1,
    }
    assert "the value of the secret" not in collected.everything()
