"""The administrator provisioning runs as: where its coordinates come from, and its connections.

It is the RDS master or any other role with CREATEROLE and CREATEDB; a superuser is never needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from pydantic import SecretStr

from soa_db import postgres
from soa_db.access.engine import ADMIN_URL_VARIABLE
from soa_db.config import PasswordAuth, PostgresConfig, SecretAuth, SessionConfig, TlsConfig
from soa_db.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ParameterNotFound,
    SecretMalformed,
    ServerUnavailable,
)
from soa_db.names import (
    Env,
    postgres_admin_endpoint_ssm_path,
    postgres_admin_port_ssm_path,
    postgres_admin_secret_ssm_path,
)

if TYPE_CHECKING:
    from soa_db.aws import AwsClients

__all__ = ["ADMIN_DATABASE", "AdminServer", "admin_config", "admin_server"]

# Every server has it, every role may connect to it, and no service owns it.
ADMIN_DATABASE = "postgres"

# Nothing of ours waits for ever behind somebody's long transaction.
_SESSION_CONFIG = SessionConfig(statement_timeout=0, lock_timeout=10, idle_in_transaction_timeout=60)
# An empty path makes the server write names in full. A database's owner may have set any of these for the database,
# a path that finds functions of its own before those of pg_catalog among them: SET calls no function, so that nothing
# of the owner's runs with our rights. The session that holds the lock may be idle for a whole run.
_SESSION = b"""
SET search_path = '';
SET ROLE NONE;
SET default_transaction_read_only = off;
SET default_transaction_isolation = 'read committed';
SET standard_conforming_strings = on;
SET client_encoding = 'UTF8';
SET idle_session_timeout = 0
"""


def admin_config(env: Env, *, aws: AwsClients | None = None, admin_url: str | None = None) -> PostgresConfig:
    """Work out how to reach the server as its administrator.

    By ``admin_url``, or by the parameters and the secret of DESIGN section 2.

    Raises:
        ConfigurationError: the URL cannot be used, or there is neither URL nor AWS access.
        CredentialError: AWS did not give the parameters or the secret.
    """
    if admin_url:
        config = PostgresConfig.from_url(admin_url, instance_name=f"admin-{env}")
        if config.user is None:
            raise ConfigurationError("the administrator's URL names no user", env=env)
        return config
    if aws is None:
        raise ConfigurationError(
            "neither an administrator's URL nor AWS access was given",
            hint=f"give --admin-url, set {ADMIN_URL_VARIABLE}, or configure AWS",
            env=env,
        )
    host, port, secret = (
        postgres_admin_endpoint_ssm_path(env),
        postgres_admin_port_ssm_path(env),
        postgres_admin_secret_ssm_path(env),
    )
    parameters = aws.parameters([host, port, secret])
    secret_id = parameters[secret]
    payload = aws.secret(secret_id)
    return PostgresConfig(
        instance_name=f"admin-{env}",
        host=str(payload.get("host") or parameters[host].strip()),
        port=_port(payload.get("port") or parameters[port], env),
        database=ADMIN_DATABASE,
        user=_text(payload, "username", secret_id),
        auth=SecretAuth(secret_id=secret_id, aws=aws.target),
        tls=_tls(env),
    )


def admin_server(env: Env, *, aws: AwsClients, admin_url: str | None = None) -> AdminServer:
    """Work out how to reach the server as its administrator, and how services reach it.

    In dev the coordinates go into the parity secrets. An administrator's URL may be that of a tunnel, which is nobody
    else's: what SSM says comes first.

    Raises:
        ConfigurationError, CredentialError: as for ``admin_config``.
    """
    config = admin_config(env, aws=aws, admin_url=admin_url)
    if env != "dev" or isinstance(config.auth, SecretAuth):
        return AdminServer(config, aws)
    host, port = postgres_admin_endpoint_ssm_path(env), postgres_admin_port_ssm_path(env)
    try:
        found = aws.parameters([host, port])
    except ParameterNotFound:
        return AdminServer(config, aws)
    return AdminServer(config, aws, (found[host].strip(), _port(found[port], env)))


def _tls(env: Env) -> TlsConfig | None:
    if env == "dev":
        return None
    # Roots as for services: SOA_DB_CA_FILE, else the bundled ones.
    return TlsConfig()


def _port(value: object, env: Env) -> int:
    text = str(value).strip()
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ConfigurationError("the administrator's port is not a number from 1 to 65535", env=env)
    return int(text)


def _text(payload: Mapping[str, object], field: str, secret_id: str) -> str:
    value = payload.get(field)
    if not isinstance(value, str) or not value:
        raise SecretMalformed(f"the administrator's secret has no usable {field!r}", secret=secret_id)
    return value


@dataclass(frozen=True, slots=True)
class AdminServer:
    """One server, as its administrator.

    Attributes:
        config: how to reach it.
        aws: what reads the administrator's secret.
        published: host and port at which services reach it, where they are not those of ``config``.
    """

    config: PostgresConfig
    aws: AwsClients | None = None
    published: tuple[str, int] | None = None

    @property
    def coordinates(self) -> tuple[str, int]:
        """Host and port for the secrets of services."""
        return self.published or (self.config.host, self.config.port)

    @property
    def address(self) -> str:
        """``host:port``, for people and fingerprints."""
        return f"{self.config.host}:{self.config.port}"

    def connect(self, database: str = ADMIN_DATABASE) -> psycopg.Connection[Any]:
        """Open a connection of the administrator: autocommit, empty search path.

        Raises:
            ConnectionFailed: the server was not reached or refused.
        """
        connection = postgres.connect(self._config(database), aws=self.aws)
        try:
            connection.execute(_SESSION)
        except psycopg.Error as error:
            connection.close()
            raise ServerUnavailable(
                f"the server went away as the session began: {error.diag.message_primary or type(error).__name__}",
                hint="see whether it is up, and run the command again",
                host=self.address,
                database=database,
            ) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def opens(self, database: str, user: str, password: str) -> bool:
        """Whether a user can log in with a password; False only when the server refuses user or password.

        The server looks at the password before it looks at the database: a missing database or a missing right to
        connect proves the password too.
        """
        config = self._config(database).model_copy(
            update={"user": user, "auth": PasswordAuth(password=SecretStr(password))}
        )
        try:
            postgres.connect(config).close()
        except ConnectionFailed as error:
            reason = str(error.__cause__)
            if re.search(r'database ".*" does not exist', reason) or "permission denied for database" in reason:
                return True
            if isinstance(error, AuthenticationFailed) and "authentication failed" in reason:
                return False
            raise
        return True

    def _config(self, database: str) -> PostgresConfig:
        return self.config.model_copy(
            update={"database": database, "session": _SESSION_CONFIG, "instance_name": "soa-db provision"}
        )
