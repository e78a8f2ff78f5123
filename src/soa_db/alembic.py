"""Alembic: what a service's ``env.py`` calls. Migrations run as the owner role, one run per database at a time.

::

    from alembic import context
    from chat_api.models import Base
    from soa_db.alembic import run_migrations

    run_migrations(context, service="chat-api", target_metadata=Base.metadata)

On the command line, ``-x`` says the rest: ``alembic -x env=mirror upgrade head``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from soa_db import names
from soa_db.errors import ConfigurationError, MissingExtra, ProvisionError

if TYPE_CHECKING:
    from alembic.runtime.environment import EnvironmentContext
    from sqlalchemy import Connection, MetaData

    from soa_db.access.spec import Spec
    from soa_db.aws import AwsClients
    from soa_db.config import PostgresConfig, SessionConfig
    from soa_db.postgres import PostgresProvider

    Metadata = MetaData | Sequence[MetaData] | None

__all__ = ["run_migrations"]

logger = logging.getLogger("soa_db.alembic")

# An advisory lock is per database: one key for all. ASCII of "soa-alem".
_LOCK_KEY = int.from_bytes(b"soa-alem", "big")
_POLL = 0.2  # seconds between two looks at a lock that another run holds
_ENV_VARIABLE = "SOA_ENV"


@dataclass(frozen=True, slots=True)
class _Target:
    """One database to migrate.

    Attributes:
        db_id: its id.
        metadata: what autogeneration compares it with.
        schema: where the version table stands; None for the first on the search path.
        engine_name: what the functions of a revision are named by, ``upgrade_{engine_name}``; None where there is one
            database, and so plain ``upgrade``.
    """

    db_id: str | None
    metadata: Metadata
    schema: str | None
    engine_name: str | None


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
    if spec is not None:
        service = service or spec.service
    targets = _targets(spec, target_metadata, db_id, arguments.get("db"))
    options = dict(configure or {})
    if context.is_offline_mode():
        _offline(context, targets, options, service=service, spec=spec, config=config)
        return
    given = context.config.attributes.get("connection")
    if given is not None:
        if len(targets) != 1:
            raise ConfigurationError(
                "config.attributes['connection'] is one connection, and there are several databases",
                hint="choose one with -x db=…",
            )
        _run(context, targets[0], given, options)
        return
    login = _Login(
        service=service,
        spec=spec,
        env=arguments.get("env") or env or os.environ.get(_ENV_VARIABLE),
        dial=arguments.get("dial"),
        config=config,
        aws=aws,
        session=session,
    )
    with login.clients() as clients:
        for target in targets:
            with login.provider(target, clients) as provider, _connection(provider) as connection:
                where = f"database {provider.config.database} at {provider.config.host}"
                with _lock(connection, where, wait):
                    _run(context, target, connection, options)


# --- what is to be migrated


def _spec(spec: Spec | str | os.PathLike[str] | None) -> Spec | None:
    if not isinstance(spec, str | os.PathLike):
        return spec
    from soa_db.access.spec import load_spec

    return load_spec(spec)


def _targets(
    spec: Spec | None, metadata: Metadata | Mapping[str, Metadata], db_id: str | None, chosen: str | None
) -> list[_Target]:
    if not isinstance(metadata, Mapping):
        wanted = names.normal_db_id(chosen if chosen is not None else db_id)
        return [_Target(wanted, metadata, _version_schema(spec, wanted), None)]
    if db_id is not None:
        raise ConfigurationError(
            "db_id is for one database, and target_metadata is a mapping of several", hint="leave one of them out"
        )
    if not metadata:
        raise ConfigurationError("target_metadata names no database", hint='e.g. {"main": Base.metadata}')
    found = [
        _Target(names.normal_db_id(name), one, _version_schema(spec, name), name.replace("-", "_"))
        for name, one in metadata.items()
    ]
    if chosen is None:
        return found
    picked = [target for target in found if target.db_id == names.normal_db_id(chosen)]
    if not picked:
        raise ConfigurationError(f"-x db={chosen} names no database of these: {', '.join(metadata)}")
    return picked


def _version_schema(spec: Spec | None, db_id: str | None) -> str | None:
    """The spec's first schema where the owner has no `public`; otherwise what the search path gives."""
    if spec is None or spec.postgres is None:
        return None
    database = spec.postgres.database(db_id or "main")
    if database is None or "public" in database.schemas:
        return None
    return database.schemas[0]


# --- offline


def _offline(
    context: Any,
    targets: Sequence[_Target],
    options: Mapping[str, Any],
    *,
    service: str | None,
    spec: Spec | None,
    config: PostgresConfig | Mapping[str, PostgresConfig] | None,
) -> None:
    for target in targets:
        context.configure(
            **{
                "dialect_name": "postgresql",
                "literal_binds": True,
                "dialect_opts": {"paramstyle": "named"},
                "target_metadata": target.metadata,
                **_version_table(target),
                **options,
            }
        )
        database, user = _identity(service, spec, target.db_id, _config_of(config, target.db_id))
        context.static_output(f"-- to be run in the database {database} as {user}")
        if len(targets) > 1:
            quoted = database.replace('"', '""')
            context.static_output(f'\\connect "{quoted}"')
        with context.begin_transaction():
            context.run_migrations(**_engine_name(target))


def _identity(
    service: str | None, spec: Spec | None, db_id: str | None, config: PostgresConfig | None
) -> tuple[str, str]:
    if config is not None:
        return config.database, config.user or "its owner"
    service = _known_service(service)
    if spec is not None:
        return spec.postgres_database(db_id), spec.postgres_user(db_id, "owner")
    names.check_service(service)
    return names.postgres_database(service, db_id), names.postgres_user(service, "owner")


# --- online


@dataclass(frozen=True, slots=True)
class _Login:
    """How the owner of each database is connected to."""

    service: str | None
    spec: Spec | None
    env: str | None
    dial: str | None
    config: PostgresConfig | Mapping[str, PostgresConfig] | None
    aws: AwsClients | None
    session: SessionConfig | None

    @contextmanager
    def clients(self) -> Iterator[AwsClients | None]:
        """The AWS clients for all databases: those given, or what ``soa-db.toml`` says. A config needs none."""
        if self.config is not None or self.aws is not None:
            yield self.aws
            return
        from soa_db.access.settings import load_settings

        settings = load_settings()
        env = self._known_env()
        with settings.aws_for(env) as clients:
            settings.check_account(clients, env)
            yield clients

    def provider(self, target: _Target, aws: AwsClients | None) -> PostgresProvider:
        """Return a provider of one database, not connected yet."""
        from soa_db.config import Dial, PoolConfig, SessionConfig
        from soa_db.postgres import PostgresProvider

        session = self.session or SessionConfig(
            statement_timeout=0, idle_in_transaction_timeout=0, application_name=f"{self.service or ''} alembic".strip()
        )
        pool = PoolConfig(max_size=1)
        config = _config_of(self.config, target.db_id)
        if config is not None:
            changes: dict[str, Any] = {"pool": pool}
            if self.dial is not None:
                changes["dial"] = Dial.from_text(self.dial)
            if self.session is not None or config.session == SessionConfig():
                changes["session"] = session
            return PostgresProvider(config.model_copy(update=changes), aws=aws)
        return PostgresProvider.from_aws(
            aws=aws,
            env=self._known_env(),
            service=_known_service(self.service),
            role="owner",
            db_id=target.db_id,
            dial=self.dial,
            spec=self.spec,
            pool=pool,
            session=session,
        )

    def _known_env(self) -> str:
        if not self.env:
            hint = f"alembic -x env=dev … (or mirror, prod), or the variable {_ENV_VARIABLE}"
            raise ConfigurationError("no env is given to migrate in", hint=hint)
        return self.env


def _known_service(service: str | None) -> str:
    if service is None:
        raise ConfigurationError("no service is given to migrate", hint="run_migrations(context, service=…) or spec=…")
    return service


def _config_of(
    config: PostgresConfig | Mapping[str, PostgresConfig] | None, db_id: str | None
) -> PostgresConfig | None:
    if not isinstance(config, Mapping):
        return config
    found = config.get(db_id or "main")
    if found is None:
        raise ConfigurationError(f"config names no database {db_id or 'main'!r}", hint=f"it has {', '.join(config)}")
    return found


@contextmanager
def _connection(provider: PostgresProvider) -> Iterator[Connection]:
    try:
        from soa_db.sqlalchemy import create_engine_from_provider
    except MissingExtra as error:
        raise MissingExtra(error.message, hint="pip install 'soa-db[alembic]'") from error
    with create_engine_from_provider(provider).connect() as connection:
        yield connection


def _run(context: Any, target: _Target, connection: Connection, options: Mapping[str, Any]) -> None:
    tokens = {}
    if target.engine_name is not None:
        tokens = {f"{way}_token": f"{target.engine_name}_{way}s" for way in ("upgrade", "downgrade")}
    context.configure(
        **{
            "connection": connection,
            "target_metadata": target.metadata,
            **tokens,
            **_version_table(target),
            **options,
        }
    )
    with context.begin_transaction():
        context.run_migrations(**_engine_name(target))


def _version_table(target: _Target) -> dict[str, str]:
    return {} if target.schema is None else {"version_table_schema": target.schema}


def _engine_name(target: _Target) -> dict[str, str]:
    return {} if target.engine_name is None else {"engine_name": target.engine_name}


@contextmanager
def _lock(connection: Connection, where: str, wait: float) -> Iterator[None]:
    """Hold the database's lock. Who dies in between lets go with the session."""
    _take(connection, where, wait)
    try:
        yield
    finally:
        # An invalidated connection has lost the lock with its session.
        if not connection.invalidated:
            connection.rollback()
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_LOCK_KEY})")
            connection.commit()


def _take(connection: Connection, where: str, wait: float) -> None:
    started = time.monotonic()
    told = False
    # Tried again and again, each time in a transaction of its own: a waiting statement would hold a snapshot, and the
    # other run's CREATE INDEX CONCURRENTLY would wait for that for ever.
    while True:
        taken = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK_KEY})").scalar()
        connection.commit()
        if taken:
            return
        waited = time.monotonic() - started
        if waited >= wait:
            raise ProvisionError(
                f"another run of migrations held the lock of the {where} for {waited:.0f} s{_holder(connection)}",
                hint="wait until it ends, and migrate again; if it is no run, end that session (pg_terminate_backend)",
            )
        if not told:
            logger.info("another run migrates the %s%s; waiting for it", where, _holder(connection))
            told = True
        time.sleep(min(_POLL, max(0.0, wait - waited)))


def _holder(connection: Connection) -> str:
    """Who holds the lock."""
    row = connection.exec_driver_sql(
        f"""
        SELECT l.pid, a.usename
          FROM pg_locks AS l
          JOIN pg_stat_activity AS a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND (l.classid::bigint << 32) | l.objid::bigint = {_LOCK_KEY}
        """  # noqa: S608 - a number of our own
    ).fetchone()
    connection.commit()
    return "" if row is None else f" (process {row[0]} of {row[1]})"
