"""One run: AWS first, then every target's chain, side by side, told in the order of the specs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, TypeVar

from soa_db.access.aws.rights import Rights
from soa_db.access.settings import Settings, load_settings
from soa_db.doctor.chain import Overdue, Step, bounded, walk
from soa_db.doctor.engines import Examine, chosen_targets
from soa_db.doctor.identity import AwsExamination
from soa_db.doctor.report import Finding, Report, Status, Target, TargetReport
from soa_db.doctor.surroundings import Surroundings
from soa_db.errors import ConfigurationError, MissingExtra
from soa_db.names import check_env

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients

__all__ = ["Progress", "diagnose"]

Progress = Callable[[int, int, str], None]
_CLOSE_SECONDS = 2.0


def diagnose(
    specs: SpecSet,
    *,
    env: str,
    services: Collection[str] | None = None,
    engines: Collection[str] | None = None,
    roles: Collection[str] | None = None,
    aws: AwsClients | None = None,
    assume_role: str | None = None,
    settings: Settings | None = None,
    timeout: float = 10.0,
    jobs: int = 8,
    progress: Progress | None = None,
    wall: Callable[[], float] = time.time,
) -> Report:
    """Walk the chain from AWS identity to a pooled connection for every identity of some specs. Changes nothing.

    Args:
        specs: the specs.
        env: the environment.
        services: only these; None for all.
        engines: only these; None for all.
        roles: only these; None for all.
        aws: AWS access; by the settings of ``env`` when left out.
        assume_role: template of a role ARN, e.g. ``arn:aws:iam::{account}:role/{service}-{role}``: use each service's
            own AWS rights, not the caller's.
        settings: soa-db.toml; looked for when left out.
        timeout: seconds each step may take.
        jobs: how many targets at once.
        progress: called with the number of finished targets, of all targets, and the one just finished.
        wall: this machine's clock, in seconds since the epoch; for tests.

    Raises:
        ConfigurationError: an argument cannot be used, or the specs declare nothing to examine.
    """
    environment = check_env(env)
    if not timeout > 0 or jobs < 1:
        raise ConfigurationError("timeout must be more than 0 seconds, and jobs at least 1")
    targets = chosen_targets(specs, environment, services=services, engines=engines, roles=roles)
    settings = load_settings() if settings is None else settings
    # Drivers are large: here, once, and not in the time of the steps, by several threads at once.
    for engine in {target.engine for target, _ in targets}:
        # One that is not installed is found out by the steps of its engine, and by no others.
        with suppress(MissingExtra):
            import_module(f"soa_db.{engine}")
    with _closed_in_time(settings.aws_for(environment)) if aws is None else nullcontext(aws) as clients:
        around = Surroundings(environment, settings, clients, timeout, wall)
        with _closed_in_time(Rights(environment, clients, assume_role)) as rights:
            shared = walk(AwsExamination(around).steps(), timeout=timeout)

            def examine(target: Target, how: Examine) -> TargetReport:
                return _examine(around, rights, target, how, shared)

            return Report(environment, shared, _together(examine, targets, jobs, progress))


class _Closable(Protocol):
    def close(self) -> object: ...


C = TypeVar("C", bound=_Closable)


@contextmanager
def _closed_in_time(held: C) -> Iterator[C]:
    """Close it in the end, unless a step that hangs has it locked: that holds up no exit."""
    try:
        yield held
    finally:
        with suppress(Overdue):
            bounded(held.close, _CLOSE_SECONDS)


def _together(
    examine: Callable[[Target, Examine], TargetReport],
    targets: list[tuple[Target, Examine]],
    jobs: int,
    progress: Progress | None,
) -> tuple[TargetReport, ...]:
    """Examine the targets side by side, in threads that hold up no exit: a step that hangs may outlive the run."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[int, TargetReport | BaseException]] = queue.SimpleQueue()
    for index in range(len(targets)):
        waiting.put(index)

    def work() -> None:
        while True:
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                finished.put((index, examine(*targets[index])))
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                finished.put((index, error))

    for _ in range(min(jobs, len(targets))):
        threading.Thread(target=work, name="soa-db-doctor", daemon=True).start()
    found: dict[int, TargetReport] = {}
    try:
        while len(found) < len(targets):
            index, result = finished.get()
            if isinstance(result, BaseException):
                raise result
            found[index] = result
            if progress is not None:
                progress(len(found), len(targets), str(result.target))
    finally:
        # Interrupted: what has not begun does not begin any more.
        with suppress(queue.Empty):
            while True:
                waiting.get_nowait()
    return tuple(found[index] for index in range(len(targets)))


def _examine(
    around: Surroundings, rights: Rights, target: Target, examine: Examine, shared: tuple[Finding, ...]
) -> TargetReport:
    # AWS's clock is no step of a target's: its own is the server's.
    before = tuple(finding for finding in shared if finding.step == "identity")
    role: tuple[Finding, ...] = ()
    if rights.assumes:
        assumed: list[AwsClients] = []

        def assume() -> Iterator[Finding]:
            clients = rights.of(target)
            told = clients.caller_identity().arn
            assumed.append(clients)
            yield Finding("role", Status.OK, told)

        role = walk([Step("role", assume, ("identity",))], timeout=around.timeout, before=before)
        around = replace(around, aws=assumed[0] if assumed else around.aws)
    examination = examine(around)
    try:
        found = walk(examination.steps(), timeout=around.timeout, before=(*before, *role))
        return TargetReport(target, (*role, *found))
    finally:
        examination.end()
