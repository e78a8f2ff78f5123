"""The administrator provisioning runs as: where its coordinates come from, and its connections.

It is the RDS master or any other role with CREATEROLE and CREATEDB; a superuser is never needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import conninfo

from soa_db.config import PasswordAuth, PostgresConfig, SecretAuth, TlsConfig
from soa_db.errors import AuthenticationFailed, ConfigurationError, SecretMalformed, ServerUnavailable
from soa_db.names import (
    Env,
    postgres_admin_endpoint_ssm_path,
    postgres_admin_port_ssm_path,
    postgres_admin_secret_ssm_path,
)

if TYPE_CHECKING:
    from soa_db.aws import AwsClients

__all__ = ["ADMIN_DATABASE", "ADMIN_URL_VARIABLE", "AdminServer", "admin_config"]

ADMIN_URL_VARIABLE = "SOA_DB_ADMIN_URL"
# Every server has it, every role may connect to it, and no service owns it.
ADMIN_DATABASE = "postgres"

_SESSION = (
    # Nothing of ours waits for ever behind somebody's long transaction; a session that holds the lock of the whole
    # run may be idle for as long as the run takes.
    b"SELECT set_config('search_path', '', false), set_config('lock_timeout', '10s', false),"
    b" set_config('statement_timeout', '0', false), set_config('idle_session_timeout', '0', false),"
    b" set_config('idle_in_transaction_session_timeout', '60s', false)"
)


def admin_config(env: Env, *, aws: AwsClients | None = None, admin_url: str | None = None) -> PostgresConfig:
    """Work out how to reach the server as its administrator.

    Looked for in order: ``admin_url``, the variable SOA_DB_ADMIN_URL, the parameters and the secret of DESIGN
    section 2.

    Raises:
        ConfigurationError: the URL cannot be used, or there is neither URL nor AWS access.
        CredentialError: AWS did not give the parameters or the secret.
    """
    url = admin_url or os.environ.get(ADMIN_URL_VARIABLE)
    if url:
        return _from_url(url, env)
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


def _tls(env: Env) -> TlsConfig | None:
    if env == "dev":
        return None
    return TlsConfig(ca_file=os.environ.get("SOA_DB_CA_FILE") or None)


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


def _from_url(url: str, env: Env) -> PostgresConfig:
    try:
        parts = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The driver's message can quote the URL, and with it a password.
        raise ConfigurationError(
            "the administrator's URL cannot be read",
            hint="write postgresql://user:password@host:port/postgres, with special characters percent-encoded",
        ) from None
    mode = str(parts.get("sslmode") or ("disable" if env == "dev" else "verify-full"))
    verify = {"verify-full": "full", "verify-ca": "ca", "require": "none"}.get(mode)
    tls = None
    if verify is not None:
        file = parts.get("sslrootcert") or os.environ.get("SOA_DB_CA_FILE")
        tls = TlsConfig.model_validate({"verify": verify, "ca_file": str(file) if file else None})
    password = parts.get("password")
    if not parts.get("user") or not parts.get("host"):
        raise ConfigurationError("the administrator's URL names no user or no host")
    return PostgresConfig(
        instance_name=f"admin-{env}",
        host=str(parts["host"]),
        port=_port(parts.get("port") or 5432, env),
        database=str(parts.get("dbname") or ADMIN_DATABASE),
        user=str(parts["user"]),
        auth=PasswordAuth.model_validate({"password": str(password or "")}),
        tls=tls,
    )


@dataclass(frozen=True, slots=True)
class AdminServer:
    """One server, as its administrator.

    Attributes:
        config: how to reach it.
        aws: what reads the administrator's secret.
    """

    config: PostgresConfig
    aws: AwsClients | None = None

    @property
    def address(self) -> str:
        """``host:port``, for people and fingerprints."""
        return f"{self.config.host}:{self.config.port}"

    def connect(self, database: str = ADMIN_DATABASE) -> psycopg.Connection[Any]:
        """Open a connection of the administrator: autocommit, empty search path.

        Raises:
            ConnectionFailed: the server was not reached or refused.
        """
        connection = self._login(database, self.config.user or "", self._password())
        try:
            connection.execute(_SESSION)
        except BaseException:
            connection.close()
            raise
        return connection

    def opens(self, database: str, user: str, password: str) -> bool:
        """Whether a user can log in with a password; False only when the server refuses user or password.

        The server looks at the password before it looks at the database: a missing database or a missing right to
        connect proves the password too.
        """
        try:
            self._login(database, user, password).close()
        except AuthenticationFailed:
            return False
        except ServerUnavailable as error:
            cause = str(error.__cause__)
            if "does not exist" in cause or "permission denied for database" in cause:
                return True
            raise
        return True

    def _password(self) -> str:
        match self.config.auth:
            case PasswordAuth(password=password):
                return password.get_secret_value()
            case SecretAuth(secret_id=secret_id) if self.aws is not None:
                return _text(self.aws.secret(secret_id), "password", secret_id)
            case _:
                return ""

    def _login(self, database: str, user: str, password: str) -> psycopg.Connection[Any]:
        config = self.config
        mode, roots = "disable", None
        if config.tls is not None:
            mode = {"full": "verify-full", "ca": "verify-ca", "none": "require"}[config.tls.verify]
            roots = config.tls.ca_file
        try:
            return psycopg.connect(
                host=config.host,
                port=config.port,
                dbname=database,
                user=user,
                password=password,
                connect_timeout=int(config.pool.connect_timeout),
                application_name="soa-db provision",
                gssencmode="disable",
                autocommit=True,
                prepare_threshold=None,
                sslmode=mode,
                sslrootcert=roots,
            )
        except psycopg.OperationalError as error:
            context = {"host": self.address, "database": database, "user": user}
            if "authentication failed" in str(error) or "no password supplied" in str(error):
                raise AuthenticationFailed("the server refused the login", **context) from error
            raise ServerUnavailable("the server was not reached, or refused the connection", **context) from error
