"""A run of Alembic: offline as SQL, or online in each database under its lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from soa_db.alembic.lock import migration_lock
from soa_db.alembic.login import ENV_VARIABLE, Login
from soa_db.alembic.targets import Target, targets_of
from soa_db.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from alembic.runtime.environment import EnvironmentContext
    from sqlalchemy import Connection, Engine

    from soa_db.access.spec import Spec
    from soa_db.alembic.targets import Metadata
    from soa_db.aws import AwsClients
    from soa_db.config import PostgresConfig, SessionConfig
    from soa_db.postgres import PostgresProvider

__all__ = ["run_migrations"]


def run_migrations(
    context: EnvironmentContext | ModuleType,
    *,
    service: str | None = None,
    spec: Spec | str | os.PathLike[str] | None = None,
    env: str | None = None,
    target_metadata: Metadata | Mapping[str, Metadata] = None,
    db_id: str | None = None,
    config: PostgresConfig | Mapping[str, PostgresConfig] | None = None,
    aws: AwsClients | None = None,
    session: SessionConfig | None = None,
    wait: float = 300.0,
    configure: Mapping[str, Any] | None = None,
) -> None:
    """Run what Alembic was called for, in each of a service's databases, as its owner.

    Databases are migrated one after the other, each in its own transaction and with a version table of its own: where
    one fails, those before it stay migrated, and the next run goes on from there. A run holds an advisory lock of the
    database, so that of two pods that start together one migrates and the other then finds nothing to do.

    With ``--sql`` (offline) nothing is connected to and AWS is not asked; of several databases each part begins with
    psql's ``\\connect``.

    ``-x`` arguments win over what is given here: ``env=mirror``; ``db=pii``, only this one of several databases;
    ``dial=localhost:15432``, a tunnel.

    Args:
        context: ``alembic.context``.
        service: the service id; that of ``spec`` when left out.
        spec: the service's ``db-access.yaml``, or its path: names and schemas are taken from it.
        env: ``dev``, ``mirror`` or ``prod``; the variable ``SOA_ENV`` when left out. Not needed offline.
        target_metadata: what autogeneration compares with. A mapping of database ids says that there are several
            databases, and that each revision has ``upgrade_main()``, ``upgrade_pii()`` and so on, as Alembic's
            template ``multidb`` makes them; ``-`` in an id is ``_`` there.
        db_id: the one database, where it is not the default one and there is a folder of revisions for each.
        config: how to connect as owner, for databases outside the contract; a mapping by database id for several.
        aws: shared AWS clients; what ``soa-db.toml`` says when left out.
        session: settings of the session. Unless given, no timeout but the server's own ends a long migration.
        wait: seconds to wait for another run.
        configure: more arguments of Alembic's ``context.configure``, e.g. ``{"include_schemas": True}``.

    Raises:
        ConfigurationError: no service or env is given, ``-x db=`` names a database that is not there, or the AWS caller
            is of another account than ``soa-db.toml`` says.
        ProvisionError: another run held the lock for longer than ``wait``.
        SoaDbError: likewise the errors of the loader and of ``connect()``.
        MissingExtra: Alembic or SQLAlchemy is not installed.
    """
    arguments: dict[str, Any] = context.get_x_argument(as_dictionary=True)
    spec = _spec(spec)
    targets = targets_of(spec, target_metadata, db_id, arguments.get("db"))
    options = dict(configure or {})
    login = Login(
        service=spec.service if service is None and spec is not None else service,
        spec=spec,
        env=arguments.get("env") or env or os.environ.get(ENV_VARIABLE),
        dial=arguments.get("dial"),
        config=config,
        aws=aws,
        session=session,
    )
    if context.is_offline_mode():
        _offline(context, targets, login, options)
        return
    given = context.config.attributes.get("connection")
    if given is not None:
        if len(targets) != 1:
            raise ConfigurationError(
                "config.attributes['connection'] is one connection, and there are several databases",
                hint="choose one with -x db=…",
            )
        _online(context, targets[0], given, options)
        return
    engine_on = _engine_maker()
    with login.clients() as clients:
        for target in targets:
            with login.provider(target.db_id, clients) as provider, engine_on(provider).connect() as connection:
                where = f"database {provider.config.database} at {provider.config.host}"
                with migration_lock(connection, where, wait):
                    _online(context, target, connection, options)


def _spec(spec: Spec | str | os.PathLike[str] | None) -> Spec | None:
    if not isinstance(spec, str | os.PathLike):
        return spec
    from soa_db.access.spec import load_spec

    return load_spec(spec)


def _offline(context: Any, targets: Sequence[Target], login: Login, options: Mapping[str, Any]) -> None:
    how = {"dialect_name": "postgresql", "literal_binds": True, "dialect_opts": {"paramstyle": "named"}}
    for target in targets:
        target.configure(context, how, options)
        database, user = login.identity(target.db_id)
        context.static_output(f"-- to be run in the database {database} as {user}")
        if len(targets) > 1:
            quoted = database.replace('"', '""')
            context.static_output(f'\\connect "{quoted}"')
        target.migrate(context)


def _online(context: Any, target: Target, connection: Connection, options: Mapping[str, Any]) -> None:
    how: dict[str, Any] = {"connection": connection}
    if target.engine_name is not None:
        how |= {f"{way}_token": f"{target.engine_name}_{way}s" for way in ("upgrade", "downgrade")}
    target.configure(context, how, options)
    target.migrate(context)


def _engine_maker() -> Callable[[PostgresProvider], Engine]:
    try:
        from soa_db.sqlalchemy import create_engine_from_provider
    except MissingExtra as error:
        raise MissingExtra(error.message, hint="pip install 'soa-db[alembic]'") from error
    return create_engine_from_provider
