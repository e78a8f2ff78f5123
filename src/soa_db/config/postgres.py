"""How to reach one PostgreSQL database as one user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator

from soa_db.config.auth import Auth, NoAuth, PasswordAuth
from soa_db.config.model import Host, Model, Port, Seconds, Text
from soa_db.config.tls import Dial, TlsConfig
from soa_db.names import POSTGRES_PORT, check_identifier
from soa_db.sources import read_environment, read_payload, read_url

__all__ = ["PoolConfig", "PostgresConfig", "SessionConfig"]


class PoolConfig(Model, frozen=True):
    """The pool of a provider.

    Attributes:
        min_size: connections kept open.
        max_size: connections at most.
        timeout: seconds a caller waits for a connection.
        connect_timeout: seconds one physical connect may take.
        max_idle: seconds after which an unused connection above ``min_size`` is closed.
        max_lifetime: seconds after which a connection is replaced.
    """

    min_size: Annotated[int, Field(ge=0)] = 0
    max_size: Annotated[int, Field(ge=1)] = 10
    timeout: Seconds = 30.0
    connect_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    max_idle: Seconds = 30.0
    max_lifetime: Seconds = 3600.0

    @model_validator(mode="after")
    def _ordered(self) -> PoolConfig:
        if self.min_size > self.max_size:
            raise ValueError("min_size is greater than max_size")
        return self


class SessionConfig(Model, frozen=True):
    """What every session is started with.

    Attributes:
        statement_timeout: seconds, 0 for none, None for the server's own.
        lock_timeout: likewise.
        idle_in_transaction_timeout: likewise; 30 s unless given.
        application_name: shown in pg_stat_activity; the instance name unless given.
        proxy: PgBouncer or RDS Proxy stands in front: timeouts are SET after connect instead of riding in the
            startup packet, and server-side prepared statements are off.
    """

    statement_timeout: Seconds | None = None
    lock_timeout: Seconds | None = None
    idle_in_transaction_timeout: Seconds | None = 30.0
    application_name: Text | None = None
    proxy: bool = False


class PostgresConfig(Model, frozen=True):
    """How to reach one PostgreSQL database as one user.

    Attributes:
        instance_name: what logs and statistics call it.
        host: the real host: verified by TLS and signed into IAM tokens.
        port: the real port.
        database: database name.
        user: user name; None lets a secret's ``username`` decide.
        auth: how to authenticate, a tagged field.
        tls: None for plain text.
        pool: the provider's pool.
        session: what every session is started with.
        dial: what is really dialled when a tunnel or CNAME stands in front.
    """

    instance_name: Text = Field(min_length=1)
    host: Host
    port: Port = POSTGRES_PORT
    database: str
    user: str | None = None
    auth: Auth = NoAuth()
    tls: TlsConfig | None = TlsConfig()
    pool: PoolConfig = PoolConfig()
    session: SessionConfig = SessionConfig()
    dial: Dial | None = None

    @classmethod
    def from_secret(
        cls, payload: Mapping[str, object], *, instance_name: str, secret_id: str | None = None, **overrides: object
    ) -> PostgresConfig:
        """Return a config from a secret's payload ``{username?, password, host, port?, database | dbname?}``.

        Args:
            payload: the secret's JSON object.
            instance_name: what logs and statistics call it.
            secret_id: whose payload it is, for messages; the instance name when left out.
            overrides: fields that win over the payload.

        Raises:
            SecretMalformed: a field cannot be used; the message names it.
            ConfigurationError: a field is missing in both, or an override cannot be used.
        """
        found = read_payload(payload, secret_id or instance_name)
        fields = {"host": found.host, "port": found.port, "database": found.database, "user": found.user}
        given = {name: value for name, value in fields.items() if value is not None}
        auth = PasswordAuth(password=SecretStr(found.password))
        return cls(**{"instance_name": instance_name, "auth": auth, **given, **overrides})

    @classmethod
    def from_url(cls, url: str, *, instance_name: str, **overrides: object) -> PostgresConfig:
        """Return a config from ``postgresql://user:password@host:port/database?sslmode=…``.

        TLS is verify-full unless the URL says otherwise, off for the loopback interface and sockets. ``sslmode``
        may be ``verify-full``, ``verify-ca``, ``require`` (encrypted, nothing verified) or ``disable``; ``prefer``
        and ``allow`` are refused, since whoever sits in between could turn encryption off.

        Raises:
            ConfigurationError: the URL cannot be read or holds an unknown parameter; the URL is never quoted.
        """
        return cls(**{"instance_name": instance_name, **read_url(url), **overrides})

    @classmethod
    def from_env(
        cls, environment: Mapping[str, str] | None = None, *, instance_name: str, **overrides: object
    ) -> PostgresConfig:
        """Return a config from the variables libpq reads: PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD, PGSSLMODE ….

        Args:
            environment: the variables; those of the process when left out.
            instance_name: what logs and statistics call it.
            overrides: fields that win over the variables.

        Raises:
            ConfigurationError: a variable is missing or cannot be used.
        """
        variables = os.environ if environment is None else environment
        return cls(**{"instance_name": instance_name, **read_environment(variables), **overrides})

    @model_validator(mode="after")
    def _token_is_encrypted(self) -> PostgresConfig:
        # The server asks for a token in clear: over plain text anybody in between could log in with it.
        if self.auth.kind == "iam" and self.tls is None:
            raise ValueError("IAM authentication needs TLS")
        return self

    @field_validator("database")
    @classmethod
    def _plain_database(cls, database: str) -> str:
        return check_identifier(database, "database")

    @field_validator("user")
    @classmethod
    def _plain_user(cls, user: str | None) -> str | None:
        return None if user is None else check_identifier(user, "user")
