"""Plan and apply: the specs, an environment, and what has to be done there.

``plan`` changes nothing. ``apply`` plans again under the server's lock, refuses when a saved plan no longer fits, asks
when it is given somebody to ask, carries the plan out, and demands that nothing is left to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from soa_db.access.plan import ApplyResult, Plan, PlanOptions, Progress, ProgressEvent
from soa_db.access.settings import Settings, load_settings
from soa_db.errors import ConfigurationError
from soa_db.names import Env, check_env

if TYPE_CHECKING:
    from soa_db.access.postgres.provision import PostgresProvisioner
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients

__all__ = ["apply", "plan"]


def plan(
    specs: SpecSet,
    *,
    env: str,
    aws: AwsClients | None = None,
    admin_url: str | None = None,
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
        aws: AWS access; by the settings of ``env`` when left out.
        admin_url: the administrator's URL, instead of SOA_DB_ADMIN_URL or what AWS says.
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
    with _prepared(
        specs,
        check_env(env),
        PlanOptions(prune, reassign, insecure_dev),
        aws=aws,
        admin_url=admin_url,
        settings=settings,
        progress=progress,
    ) as prepared:
        return replace(prepared.provisioner.plan(), specs=tuple(map(str, sources)))


def apply(
    specs: SpecSet,
    *,
    env: str,
    saved: Plan | None = None,
    aws: AwsClients | None = None,
    admin_url: str | None = None,
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
        aws: AWS access; by the settings of ``env`` when left out.
        admin_url: the administrator's URL, instead of SOA_DB_ADMIN_URL or what AWS says.
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
    with (
        _prepared(
            specs, check_env(env), options, aws=aws, admin_url=admin_url, settings=settings, progress=progress
        ) as prepared,
        prepared.provisioner.locked(lock_timeout) as server,
    ):
        current = server.plan()
        if saved is not None:
            saved.refuse_unless_fits(current)
        server.refuse_errors(current)

        def agree(further: Plan) -> bool:
            # A saved plan is done exactly.
            return saved is None and (confirm is None or confirm(further))

        declined = bool(current.changes and confirm is not None and not confirm(current))
        after = server.carry_out(current, agree) if current.changes and not declined else current
        return ApplyResult(
            plan=current,
            applied=server.applied,
            notices=after.notices,
            waited=server.waited,
            seconds=time.monotonic() - start,
            declined=declined,
        )


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

    provisioner: PostgresProvisioner

    def __init__(
        self,
        specs: SpecSet,
        env: Env,
        options: PlanOptions,
        *,
        aws: AwsClients | None,
        admin_url: str | None,
        settings: Settings | None,
        progress: Progress | None,
    ) -> None:
        from soa_db.access.postgres.admin import admin_server
        from soa_db.access.postgres.desired import desired_state
        from soa_db.access.postgres.passwords import DevelopmentPasswords
        from soa_db.access.postgres.provision import PostgresProvisioner
        from soa_db.aws import AwsClients

        if options.insecure_dev and env != "dev":
            raise ConfigurationError(
                "fixed development passwords are for dev only", hint="leave --insecure-dev out", env=env
            )
        settings = load_settings() if settings is None else settings
        desired = desired_state(specs, env)
        self._own = None if aws is not None else AwsClients.from_target(settings.environment(env).target)
        clients = aws or self._own
        assert clients is not None
        try:
            settings.check_account(clients, env)
            server = admin_server(env, aws=clients, admin_url=admin_url)
        except BaseException:
            self.close()
            raise
        self.provisioner = PostgresProvisioner(
            desired=desired,
            specs="\n".join(sorted(spec.model_dump_json() for spec in specs.specs)),
            server=server,
            options=options,
            passwords=DevelopmentPasswords(clients, server, desired, options.insecure_dev) if env == "dev" else None,
            progress=_one_at_a_time(progress),
        )

    def close(self) -> None:
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
