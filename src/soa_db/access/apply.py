"""Plan and apply: the specs, an environment, and what has to be done there, engine by engine.

``plan`` changes nothing. ``apply`` plans again under the servers' locks, refuses when a saved plan no longer fits, asks
when it is given somebody to ask, carries the plan out, and demands that nothing is left to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from soa_db.access.engine import Request, admin_urls
from soa_db.access.engines import ENGINES, chosen_engines, overlooked
from soa_db.access.plan import ApplyResult, Plan, PlanOptions, Progress, ProgressEvent, refuse_errors
from soa_db.access.settings import Settings, load_settings
from soa_db.errors import ConfigurationError, ProvisionError, SoaDbError
from soa_db.names import Env, check_env

if TYPE_CHECKING:
    from soa_db.access.engine import LockedServer, Provisioner
    from soa_db.access.plan import Notice, ServerPlan
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients

__all__ = ["apply", "plan"]


def plan(
    specs: SpecSet,
    *,
    env: str,
    engines: Collection[str] | None = None,
    aws: AwsClients | None = None,
    admin_url: str | Iterable[str] | None = None,
    prune: bool = False,
    reassign: bool = False,
    insecure_dev: bool = False,
    settings: Settings | None = None,
    sources: Iterable[str] = (),
    progress: Progress | None = None,
) -> Plan:
    """Say what would be changed.

    Args:
        specs: the specs.
        env: ``dev``, ``mirror`` or ``prod``.
        engines: only these, e.g. ``("postgres",)``; when left out, every one that a spec has a part for.
        aws: AWS access; by the settings of ``env`` when left out.
        admin_url: administrators' URLs, one for an engine, instead of SOA_DB_ADMIN_URL or what AWS says.
        prune: also take away what no spec declares, and drop retired roles.
        reassign: give objects of other roles in declared schemas to the owner role.
        insecure_dev: fixed development passwords; dev only.
        settings: soa-db.toml; looked for when left out.
        sources: the files the specs were read from; kept in a saved plan.
        progress: told each step.

    Raises:
        ConfigurationError: the options cannot be used, or the caller is in another AWS account than expected.
        CredentialError: AWS did not give the administrator's coordinates.
        ConnectionFailed: the server was not reached.
    """
    options = PlanOptions(prune, reassign, insecure_dev)
    with _prepared(
        specs, check_env(env), options, engines, aws=aws, admin_url=admin_url, settings=settings, progress=progress
    ) as prepared:
        servers = tuple(provisioner.plan() for provisioner in prepared.provisioners)
    return Plan(prepared.env, options, servers, tuple(map(str, sources)), overlooked(specs, engines, options))


def apply(
    specs: SpecSet,
    *,
    env: str,
    saved: Plan | None = None,
    engines: Collection[str] | None = None,
    aws: AwsClients | None = None,
    admin_url: str | Iterable[str] | None = None,
    prune: bool = False,
    reassign: bool = False,
    insecure_dev: bool = False,
    settings: Settings | None = None,
    confirm: Callable[[Plan], bool] | None = None,
    progress: Progress | None = None,
    lock_timeout: float | None = None,
) -> ApplyResult:
    """Make the server what the specs want; run again, it writes nothing.

    Args:
        specs: the specs.
        env: ``dev``, ``mirror`` or ``prod``.
        saved: a plan somebody has looked at: exactly that is done, with its options, or nothing.
        engines: only these, e.g. ``("postgres",)``; when left out, every one that a spec has a part for.
        aws: AWS access; by the settings of ``env`` when left out.
        admin_url: administrators' URLs, one for an engine, instead of SOA_DB_ADMIN_URL or what AWS says.
        prune: also take away what no spec declares, and drop retired roles.
        reassign: give objects of other roles in declared schemas to the owner role.
        insecure_dev: fixed development passwords; dev only.
        settings: soa-db.toml; looked for when left out.
        confirm: asked, under the lock, before anything is changed; False ends it there. Asked again when more is to
            be done that could not be seen before, in a database that had shut the administrator out.
        progress: told each step before it is taken.
        lock_timeout: seconds to wait for another run; None for as long as it takes.

    Raises:
        PlanConflict: the saved plan no longer fits.
        ProvisionError: a change failed, or is left to do, or cannot be made by this administrator.
        ConfigurationError, CredentialError, ConnectionFailed: as for ``plan``.
    """
    start = time.monotonic()
    options = PlanOptions(prune, reassign, insecure_dev) if saved is None else saved.options
    engines = engines if saved is None else saved.engines
    with (
        _prepared(
            specs, check_env(env), options, engines, aws=aws, admin_url=admin_url, settings=settings, progress=progress
        ) as prepared,
        ExitStack() as locks,
    ):
        # In the order of the engines everywhere, so that no two runs wait for each other.
        servers = [locks.enter_context(provisioner.locked(lock_timeout)) for provisioner in prepared.provisioners]
        plans = tuple(server.plan() for server in servers)
        current = Plan(prepared.env, options, plans, overlooked=overlooked(specs, engines, options))
        if saved is not None:
            saved.refuse_unless_fits(current)
        refuse_errors(*current.servers)

        def agree(further: ServerPlan) -> bool:
            # A saved plan is done exactly.
            return saved is None and (confirm is None or confirm(Plan(prepared.env, options, (further,))))

        declined = bool(current.changes and confirm is not None and not confirm(current))
        notices = current.notices if declined else (*_carry_out(servers, current, agree), *current.overlooked)
        return ApplyResult(
            plan=current,
            applied=tuple(change for server in servers for change in server.applied),
            notices=notices,
            waited=sum(server.waited for server in servers),
            seconds=time.monotonic() - start,
            declined=declined,
        )


def _carry_out(servers: list[LockedServer], plan: Plan, agree: Callable[[ServerPlan], bool]) -> tuple[Notice, ...]:
    """Change every server that needs it: one that fails stops no other, and each that failed is named in the end."""
    after: list[ServerPlan] = []
    failed: list[tuple[ServerPlan, SoaDbError]] = []
    for server, part in zip(servers, plan.servers, strict=True):
        try:
            after.append(server.carry_out(part, agree) if part.changes else part)
        except SoaDbError as error:
            failed.append((part, error))
    if len(failed) == 1:
        raise failed[0][1]
    if failed:
        lines = "\n".join(f"  {part.engine} at {part.server}: {error}" for part, error in failed)
        raise ProvisionError(f"{len(failed)} servers could not be changed:\n{lines}") from failed[0][1]
    return tuple(notice for part in after for notice in part.notices)


def _one_at_a_time(progress: Progress | None) -> Progress:
    """Databases and passwords are worked on in threads; whoever is told need not be safe for that."""
    if progress is None:
        return lambda _: None
    lock = threading.Lock()

    def tell(event: ProgressEvent) -> None:
        with lock:
            progress(event)

    return tell


class _prepared:  # noqa: N801  (used as a context manager only)
    """Everything a run needs, made from the arguments; closes the AWS clients it made itself."""

    provisioners: list[Provisioner]

    def __init__(
        self,
        specs: SpecSet,
        env: Env,
        options: PlanOptions,
        engines: Collection[str] | None,
        *,
        aws: AwsClients | None,
        admin_url: str | Iterable[str] | None,
        settings: Settings | None,
        progress: Progress | None,
    ) -> None:
        from soa_db.aws import AwsClients

        if options.insecure_dev and env != "dev":
            raise ConfigurationError(
                "fixed development passwords are for dev only", hint="leave --insecure-dev out", env=env
            )
        chosen = chosen_engines(specs, engines)
        urls = admin_urls(ENGINES, admin_url)
        settings = load_settings() if settings is None else settings
        self.env = env
        self._own = None if aws is not None else AwsClients.from_target(settings.environment(env).target)
        clients = aws or self._own
        assert clients is not None
        tell = _one_at_a_time(progress)
        try:
            settings.check_account(clients, env)
            self.provisioners = [
                engine.provisioner(Request(specs, env, options, clients, settings, urls.get(engine.name), tell))
                for engine in chosen
            ]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
