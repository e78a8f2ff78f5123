"""Health checks: run together, each with a deadline, at most one run of each at a time."""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from soa_db._core.health import (
    CheckResult,
    HealthCheck,
    HealthReport,
    HealthStatus,
    Page,
    build_identity,
    dependency,
    failed,
    found,
    overdue,
    ready_body,
    report_of,
)
from soa_db._runtime import fork
from soa_db._runtime._async import Affinity, Lock, Task, needs_thread, settled, spawn, to_thread
from soa_db.credentials import CredentialInUse
from soa_db.errors import ConfigurationError

__all__ = ["AsyncHealthChecks"]

_log = logging.getLogger("soa_db.health")
# The part of its deadline that a provider gets: its own reason for giving up says more than ours.
_PART = 0.9


class _Run:
    """One run of one check."""

    def __init__(self, check: HealthCheck, now: float) -> None:
        self.check = check
        self.started = now
        self.ended = now
        self.result: CheckResult | None = None
        self.task: Task | None = None
        # Nobody can stop a thread: a run that was "cancelled" would look ended while it hangs on.
        self.can_be_cancelled = True
        self.gave_up = False

    @property
    def latency(self) -> float:
        return time.monotonic() - self.started

    def is_under_way(self) -> bool:
        return self.task is not None and not self.task.done()


class AsyncHealthChecks:
    """The checks of a service.

    They run together. Who asks while one is under way shares that run, and who asks within ``max_age`` seconds after
    it gets what it found. A run that passes its deadline is cancelled and reported at once; one that cannot be
    cancelled (a callable that blocks, in its thread; one that swallows its cancellation) is left alone, and no second
    one begins beside it: until it ends, the answer is ``timeout`` without a wait. Nothing starts before the first
    answer is asked for.

    A change of a check's status is one line in the log ``soa_db.health``.

    Args:
        service: what answers call the service.
        checks: each with a name of its own. A callable may be a coroutine function, or block: then it is called in a
            thread of its own. (``HealthChecks`` calls all in threads and takes no coroutine functions.)
        max_age: seconds for which a result is told again; 0 to run at every answer.

    Raises:
        ConfigurationError: two checks of one name, or a check that this kind cannot call.
    """

    def __init__(self, *, service: str, checks: Iterable[HealthCheck] = (), max_age: float = 1.0) -> None:
        self.service = service
        self.checks = tuple(checks)
        names = [check.name for check in self.checks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(f"two health checks are called {twice[0]!r}", hint="give each a name of its own")
        if not max_age >= 0:
            raise ConfigurationError(f"max_age is {max_age!r}", hint="seconds, 0 or more")
        self._max_age = max_age
        self._blocking = {check.name for check in self.checks if needs_thread(_called(check))}
        self._seen: dict[str, HealthStatus] = {}
        self._affinity = Affinity()
        self._lock = Lock()
        self._runs: dict[str, _Run] = {}
        fork.watch(self)

    def __repr__(self) -> str:
        names = [check.name for check in self.checks]
        return f"<{type(self).__name__} of {self.service!r}: {', '.join(names)}>"

    def after_fork_in_child(self) -> None:
        """Forget the parent's runs: called in a forked child, where their threads are not."""
        self._affinity = Affinity()
        self._lock = Lock()
        self._runs = {}

    async def run(self) -> HealthReport:
        """Run the checks, or share what is under way or fresh; return how they ended. Raises nothing of its own."""
        # Runs of another event loop end there, if at all.
        if self._affinity.enter(in_use=False):
            self._runs = {}
        async with self._lock:
            runs = [self._begun(check) for check in self.checks]
        results: dict[str, CheckResult] = {}
        for run in runs:
            # One after the other: all of them run meanwhile.
            results[run.check.name] = await self._result(run)
        return report_of(results)

    def _begun(self, check: HealthCheck) -> _Run:
        now = time.monotonic()
        run = self._runs.get(check.name)
        if run is not None and (run.is_under_way() or (run.result is not None and now - run.ended < self._max_age)):
            return run
        run = self._runs[check.name] = _Run(check, now)
        started = run
        try:
            run.task = spawn(lambda: self._perform(started), name="soa-db health check")
        except RuntimeError as error:
            # The machine has no more threads.
            run.result = failed(check, error, 0.0)
            self._tell(check, run.result)
        return run

    async def _perform(self, run: _Run) -> None:
        check = run.check
        try:
            result = found(check, await self._call(run), run.latency)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a check raises is what it found
            result = failed(check, error, run.latency)
        if not run.gave_up:
            # Told before it is answered: what comes after the answer finds it in the log.
            self._tell(check, result)
            run.ended = time.monotonic()
            run.result = result

    async def _call(self, run: _Run) -> object:
        call, blocks = _called(run.check), run.check.name in self._blocking
        run.can_be_cancelled = not blocks
        value = await to_thread(call) if blocks else call()
        run.can_be_cancelled = True
        # A function that returns a coroutine looks like one that blocks.
        return await settled(value)

    async def _result(self, run: _Run) -> CheckResult:
        check, task = run.check, run.task
        if run.result is None and task is not None:
            await task.join(max(0.0, run.started + check.deadline - time.monotonic()))
        if run.result is not None:
            return run.result
        if task is None or (task.done() and not run.gave_up):
            # Somebody else has cancelled it.
            result = replace(overdue(check, run.latency), detail="error")
            self._tell(check, result)
            return result
        run.gave_up = True
        if run.can_be_cancelled:
            task.cancel()
        result = overdue(check, run.latency)
        self._tell(check, result)
        return result

    def _tell(self, check: HealthCheck, result: CheckResult) -> None:
        before, self._seen[check.name] = self._seen.get(check.name, "healthy"), result.status
        if result.status == before:
            return
        why = f"{result.error.kind} {result.error.message}".rstrip() if result.error is not None else result.detail
        level = logging.INFO if result.status == "healthy" else logging.WARNING
        _log.log(level, "health check %s of %s: %s, was %s: %s", check.name, self.service, result.status, before, why)

    async def answer(self, page: Page) -> tuple[int, dict[str, object]]:
        """Return the HTTP status and the JSON object of a page.

        Args:
            page: ``health`` and ``live`` run no check; ``ready`` is 200 or 503; ``details`` names hosts.
        """
        if page == "live":
            return 200, {"status": "ok"}
        identity = {"service": self.service, **build_identity(os.environ)}
        if page == "health":
            return 200, {"status": "ok", **identity}
        report = await self.run()
        if page == "ready":
            return 200 if report.ready else 503, ready_body(report)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        dependencies = {
            check.name: dependency(check, report.results[check.name], *_observed(check.target)) for check in self.checks
        }
        return 200, {"status": report.status, **identity, "timestamp": now, "dependencies": dependencies}


def _called(check: HealthCheck) -> Any:
    """What is called without arguments: the target, or its ``check`` with a little less than the deadline."""
    target: Any = check.target
    return target if callable(target) else partial(target.check, timeout=check.deadline * _PART)


def _observed(target: Any) -> tuple[CredentialInUse | None, Mapping[str, object] | None]:
    """The credential in use and the counts of a provider; neither does I/O, and either may not be there now.

    What others' targets have under these names may be anything.
    """
    credential = stats = None
    with suppress(Exception):
        credential = target.credential
    with suppress(Exception):
        stats = target.stats()
        if inspect.iscoroutine(stats):
            stats.close()
    return (
        credential if isinstance(credential, CredentialInUse) else None,
        stats if isinstance(stats, Mapping) else None,
    )
