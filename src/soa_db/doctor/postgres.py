"""PostgreSQL: one role at one database."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from soa_db import names
from soa_db.config import IamAuth, PoolConfig, SessionConfig
from soa_db.doctor.chain import Broken
from soa_db.doctor.examination import Examination
from soa_db.doctor.network import Place
from soa_db.doctor.opening import open_and_ask
from soa_db.doctor.report import Finding, Status, Target
from soa_db.doctor.stored import Parameter, Secret, contradictions, no_port
from soa_db.doctor.surroundings import judge_clock
from soa_db.doctor.tls import NoTls, Peer, name_of
from soa_db.errors import AuthenticationFailed, ServerUnavailable
from soa_db.sources import read_payload, read_port
from soa_db.sources.fields import is_host, malformed

if TYPE_CHECKING:
    import socket

    import psycopg

    from soa_db.access.spec import PostgresDatabase, Spec
    from soa_db.config import PostgresConfig
    from soa_db.doctor.surroundings import Surroundings
    from soa_db.postgres import PostgresProvider

__all__ = ["PostgresExamination", "postgres_targets"]

# https://www.postgresql.org/docs/current/protocol-message-formats.html, SSLRequest
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

_RIGHTS = """
SELECT wanted.name, found.oid IS NOT NULL AS there,
       found.oid IS NOT NULL AND pg_catalog.has_schema_privilege(found.oid, 'USAGE') AS usable
FROM pg_catalog.unnest(%s::text[]) WITH ORDINALITY AS wanted (name, place)
LEFT JOIN pg_catalog.pg_namespace AS found ON found.nspname = wanted.name
ORDER BY wanted.place
"""
_LIMITS = """
SELECT pg_catalog.current_setting('max_connections')::int,
       pg_catalog.current_setting('superuser_reserved_connections')::int,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'),
       (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user),
       (SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
       pg_catalog.pg_is_in_recovery(),
       pg_catalog.current_setting('server_version')
"""


def postgres_targets(spec: Spec) -> Iterator[tuple[Target, PostgresDatabase]]:
    """Every role of every database a spec declares."""
    for database in spec.postgres_databases():
        for role in names.ROLES:
            user = spec.user(database, role)
            if user is not None:
                yield Target(spec.service, "postgres", spec.database_name(database), role, user), database


class PostgresExamination(Examination["PostgresConfig", "psycopg.Connection[Any]"]):
    """One role at one database.

    Args:
        around: the run.
        target: who at what.
        database: what the spec says of the database.
    """

    def __init__(self, around: Surroundings, target: Target, database: PostgresDatabase) -> None:
        super().__init__(around, target)
        self._database = database
        self._role = target.role

    def parameters(self) -> tuple[Parameter, ...]:
        """Host and port of the RDS instance, in mirror and prod."""
        env = self.around.env
        if env == "dev":
            return ()

        def no_host(value: str) -> str | None:
            return None if is_host(value) else "does not hold one host name"

        return (
            Parameter(names.iam_host_ssm_path(env), no_host, "<the RDS endpoint>"),
            Parameter(names.iam_port_ssm_path(env), no_port, "5432"),
        )

    def secrets(self) -> tuple[Secret, ...]:
        """The parity secret, in dev."""
        if self.around.env != "dev":
            return ()
        return (Secret(self._secret_name, self._check_secret, self.provision_command),)

    @property
    def _secret_name(self) -> str:
        return names.dev_secret_name(self.target.service, self._role, self._database.id)

    def _check_secret(self, payload: Mapping[str, object]) -> list[tuple[str, str]]:
        name = self._secret_name
        found = read_payload(payload, name)
        if found.host is None:
            raise malformed(name, "host", "is missing")
        if found.port is None:
            raise malformed(name, "port", "is missing")
        return contradictions(name, self.target, found.user, found.database, command=self.provision_command)

    def load(self) -> PostgresConfig:
        """Load it as a service does, with short deadlines."""
        from soa_db.postgres import load_postgres_config_from_aws

        timeout = self.around.timeout
        return load_postgres_config_from_aws(
            env=self.around.env,
            service=self.target.service,
            role=self._role,
            db_id=self._database.id,
            user=self.target.user,
            database=self.target.database,
            aws=self.around.aws,
            pool=PoolConfig(connect_timeout=timeout * 0.9, timeout=timeout * 0.9),
            session=SessionConfig(
                application_name="soa-db doctor",
                # For what a step that is overdue leaves behind: its own deadline is told before.
                statement_timeout=timeout + 1.0,
                lock_timeout=min(timeout, 2.0),
            ),
        )

    def describe(self, config: PostgresConfig) -> str:
        """Who where and how."""
        how = "an IAM token" if isinstance(config.auth, IamAuth) else "the secret's password"
        tls = "TLS" if config.tls is not None else "no TLS"
        return f"{config.user} at {config.database} on {Place(config.host, config.port)}, with {how}, {tls}"

    def places(self) -> tuple[Place, ...]:
        """The one server."""
        if self.config is not None:
            return (Place(self.config.host, self.config.port),)
        env = self.around.env
        if env != "dev":
            host, port = self.values.get(names.iam_host_ssm_path(env)), self.values.get(names.iam_port_ssm_path(env))
            return (Place(host, int(port)),) if host and port else ()
        payload = self.payloads.get(self._secret_name, {})
        # The secret has been found wanting, perhaps in quite another field.
        where, number = payload.get("host"), read_port(payload.get("port"))
        return (Place(where, number),) if isinstance(where, str) and is_host(where) and number else ()

    def peer(self, place: Place) -> Peer | None:
        """TLS after an SSLRequest, verified as libpq is told to."""
        config = self.config
        if config is None or config.tls is None:
            return None
        from soa_db._runtime.pem import named_roots

        roots_named = name_of(named_roots(config.tls), "the bundled RDS and Amazon roots")

        def context() -> ssl.SSLContext:
            from soa_db._psycopg.roots import root_file

            found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            roots = root_file(config)
            if roots is not None:
                try:
                    found.load_verify_locations(cafile=roots.path)
                except (OSError, ValueError) as error:
                    hint = "it is to be text in PEM; SOA_DB_CA_FILE or tls.ca_file names the file"
                    raise Broken(f"{roots_named}: no certificate can be read there", hint) from error
                finally:
                    roots.remove()
            return found

        def begin(connection: socket.socket) -> None:
            _begin_tls(connection, place)

        return Peer(place, config.host, roots_named, context, begin, lambda *_: False, self.around.timeout * 0.45)

    def log_in(self, config: PostgresConfig) -> psycopg.Connection[Any]:
        """Connect as a service does."""
        from soa_db.postgres import connect

        try:
            return connect(config, aws=self.around.aws)
        except AuthenticationFailed as error:
            raise Broken.by(error, self._login_hint(error, config)) from error

    def _login_hint(self, error: AuthenticationFailed, config: PostgresConfig) -> str:
        user, iam = self.target.user, isinstance(config.auth, IamAuth)
        message = error.message
        if "not permitted to log in" in message:
            return f"the role {user} is NOLOGIN: {self.provision_command}, or see who locked it out, and why"
        if iam and "PAM authentication failed" in message:
            return (
                f"RDS refused the token: whoever signs it needs rds-db:connect on dbuser:…/{user} of this "
                "very instance (a restored one has a new DbiResourceId): `soa-db policy --apply`; clocks must agree"
            )
        if iam and "password authentication failed" in message:
            # Only a member of rds_iam is asked for a token; everybody else's password is checked.
            return f"there is no such user, or it is no member of rds_iam: {self.provision_command}"
        if not iam and "password authentication failed" in message:
            return f"{error.hint}; or there is no user {user}, or its password has ended: {self.provision_command}"
        return error.hint

    def authorisation(self, session: psycopg.Connection[Any]) -> Iterator[Finding]:
        """A query, and USAGE on the schemas the spec declares."""
        wanted = list(self._database.schemas)
        with _typed():
            session.execute("SELECT 1")
            rows = session.execute(_RIGHTS, (wanted,)).fetchall()
        bad = False
        for name, there, usable in rows:
            if not there:
                bad = True
                told = f"there is no schema {name} in {self.target.database}"
                yield Finding("authorisation", Status.FAILED, told, self.provision_command, name)
            elif not usable:
                bad = True
                told = f"{self.target.user} has no USAGE on the schema {name}"
                yield Finding("authorisation", Status.FAILED, told, self.provision_command, name)
        if not bad:
            told = f"CONNECT on {self.target.database}, USAGE on {', '.join(wanted)}; `soa-db verify` proves the rest"
            yield Finding("authorisation", Status.OK, told)

    def clock(self, session: psycopg.Connection[Any]) -> Iterator[Finding]:
        """``clock_timestamp()``."""
        begun = self.around.wall()
        with _typed():
            row = session.execute("SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8").fetchone()
        assert row is not None
        yield judge_clock("the server", float(row[0]), (begun + self.around.wall()) / 2)

    def pool(self, config: PostgresConfig, session: psycopg.Connection[Any]) -> Iterator[Finding]:
        """Open the provider; compare what it may take with what there is."""
        from soa_db.postgres import PostgresProvider

        with _typed():
            opening = open_and_ask(PostgresProvider(config, aws=self.around.aws), _answers)
        with _typed():
            row = session.execute(_LIMITS).fetchone()
        assert row is not None
        most, reserved, used, of_user, of_database, standby, version = row
        free = min([most - reserved, *(limit for limit in (of_user, of_database) if limit is not None and limit >= 0)])
        size = config.pool.max_size
        told = (
            f"{opening}; PostgreSQL {version}, {used} of {most} connections in use, {free} for this user: "
            f"{free // size} pools of {size}"
        )
        if free < size:
            hint = "lower pool.max_size, or raise max_connections or the CONNECTION LIMIT of the role or database"
            yield Finding("pool", Status.WARNING, told, hint)
        elif standby and self._role != "ro":
            hint = (
                "the host is to name the primary (the cluster's writer endpoint): on a standby nothing can be written"
            )
            yield Finding("pool", Status.WARNING, f"{told}; the server is a standby", hint)
        else:
            yield Finding("pool", Status.OK, f"{told}{'; the server is a standby' if standby else ''}")


@contextmanager
def _typed() -> Iterator[None]:
    """Tell what the server answered to one of our queries, or that it did not."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        hint = "look at the server's log, its load and its locks"
        if error.sqlstate is None:
            raise ServerUnavailable("the connection broke while the server was asked", hint=hint) from error
        told = error.diag.message_primary or type(error).__name__
        raise Broken(f"the server answers a query with {error.sqlstate}: {told}", hint) from error


def _answers(provider: PostgresProvider) -> bool:
    with provider.connection() as connection:
        connection.execute("SELECT 1")
    return True


def _begin_tls(connection: socket.socket, place: Place) -> None:
    connection.sendall(_SSL_REQUEST)
    match connection.recv(1):
        case b"S":
            return
        case b"N":
            raise NoTls
        case b"":
            raise EOFError
        case _:
            hint = "check host and port"
            raise Broken(f"something else than PostgreSQL answers at {place}", hint)
