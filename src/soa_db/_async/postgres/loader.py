"""The config of a service's database in dev, mirror or prod, from SSM parameters and Secrets Manager (DESIGN 2)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, Protocol, cast

from soa_db import names
from soa_db.config import Dial, IamAuth, PoolConfig, PostgresConfig, SecretAuth, SessionConfig, TlsConfig
from soa_db.errors import ConfigurationError, SecretMalformed
from soa_db.sources import SecretFields, read_payload, read_port
from soa_db.sources.fields import one_user

if TYPE_CHECKING:
    from soa_db._async.aws import AsyncAwsClients
    from soa_db.names import Env, Role

__all__ = ["PostgresIdentitySource", "aload_postgres_config_from_aws"]


class PostgresIdentitySource(Protocol):
    """What the loader asks of a spec; ``soa_db.access.load_spec`` gives one."""

    @property
    def service(self) -> str:
        """The service the spec is of."""
        ...

    def postgres_user(self, db_id: str | None, role: Role) -> str:
        """The user that plays a role in a database."""
        ...

    def postgres_database(self, db_id: str | None) -> str:
        """The database's name."""
        ...


async def aload_postgres_config_from_aws(
    *,
    env: Env | str,
    service: str,
    instance_name: str | None = None,
    role: Role | str | None = None,
    db_id: str | None = None,
    user: str | None = None,
    username: str | None = None,
    database: str | None = None,
    host: str | None = None,
    port: int | str | None = None,
    region: str | None = None,
    aws: AsyncAwsClients | None = None,
    dial: Dial | str | None = None,
    auth: Literal["password"] | None = None,
    spec: PostgresIdentitySource | None = None,
    tls: TlsConfig | Literal[False] | None = None,
    pool: PoolConfig | None = None,
    session: SessionConfig | None = None,
) -> PostgresConfig:
    """Return how to reach a service's database as one of its roles. It opens no connection to the database.

    For each value: what is given here, then what the secret says, then what the naming contract derives.

    Args:
        env: ``dev``, ``mirror`` or ``prod``.
        service: the service id, e.g. ``chat-api``.
        instance_name: what logs and statistics call it; the service id when left out.
        role: ``owner``, ``app`` (when left out) or ``ro``.
        db_id: which database of a service with several; None and ``main`` are the same.
        user: the user, where it is not the derived one.
        username: another name of ``user``.
        database: the database, where it is not the derived one.
        host: the real host, verified and signed for.
        port: the real port.
        region: region of the database; that of ``aws`` when left out.
        aws: shared clients; new ones, closed at the end, when left out.
        dial: what is really dialled, ``host:port``, when a tunnel stands in front.
        auth: ``password`` for a service that is not on IAM yet. Its secret holds one user, so no ``role`` with it.
        spec: the service's spec, for a database whose identities have names of their own.
        tls: other TLS settings; False for plain text. Left out: off in dev, verify-full in mirror and prod, with the
            roots in SOA_DB_CA_FILE if that is set.
        pool: settings of the pool.
        session: settings of each session.

    Raises:
        ConfigurationError: an argument, or what an SSM parameter holds, cannot be used.
        ParameterNotFound: coordinates are missing in SSM.
        SecretNotFound: there is no such secret.
        SecretMalformed: a field of it is missing or cannot be used.
        AccessDenied: the caller's AWS rights do not suffice.
    """
    known = names.check_env(env)
    names.check_service(service)
    if auth not in {None, "password"}:
        raise ConfigurationError(f"unknown auth {auth!r}", hint="'password', or leave it out")
    if auth == "password" and role is not None:
        hint = "leave role out; the secret decides the user"
        raise ConfigurationError("auth='password' reads a secret of one user, so it takes no role", hint=hint)
    wanted = names.check_role("app" if role is None else role)
    user, database = _identity(
        service, None if auth else wanted, db_id, user=one_user(user, username), database=database, spec=spec
    )
    number = None if port is None else read_port(port)
    if port is not None and number is None:
        raise ConfigurationError("the port is not a number from 1 to 65535")
    if aws is None:
        from soa_db._async.aws import AsyncAwsClients

        clients = AsyncAwsClients(region=region)
    else:
        clients = aws
    try:
        if known == "dev" or auth == "password":
            secret_id = _secret_name(known, service, wanted, db_id, password=auth == "password")
            found = read_payload(await clients.secret(secret_id), secret_id)
            host, number = _coordinates(host, number, found, secret_id)
            how: SecretAuth | IamAuth = SecretAuth(secret_id=secret_id, aws=clients.target)
        else:
            found = None
            host, number = await _rds_coordinates(clients, known, host, number)
            how = IamAuth(region=region or await clients.region(), aws=clients.target)
    finally:
        if aws is None:
            await clients.close()
    return PostgresConfig(
        instance_name=instance_name or service,
        host=host,
        port=number,
        database=database or (found and found.database) or names.postgres_database(service, db_id),
        user=user or (found and found.user) or names.postgres_user(service, wanted),
        auth=how,
        tls=_tls(known, tls),
        pool=pool or PoolConfig(),
        session=session or SessionConfig(),
        dial=Dial.from_text(dial) if isinstance(dial, str) else dial,
    )


def _identity(
    service: str,
    role: Role | None,
    db_id: str | None,
    *,
    user: str | None,
    database: str | None,
    spec: PostgresIdentitySource | None,
) -> tuple[str | None, str | None]:
    """Return user and database as far as they are given here or stand in the spec; without a role no user of it."""
    names.normal_db_id(db_id)
    if spec is not None:
        if isinstance(spec, str | os.PathLike):
            hint = "give spec=soa_db.access.load_spec(path)"
            raise ConfigurationError("spec is a path: the loader reads no files", hint=hint)
        if spec.service != service:
            raise ConfigurationError(f"the spec is of {spec.service}, not of {service}")
        if user is None and role is not None:
            user = spec.postgres_user(db_id, role)
        database = database if database is not None else spec.postgres_database(db_id)
    for name, what in ((user, "user"), (database, "database")):
        if name is not None:
            names.check_identifier(name, what)
    return user, database


def _secret_name(env: Env, service: str, role: Role, db_id: str | None, *, password: bool) -> str:
    # In dev everybody has a password: a service that asks for one everywhere gets the same identity there.
    if password and env != "dev":
        return names.password_secret_name(env, service, db_id)
    return names.dev_secret_name(service, role, db_id)


def _coordinates(host: str | None, port: int | None, found: SecretFields, secret_id: str) -> tuple[str, int]:
    host = host if host is not None else found.host
    port = port if port is not None else found.port
    for value, name in ((host, "host"), (port, "port")):
        if value is None:
            raise SecretMalformed(
                f"in the secret {secret_id} the field {name!r} is missing",
                hint=f"provision anew, mend it by hand, or give {name}=",
            )
    return cast("str", host), cast("int", port)


async def _rds_coordinates(clients: AsyncAwsClients, env: Env, host: str | None, port: int | None) -> tuple[str, int]:
    """Return what is given, and read the rest from SSM in one call."""
    host_path, port_path = names.iam_host_ssm_path(env), names.iam_port_ssm_path(env)
    wanted = [path for path, given in ((host_path, host), (port_path, port)) if given is None]
    found = await clients.parameters(wanted) if wanted else {}
    if host is None:
        host = found[host_path]
        if not host or "," in host or any(char.isspace() or ord(char) < 32 for char in host):
            raise ConfigurationError(
                f"the SSM parameter {host_path} does not hold one host name",
                hint=f"`aws ssm put-parameter --overwrite --name {host_path} --value <the RDS endpoint>`",
                env=env,
            )
    if port is None:
        port = read_port(found[port_path])
        if port is None:
            raise ConfigurationError(
                f"the SSM parameter {port_path} does not hold a port from 1 to 65535",
                hint=f"`aws ssm put-parameter --overwrite --name {port_path} --value 5432`",
                env=env,
            )
    return host, port


def _tls(env: Env, tls: TlsConfig | Literal[False] | None) -> TlsConfig | None:
    if tls is not None:
        return tls or None
    return None if env == "dev" else TlsConfig(ca_file=os.environ.get("SOA_DB_CA_FILE") or None)
