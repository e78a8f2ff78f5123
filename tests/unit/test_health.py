"""Health checks without a server: deadlines, hung checks, sharing, what answers say. Both kinds alike."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.aws_kit import settle
from tests.support.processes import in_child, succeeded

from soa_db._core.health import build_identity, dependency
from soa_db._runtime import fork
from soa_db.credentials import CredentialInUse
from soa_db.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConfigurationError,
    NotConnectedError,
    PoolTimeout,
    SecretNotFound,
    ServerUnavailable,
    TlsVerificationFailed,
)
from soa_db.health import AsyncHealthChecks, CheckResult, HealthCheck, HealthChecks

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS: dict[str, type[Any]] = {"async": AsyncHealthChecks, "sync": HealthChecks}
SECRET = "hunter2-of-the-tests"
# Of what hangs. What does not has the time a loaded machine needs.
DEADLINE = 0.15


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Any]:
    """Each kind of checks in turn."""
    found: type[Any] = KINDS[request.param]
    return found


class Blocking:
    """A check that blocks in its thread until it is let go, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = threading.Event()

    def __call__(self) -> None:
        self.calls += 1
        assert self.go.wait(20)


@pytest.fixture
def hung() -> Iterator[Blocking]:
    """A check that hangs for the whole test."""
    before = threads()
    blocking = Blocking()
    yield blocking
    blocking.go.set()
    # Those of a server that lives as long as the session would not end.
    for thread in threads() - before:
        thread.join(10)


def checks_of(kind: type[Any], *targets: Any, max_age: float = 0.0, deadline: float = 10.0, **fields: Any) -> Any:
    """Checks c0, c1 … of a service."""
    named = [HealthCheck(f"c{n}", target, deadline=deadline, **fields) for n, target in enumerate(targets)]
    return kind(service="chat-api", checks=named, max_age=max_age)


async def run(checks: Any) -> Any:
    """Ask once; a blocking kind in a thread, so that the test's loop lives."""
    return await (checks.run() if isinstance(checks, AsyncHealthChecks) else asyncio.to_thread(checks.run))


def threads() -> set[threading.Thread]:
    """The threads of ours there are."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("soa-db")}


# --- deadlines


async def test_a_hung_check_does_not_hold_the_answer_and_gets_no_second_thread(kind: type[Any], hung: Blocking) -> None:
    """While it hangs, every further answer comes without one more run; when it has ended, it is run again."""
    named = [HealthCheck("c0", hung, deadline=DEADLINE), HealthCheck("c1", lambda: True, deadline=10)]
    checks = kind(service="chat-api", checks=named, max_age=0)
    before = threads()
    for _ in range(4):
        report = await run(checks)
        assert not hung.go.is_set()
        assert [(result.status, result.detail) for result in report.results.values()] == [
            ("unhealthy", "timeout"),
            ("healthy", "ok"),
        ]
        assert hung.calls == 1
        # Those that have their result take a moment to end.
        async with asyncio.timeout(10):
            while len(threads() - before) > 1:
                await asyncio.sleep(0.01)
    assert report.results["c0"].latency >= DEADLINE
    hung.go.set()
    async with asyncio.timeout(10):
        while hung.calls < 2:
            await run(checks)
            await asyncio.sleep(0.01)


async def test_a_check_that_hangs_still_is_answered_for_without_a_wait(
    kind: type[Any], hung: Blocking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second answer waits for nothing: the deadline of the run under way has passed."""
    module = sys.modules[kind.__module__]
    waits: list[float | None] = []
    join = module.Task.join

    def noted(self: Any, timeout: float | None = None) -> Any:
        waits.append(timeout)
        return join(self, timeout)

    monkeypatch.setattr(module.Task, "join", noted)
    checks = checks_of(kind, hung, deadline=DEADLINE)
    await run(checks)
    await run(checks)
    first, second = waits
    assert first is not None
    assert first > 0
    assert second == 0.0


async def test_all_checks_run_at_once(kind: type[Any]) -> None:
    """Each waits for the others to have begun."""
    if kind is HealthChecks:
        barrier = threading.Barrier(3)
        report = await run(checks_of(kind, *[lambda: barrier.wait(10)] * 3, deadline=10))
    else:
        together = asyncio.Barrier(3)

        async def meet() -> None:
            await together.wait()

        report = await run(checks_of(kind, *[meet] * 3, deadline=10))
    assert report.status == "healthy"


async def test_a_coroutine_past_its_deadline_is_cancelled_and_run_again_later() -> None:
    """It has ended, so that the next answer does not find it hanging."""
    ended: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    checks = checks_of(AsyncHealthChecks, hang, deadline=DEADLINE)
    for count in (1, 2):
        report = await checks.run()
        assert report.results["c0"].detail == "timeout"
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(ended) == count


async def test_a_coroutine_that_swallows_its_cancellation_is_run_once_at_a_time() -> None:
    """And what it comes to when it is too late counts for nothing."""
    calls: list[int] = []
    go = asyncio.Event()

    async def stubborn() -> None:
        calls.append(1)
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    checks = checks_of(AsyncHealthChecks, stubborn, max_age=60, deadline=DEADLINE)
    assert (await checks.run()).results["c0"].detail == "timeout"
    assert (await checks.run()).results["c0"].detail == "timeout"
    assert len(calls) == 1
    go.set()
    await asyncio.sleep(0.01)
    assert (await checks.run()).status == "healthy"
    assert len(calls) == 2


async def test_a_late_success_is_a_timeout(kind: type[Any]) -> None:
    """A coroutine that blocks its event loop: the check's own clock tells."""
    if kind is HealthChecks:
        late: Any = lambda: threading.Event().wait(2 * DEADLINE)  # noqa: E731
    else:

        async def late() -> None:
            threading.Event().wait(2 * DEADLINE)

    assert (await run(checks_of(kind, late, deadline=DEADLINE))).results["c0"].detail == "timeout"


# --- sharing


async def test_many_who_ask_at_once_share_one_run(kind: type[Any]) -> None:
    """Of each check."""
    blocking = Blocking()
    checks = checks_of(kind, blocking, deadline=10)
    asking: list[int] = []

    def ask() -> Any:
        asking.append(1)
        return checks.run()

    with ThreadPoolExecutor(20) as pool:
        loop = asyncio.get_running_loop()
        asked = [
            loop.run_in_executor(pool, ask) if kind is HealthChecks else asyncio.ensure_future(ask()) for _ in range(20)
        ]
        async with asyncio.timeout(10):
            while len(asking) < 20:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            blocking.go.set()
            reports = await asyncio.gather(*asked)
    assert {report.status for report in reports} == {"healthy"}
    assert blocking.calls == 1


@pytest.mark.parametrize(("max_age", "calls"), [(60.0, 1), (0.0, 3)])
async def test_a_result_is_told_again_while_it_is_fresh(kind: type[Any], max_age: float, calls: int) -> None:
    """A crowd of load balancers is no crowd of checks; with 0, every answer is a new one."""
    made: list[int] = []
    checks = checks_of(kind, lambda: made.append(1), max_age=max_age)
    for _ in range(3):
        assert (await run(checks)).status == "healthy"
    assert len(made) == calls


async def test_who_is_cancelled_disturbs_nobody() -> None:
    """The run belongs to no caller."""
    go = asyncio.Event()

    async def wait() -> None:
        await go.wait()

    checks = checks_of(AsyncHealthChecks, wait, deadline=10)
    first, second = asyncio.create_task(checks.run()), asyncio.create_task(checks.run())
    await asyncio.sleep(0.01)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go.set()
    assert (await second).status == "healthy"


async def test_a_check_that_somebody_else_cancels_is_an_error() -> None:
    """Not a success, and not a hang."""

    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    result = (await checks_of(AsyncHealthChecks, cancelled).run()).results["c0"]
    assert (result.status, result.detail) == ("unhealthy", "error")


def test_checks_go_from_one_event_loop_to_the_next() -> None:
    """As test clients use them; what hung in the first loop does not hang in the second."""
    hangs = [True]

    async def check() -> None:
        if hangs[0]:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30)
            await asyncio.sleep(30)

    checks = checks_of(AsyncHealthChecks, check, deadline=DEADLINE)
    loop = asyncio.new_event_loop()
    assert not loop.run_until_complete(checks.run()).ready
    hangs[0] = False
    assert asyncio.run(checks.run()).ready
    (left,) = asyncio.all_tasks(loop)
    left.cancel()
    loop.run_until_complete(asyncio.wait((left,)))
    loop.close()


def test_a_forked_child_does_not_wait_for_the_parents_threads(hung: Blocking) -> None:
    """They are not there."""
    parent = os.getpid()
    checks = checks_of(HealthChecks, lambda: hung() if os.getpid() == parent else None, deadline=0.5)
    assert not checks.run().ready

    def ask() -> None:
        assert checks.run().ready

    assert succeeded(in_child(ask))


def test_the_fork_handler_knows_of_the_checks(kind: type[Any]) -> None:
    """So it does in every child."""
    checks = checks_of(kind, lambda: True)
    assert checks in fork._watched


def test_a_hung_check_does_not_keep_the_interpreter_from_ending() -> None:
    """Its thread is a daemon."""
    code = (
        "import threading\nfrom soa_db.health import *\n"
        "c = HealthChecks(service='x', checks=[HealthCheck('c', threading.Event().wait, deadline=0.05)])\n"
        "print(c.run().status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.stdout, done.stderr.count("Traceback")) == ("unhealthy\n", 0)


# --- what they find

OUTCOMES: list[tuple[object, str, str]] = [
    (None, "healthy", "ok"),
    (("row",), "healthy", "ok"),
    (0, "healthy", "ok"),
    (False, "unhealthy", "error"),
    (CheckResult("healthy", "disabled"), "healthy", "disabled"),
    (CheckResult("degraded", "x" * 5000), "degraded", "x" * 200),
    (CheckResult("unhealthy", "behind"), "unhealthy", "behind"),
    (AuthenticationFailed("no"), "unhealthy", "authentication failed"),
    (TlsVerificationFailed("no"), "unhealthy", "tls verification failed"),
    (ServerUnavailable("no"), "unhealthy", "unavailable"),
    (PoolTimeout("no"), "unhealthy", "no connection"),
    (NotConnectedError("no"), "unhealthy", "not connected"),
    (AccessDenied("no"), "unhealthy", "access denied"),
    (SecretNotFound("no"), "unhealthy", "no credentials"),
    (ConfigurationError("no"), "unhealthy", "misconfigured"),
    (TimeoutError(), "unhealthy", "timeout"),
    (ZeroDivisionError(SECRET), "unhealthy", "error"),
    (SystemExit(1), "unhealthy", "error"),
    # A task or thread that ends by this was cancelled by somebody else.
    (asyncio.CancelledError(), "unhealthy", "error"),
]


def yielding(outcome: object) -> Callable[[], object]:
    """A check that comes to an outcome."""

    def check() -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return check


@pytest.mark.parametrize(("outcome", "status", "detail"), OUTCOMES)
async def test_what_a_callable_comes_to_is_a_status_and_a_few_words(
    kind: type[Any], outcome: object, status: str, detail: str
) -> None:
    """A check that is not critical fails as degraded, and the service is ready all the same."""
    checks = checks_of(kind, yielding(outcome))
    result = (await run(checks)).results["c0"]
    assert (result.status, result.detail) == (status, detail)
    assert result.latency is not None
    report = await run(checks_of(kind, yielding(outcome), critical=False))
    assert report.status == (status if status == "healthy" else "degraded")
    assert report.ready


async def test_the_report_is_as_bad_as_its_worst_check(kind: type[Any]) -> None:
    """And healthy without any."""
    targets = [yielding(CheckResult(status)) for status in ("healthy", "unhealthy", "degraded")]
    assert (await run(checks_of(kind, *targets))).status == "unhealthy"
    assert (await run(checks_of(kind, targets[0], targets[2]))).status == "degraded"
    assert (await run(checks_of(kind))).status == "healthy"


async def test_answers_to_anybody_hold_neither_secret_nor_host_and_details_no_secret(kind: type[Any]) -> None:
    """An error of this package holds no secret but names hosts; of other errors only the class is told."""
    typed = ServerUnavailable("db-7.internal is away", hint="look", host="db-7.internal")
    foreign = ValueError(f"postgres://u:{SECRET}@db-7.internal/x")
    checks = checks_of(kind, yielding(typed), yielding(foreign))
    status, ready = await settle(checks.answer("ready"))
    assert (status, ready) == (
        503,
        {
            "status": "not ready",
            "checks": {
                "c0": {"ready": False, "status": "unhealthy", "detail": "unavailable"},
                "c1": {"ready": False, "status": "unhealthy", "detail": "error"},
            },
        },
    )
    status, details = await settle(checks.answer("details"))
    assert status == 200
    assert SECRET not in str(details)
    assert details["dependencies"]["c0"]["error"] == {
        "class": "ServerUnavailable",
        "message": "db-7.internal is away",
        "hint": "look",
        "context": {"host": "db-7.internal"},
    }
    assert details["dependencies"]["c1"]["error"] == {"class": "ValueError"}


async def test_a_change_of_status_is_one_line_in_the_log(kind: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    """However often it is asked for; without what foreign errors say."""
    caplog.set_level(logging.INFO, logger="soa_db.health")
    outcomes: list[object] = [None, None, ValueError(SECRET), ValueError(SECRET), ServerUnavailable("away"), None]
    pending = iter(outcomes)
    checks = checks_of(kind, lambda: yielding(next(pending))())  # noqa: PLW0108 - each time the next
    for _ in outcomes:
        await run(checks)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "health check c0 of chat-api: unhealthy, was healthy: ValueError"),
        ("INFO", "health check c0 of chat-api: healthy, was unhealthy: ok"),
    ]


async def test_a_check_that_is_cancelled_from_outside_is_in_the_log_too(
    kind: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the answers change, and nothing says so."""
    caplog.set_level(logging.INFO, logger="soa_db.health")
    await run(checks_of(kind, yielding(asyncio.CancelledError())))
    assert [record.getMessage() for record in caplog.records] == [
        "health check c0 of chat-api: unhealthy, was healthy: error"
    ]


class Foreign:
    """Something with a ``check``, and with other things under the names that providers have."""

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check
        self.credential = SECRET

    def check(self, timeout: float) -> object:
        """What it comes to."""
        assert timeout > 0
        return self._check()


async def test_a_check_has_two_seconds_and_a_provider_somewhat_less(kind: type[Any]) -> None:
    """Its own reason is told before the deadline cuts it off."""
    given: list[float] = []

    class Provider(Foreign):
        def check(self, timeout: float) -> object:
            given.append(timeout)
            return super().check(timeout)

    target = Provider(lambda: None)
    await run(kind(service="chat-api", checks=[HealthCheck("c0", target), HealthCheck("c1", target, deadline=0.5)]))
    assert sorted(given) == pytest.approx([0.45, 1.8])


class Listing(Foreign):
    """Its counts are a list, of which no mapping can be made."""

    def stats(self) -> object:
        """What nobody can use."""
        return [SECRET]


class Awaiting(Foreign):
    """Its counts are to be awaited."""

    async def stats(self) -> object:
        """What is not asked for."""
        return {SECRET: 1}


@pytest.mark.parametrize("target", [Foreign, Listing, Awaiting])
async def test_details_take_of_a_foreign_target_what_is_a_providers(kind: type[Any], target: type[Foreign]) -> None:
    """A name that means something else there breaks no answer, and is not shown."""
    status, details = await settle(checks_of(kind, target(lambda: None)).answer("details"))
    assert status == 200
    found = details["dependencies"]["c0"]
    assert found.pop("latencyMs") >= 0
    assert found == {"status": "healthy", "detail": "connected", "critical": True}


async def test_no_thread_to_be_had_is_an_unhealthy_check(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes all the same, and the next one tries again."""

    def none(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        checks = checks_of(kind, lambda: True)
        report = await settle(checks.run())
    assert (report.status, report.results["c0"].detail) == ("unhealthy", "error")
    assert (await run(checks)).ready


async def test_an_asynchronous_class_takes_whatever_can_be_called() -> None:
    """Coroutine functions, functions that block, functions that return a coroutine, partials."""

    async def ask(answer: object) -> object:
        await asyncio.sleep(0)
        return answer

    where: list[str] = []
    checks = checks_of(
        AsyncHealthChecks,
        functools.partial(ask, True),
        lambda: ask(CheckResult("degraded", "slow")),
        lambda: where.append(threading.current_thread().name),
    )
    report = await checks.run()
    assert [result.status for result in report.results.values()] == ["healthy", "degraded", "healthy"]
    assert where == ["soa-db call"]


async def test_a_function_that_returns_a_coroutine_is_cancelled_in_time_too() -> None:
    """Once its thread has handed the coroutine over."""
    checks = checks_of(AsyncHealthChecks, lambda: asyncio.sleep(30), deadline=DEADLINE)
    assert (await checks.run()).results["c0"].detail == "timeout"
    await asyncio.sleep(0.01)
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def test_the_blocking_class_takes_no_coroutines() -> None:
    """They would never be awaited, and count as a success."""

    async def ask() -> None:
        raise AssertionError("called")

    with pytest.raises(ConfigurationError, match="coroutine function"):
        checks_of(HealthChecks, ask)
    result = checks_of(HealthChecks, lambda: ask()).run().results["c0"]  # noqa: PLW0108 - no coroutine function
    assert (result.status, result.detail) == ("unhealthy", "misconfigured")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: HealthCheck(" ", print), "no name"),
        (lambda: HealthCheck("a", "select 1"), "nothing to check"),  # type: ignore[arg-type]
        (lambda: HealthCheck("a", print, deadline=0), "deadline"),
        (lambda: HealthCheck("a", print, deadline=float("nan")), "deadline"),
        (lambda: HealthCheck("a", print, deadline=float("inf")), "deadline"),
        (lambda: CheckResult("ok"), "unknown health status"),  # type: ignore[arg-type]
        (lambda: HealthChecks(service="s", checks=[HealthCheck("a", print)] * 2), "two health checks"),
        (lambda: AsyncHealthChecks(service="s", max_age=float("nan")), "max_age"),
    ],
)
def test_what_cannot_be_used_is_refused_when_it_is_made(make: Callable[[], object], words: str) -> None:
    """Not at the first probe in production."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        make()
    assert caught.value.hint


# --- answers


async def test_the_first_pages_run_no_check(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """They answer what the TypeScript services answer; what is not set is left out."""
    for name in ("DD_VERSION", "EXEC_ENV", "DEPLOYMENT_DATETIME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)
    made: list[int] = []
    checks = checks_of(kind, lambda: made.append(1))
    assert await settle(checks.answer("live")) == (200, {"status": "ok"})
    assert await settle(checks.answer("health")) == (200, {"status": "ok", "service": "chat-api"})
    monkeypatch.setenv("DD_VERSION", "3f2a")
    monkeypatch.setenv("EXEC_ENV", "prod")
    monkeypatch.setenv("DEPLOYMENT_DATETIME", "2026-01-02T03:04:05Z")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=x, deployment.identifier = blue ,a=b")
    identity = {"colour": "blue", "version": "3f2a", "environment": "prod", "deployedAt": "2026-01-02T03:04:05Z"}
    assert await settle(checks.answer("health")) == (200, {"status": "ok", "service": "chat-api", **identity})
    assert made == []
    _, details = await settle(checks.answer("details"))
    assert made == [1]
    assert details.items() >= {"status": "healthy", "service": "chat-api", **identity}.items()
    assert details["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("attributes", "colour"),
    [
        ("deployment.identifier=blue", "blue"),
        ("deployment.identifier=,deployment.identifier=green", "green"),
        ("deployment.identifier=bl%C3%BCe%2C1", "blüe,1"),
        ("deployment.identifierx=blue,deployment=green,=,,%", None),
    ],
)
def test_the_colour_is_one_of_the_resource_attributes(attributes: str, colour: str | None) -> None:
    """Whatever else stands there."""
    assert build_identity({"OTEL_RESOURCE_ATTRIBUTES": attributes}).get("colour") == colour


def test_details_tell_the_age_and_the_end_of_the_credential() -> None:
    """A password has no end; a token that has ended says so."""
    check, result = HealthCheck("db", print), CheckResult("healthy", "connected", 0.00123)
    body = dependency(check, result, CredentialInUse("rds-iam", 912.34, -72.34), {"pool_size": 4})
    assert body == {
        "status": "healthy",
        "detail": "connected",
        "critical": True,
        "latencyMs": 1.2,
        "credential": {"source": "rds-iam", "ageSeconds": 912.3, "expiresInSeconds": -72.3},
        "stats": {"pool_size": 4},
    }
    password = dependency(check, result, CredentialInUse("prod/x", 1.0, float("inf")))
    assert password["credential"] == {"source": "prod/x", "ageSeconds": 1.0}


def test_a_repr_names_the_checks(kind: type[Any]) -> None:
    """And nothing of their targets."""
    check = HealthCheck("db", functools.partial(print, SECRET))
    checks = kind(service="s", checks=[check])
    assert repr(checks) == f"<{kind.__name__} of 's': db>"
    assert "'db'" in repr(check)
    assert SECRET not in repr(check)
