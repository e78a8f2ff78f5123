"""A small world that is provisioned as the specs say, made with plain SQL so that no planner has a part in it.

Two services: alpha with the databases main and (isolated) pii, and beta, which reads two columns of a table of alpha's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from soa_db.access.postgres.verification import PostgresVerification
from soa_db.access.spec import PostgresIdentity, SpecSet, load_specs
from soa_db.access.verify import carry_out
from soa_db.config import PasswordAuth, PostgresConfig

if TYPE_CHECKING:
    from soa_db.access.postgres.logins import Logins
    from soa_db.access.report import VerifyReport
    from soa_db.local.postgres import PostgresServer

PASSWORD = "password-of-every-identity"


class PasswordLogins:
    """Logins with one password, straight through psycopg: no AWS, no loader."""

    def __init__(self, port: int) -> None:
        self.port = port

    def config(self, identity: PostgresIdentity, database: str) -> PostgresConfig:
        """The identity's password, whoever asks."""
        return PostgresConfig(
            instance_name="test",
            host="127.0.0.1",
            port=self.port,
            database=database,
            user=identity.user,
            auth=PasswordAuth.model_validate({"password": PASSWORD}),
            tls=None,
        )

    def impostor(self, identity: PostgresIdentity, user: str, database: str) -> PostgresConfig:
        """There are no tokens here."""
        raise AssertionError((identity, user, database))

    def connect(self, config: PostgresConfig) -> psycopg.Connection[Any]:
        """One connection in autocommit mode."""
        assert isinstance(config.auth, PasswordAuth)
        return psycopg.connect(
            host=config.host,
            port=config.port,
            dbname=config.database,
            user=config.user,
            password=config.auth.password.get_secret_value(),
            sslmode="disable",
            autocommit=True,
        )


def verify_with(
    specs: SpecSet, logins: Logins, *, only: Collection[str] | None = None, **keywords: Any
) -> VerifyReport:
    """Verify as dev, with another way of logging in than by AWS's secrets."""
    services = only or [spec.service for spec in specs.specs]
    return carry_out("dev", [PostgresVerification(specs, env="dev", services=services, logins=logins)], **keywords)


@dataclass(frozen=True)
class World:
    """The servers, specs and names of one test world."""

    server: PostgresServer
    specs: SpecSet
    tag: str

    @property
    def main(self) -> str:
        """The database of alpha that others may read."""
        return f"{self.tag}_alpha"

    @property
    def pii(self) -> str:
        """The isolated one."""
        return f"{self.tag}_pii"

    @property
    def beta(self) -> str:
        """The other service's database."""
        return f"{self.tag}_beta"

    def name(self, text: str) -> str:
        """``{tag}`` filled in."""
        return text.replace("{tag}", self.tag)

    def run(self, database: str, text: str) -> None:
        """Run SQL as the superuser, with ``{tag}`` filled in."""
        conninfo = make_conninfo(self.server.superuser_conninfo, dbname=self.name(database))
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(self.name(text).encode())

    def fetch(self, database: str, text: str) -> list[tuple[Any, ...]]:
        """The rows of a query of the superuser's."""
        conninfo = make_conninfo(self.server.superuser_conninfo, dbname=self.name(database))
        with psycopg.connect(conninfo, autocommit=True) as connection:
            return connection.execute(self.name(text).encode()).fetchall()

    def verify(self, **keywords: Any) -> VerifyReport:
        """Verify the world as dev."""
        return verify_with(self.specs, PasswordLogins(self.server.port), **keywords)


_ALPHA = """
version: 1
service: {tag}-alpha
postgres:
  databases:
    - id: main
      schemas: [public, extra]
    - id: pii
      database: {tag}_pii
      isolated: true
      identities: {{owner: {tag}_pii_owner, app: {tag}_pii_app, ro: null}}
      grants: {{app: [select, insert, update]}}
  extra_grants:
    - {{to: app, on: public.audit_log, revoke: [update, delete]}}
    - {{to: ro, on: "public.refresh_*()", privileges: [execute]}}
    - {{to: ro, on: "public.all_names()", privileges: [execute]}}
    - {{to: ro, on: public.secrets, revoke: [select]}}
    - {{to: ro, on: public.secrets, privileges: [select], columns: [id]}}
  shared_with:
    - {{service: {tag}-beta, tables: [public.users], columns: [id, name]}}
  retire: [{{role: {tag}_old}}]
"""
_BETA = """
version: 1
service: {tag}-beta
postgres:
  reads:
    - {{service: {tag}-alpha, tables: [public.users]}}
"""

_OBJECTS = """
SET ROLE {tag}_alpha_owner;
CREATE TABLE public.users (id serial PRIMARY KEY, name text, email text);
CREATE TABLE public.audit_log (id bigint GENERATED ALWAYS AS IDENTITY, what text);
CREATE TABLE public.secrets (id integer, value text);
CREATE TABLE extra.events (at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE extra.events_all PARTITION OF extra.events DEFAULT;
CREATE VIEW public.names AS SELECT name FROM public.users;
CREATE FUNCTION public.refresh_all() RETURNS integer LANGUAGE sql AS 'SELECT 1';
SET search_path = public;
CREATE FUNCTION public.all_names() RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT name FROM users';
RESET search_path;
CREATE VIEW extra.summary AS SELECT * FROM public.all_names();
CREATE FUNCTION public.plain(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';
CREATE TYPE public.mood AS ENUM ('good', 'bad');
INSERT INTO public.users (name, email) VALUES ('ann', 'ann@example.org'), ('bob', 'bob@example.org');
REVOKE UPDATE, DELETE ON public.audit_log FROM {tag}_alpha_app;
REVOKE SELECT ON public.secrets FROM {tag}_alpha_ro;
GRANT SELECT (id) ON public.secrets TO {tag}_alpha_ro;
GRANT EXECUTE ON FUNCTION public.refresh_all(), public.all_names() TO {tag}_alpha_ro;
GRANT USAGE ON SCHEMA public TO {tag}_beta_app, {tag}_beta_ro;
GRANT SELECT (id, name) ON public.users TO {tag}_beta_app, {tag}_beta_ro;
"""


def _rights(name: str, prefix: str, schemas: tuple[str, ...], dml: str, *, ro: bool = True) -> str:
    owner, app, reader = f"{prefix}_owner", f"{prefix}_app", f"{prefix}_ro" if ro else None
    users = ", ".join(filter(None, (app, reader)))
    lines = [
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO {users}, master",
        f"ALTER SCHEMA public OWNER TO {owner}",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON ROUTINES FROM PUBLIC",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE USAGE ON TYPES FROM PUBLIC",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE ON TYPES TO {users}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT EXECUTE ON ROUTINES TO {app}",
    ]
    for schema in schemas:
        if schema != "public":
            lines.append(f"CREATE SCHEMA {schema} AUTHORIZATION {owner}")
        default = f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema}"
        lines += [
            f"GRANT USAGE ON SCHEMA {schema} TO {users}",
            f"{default} GRANT {dml} ON TABLES TO {app}",
            f"{default} GRANT USAGE ON SEQUENCES TO {app}",
        ]
        if reader:
            lines.append(f"{default} GRANT SELECT ON TABLES TO {reader}")
    return ";\n".join(lines)


def build(server: PostgresServer, specs: SpecSet, tag: str) -> World:
    """Make the roles, databases, objects and rights."""
    world = World(server, specs, tag)
    for user in (identity.user for identity in specs.postgres_identities()):
        world.run("postgres", f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
    for name, owner in ((world.main, "alpha_owner"), (world.pii, "pii_owner"), (world.beta, "beta_owner")):
        world.run("postgres", f"CREATE DATABASE {name} OWNER {tag}_{owner}")
    both = ("public", "extra")
    dml = "SELECT, INSERT, UPDATE, DELETE"
    world.run(
        world.main,
        _rights(world.main, f"{tag}_alpha", both, dml),
    )
    world.run(
        world.pii,
        _rights(world.pii, f"{tag}_pii", ("public",), "SELECT, INSERT, UPDATE", ro=False),
    )
    world.run(
        world.beta,
        _rights(world.beta, f"{tag}_beta", ("public",), dml),
    )
    world.run("postgres", f"GRANT CONNECT ON DATABASE {world.main} TO {tag}_beta_app, {tag}_beta_ro")
    world.run(world.main, _OBJECTS)
    world.run(world.pii, "SET ROLE {tag}_pii_owner; CREATE TABLE public.people (id integer, name text)")
    world.run(world.beta, "SET ROLE {tag}_beta_owner; CREATE TABLE public.reports (id integer)")
    return world


def tear_down(world: World) -> None:
    """Take everything away again: the servers are shared."""
    for name in (world.main, world.pii, world.beta):
        world.run("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    leftover = world.fetch("postgres", "SELECT rolname FROM pg_roles WHERE rolname LIKE '{tag}%'")
    for (role,) in leftover:
        quoted = sql.Identifier(role).as_string(None)
        world.run("postgres", f"DROP OWNED BY {quoted} CASCADE; DROP ROLE {quoted}")


@pytest.fixture(scope="session")
def worlds(
    pg_servers: Callable[[int], PostgresServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[int], World]]:
    """A function ``version -> world``, each built when first asked for; leave it as it was."""
    built: dict[int, World] = {}
    with ExitStack() as stack:

        def get(version: int) -> World:
            if version not in built:
                tag = f"v{secrets.token_hex(4)}"
                folder = tmp_path_factory.mktemp(tag)
                paths = []
                for name, text in (("alpha", _ALPHA), ("beta", _BETA)):
                    (folder / name).mkdir()
                    paths.append(folder / name / "db-access.yaml")
                    paths[-1].write_text(text.format(tag=tag), "utf-8")
                world = World(pg_servers(version), load_specs(paths), tag)
                stack.callback(tear_down, world)
                built[version] = build(world.server, world.specs, tag)
            return built[version]

        yield get


@pytest.fixture
def world(worlds: Callable[[int], World]) -> World:
    """The world on PostgreSQL 17."""
    return worlds(17)
