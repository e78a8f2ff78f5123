"""The throw-away PostgreSQL behind the fixtures: provisioned, migrated, and put back after each test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

    from soa_db.access.spec import Spec, SpecSet
    from soa_db.config import PostgresConfig
    from soa_db.local.environment import LocalEnvironment
    from soa_db.names import Role

__all__ = ["TestServer", "require_part", "spec_with_part", "the_spec"]

_STATEMENTS = Path(__file__).with_name("database_properties.sql")


@dataclass(frozen=True, slots=True)
class _Pristine:
    """One database as the migrations left it.

    Attributes:
        database: its name.
        template: the copy kept of it.
        owner: who owns it.
        properties: statements for what a copy does not carry: privileges on the database itself, and its settings.
    """

    database: str
    template: str
    owner: str
    properties: tuple[str, ...]


class TestServer:
    """A local environment's dev server with the databases of some specs.

    Args:
        environment: the environment, which runs.
        specs: what is provisioned.
    """

    __test__ = False  # the name begins with what pytest collects

    def __init__(self, environment: LocalEnvironment, specs: SpecSet) -> None:
        self.specs = specs
        self._environment = environment
        self._pristine: tuple[_Pristine, ...] = ()

    @property
    def exports(self) -> dict[str, str]:
        """The environment variables that lead AWS clients, and soa-db, here."""
        return self._environment.exports()

    @property
    def superuser_conninfo(self) -> str:
        """The superuser's way in, over the Unix socket: for assertions, not for what is tested."""
        return self._environment.server("dev").superuser_conninfo

    def prepare(self, migrate: Callable[[PostgresConfig, str], None]) -> None:
        """Provision, migrate as each database's owner, provision again, keep copies.

        Again, because the specs may grant more on objects that the migrations made. The process's environment must
        have the exports.
        """
        from soa_db.access import apply

        apply(self.specs, env="dev")
        for spec in self.specs.specs:
            for database in spec.postgres_databases():
                if spec.user(database, "owner") is not None:
                    migrate(self.config("owner", service=spec.service, db_id=database.id), database.id)
        apply(self.specs, env="dev")
        with self._superuser() as connection:
            self._pristine = tuple(
                _keep(connection, spec.database_name(database), number)
                for number, (spec, database) in enumerate(
                    (spec, database) for spec in self.specs.specs for database in spec.postgres_databases()
                )
            )

    def config(self, role: Role = "app", *, service: str | None = None, db_id: str | None = None) -> PostgresConfig:
        """Return how a role reaches a database, as the public loader gives it.

        Args:
            role: ``owner``, ``app`` or ``ro``.
            service: service id; may be left out when there is one spec.
            db_id: the database's id; the default database when left out.

        Raises:
            ConfigurationError: the service is left out and there are several, or there is no such service.
        """
        from soa_db.postgres import load_postgres_config_from_aws

        spec = the_spec(self.specs, service)
        return load_postgres_config_from_aws(env="dev", service=spec.service, role=role, db_id=db_id, spec=spec)

    def reset(self) -> None:
        """Put every database back to what the migrations left; whoever is still connected is cut off."""
        with self._superuser() as connection:
            for kept in self._pristine:
                _restore(connection, kept)

    def _superuser(self) -> psycopg.Connection[Any]:
        import psycopg

        return psycopg.connect(self.superuser_conninfo, autocommit=True)


def the_spec(specs: SpecSet, service: str | None) -> Spec:
    """Return a service's spec; the only one there is when none is named.

    Raises:
        ConfigurationError: the service is left out and there are several, or there is no such service.
    """
    found = specs.by_service
    if service is None and len(found) == 1:
        return next(iter(found.values()))
    if service is None or service not in found:
        raise ConfigurationError(
            "say which service is meant" if service is None else f"no spec is given for {service!r}",
            hint=f"known are {', '.join(found)}",
        )
    return found[service]


def require_part(specs: SpecSet, part: Literal["redis", "mongo"]) -> None:
    """Refuse specs of which none has the part of an engine.

    Raises:
        ConfigurationError: that is so.
    """
    if all(getattr(spec, part) is None for spec in specs.specs):
        services = ", ".join(specs.by_service)
        raise ConfigurationError(f"no spec has a `{part}` part (known are {services})", hint=_hint(part))


def spec_with_part(specs: SpecSet, service: str | None, part: Literal["redis", "mongo"]) -> Spec:
    """Return a service's spec, as ``the_spec`` does, with the part of an engine.

    Raises:
        ConfigurationError: also when it has none.
    """
    spec = the_spec(specs, service)
    if getattr(spec, part) is None:
        raise ConfigurationError(f"the spec of {spec.service} has no `{part}` part", hint=_hint(part))
    return spec


def _hint(part: str) -> str:
    return f"`{part}: {{}}` in its db-access.yaml declares what a service usually has"


def _keep(connection: psycopg.Connection[Any], database: str, number: int) -> _Pristine:
    from psycopg import sql

    template = f"soa_db_pristine_{number}"
    # A pool that the migrations left open: no database is copied while somebody is connected to it.
    connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (database,))
    connection.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} ALLOW_CONNECTIONS false").format(
            sql.Identifier(template), sql.Identifier(database)
        )
    )
    row = connection.execute(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (database,)
    ).fetchone()
    assert row is not None
    statements = connection.execute(_STATEMENTS.read_text("utf-8"), {"database": database}).fetchall()
    return _Pristine(database, template, row[0], tuple(statement for (statement,) in statements))


def _restore(connection: psycopg.Connection[Any], kept: _Pristine) -> None:
    from psycopg import sql

    database = sql.Identifier(kept.database)
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
    connection.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} ALLOW_CONNECTIONS true").format(
            database, sql.Identifier(kept.template), sql.Identifier(kept.owner)
        )
    )
    for statement in kept.properties:
        connection.execute(statement.encode())
