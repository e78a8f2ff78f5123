"""How to reach one Redis (or Valkey) server, or a cluster of them, as one user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from soa_db.config.auth import Auth, NoAuth, PasswordAuth
from soa_db.config.model import Host, Model, Port, Text
from soa_db.config.tls import Dial, TlsConfig
from soa_db.names import REDIS_PORT
from soa_db.sources.redis import read_redis_environment, read_redis_payload, read_redis_url

__all__ = ["RedisConfig"]

Timeout = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RedisConfig(Model, frozen=True):
    """How to reach one Redis as one user.

    Attributes:
        instance_name: what logs and statistics call it, and the name each connection gives itself on the server.
        host: the real host: verified by TLS; in a cluster one that knows the others.
        port: the real port.
        user: user name; None lets a secret's ``username`` decide, and is the server's ``default`` user otherwise.
        auth: how to authenticate, a tagged field.
        tls: None for plain text.
        cluster: cluster mode: keys are spread over several servers by their slot.
        db: number of the database; 0 in a cluster.
        dial: what is really dialled in the place of ``host`` and ``port`` when a tunnel or CNAME stands in front. The
            other nodes of a cluster are dialled as they announce themselves.
        connect_timeout: seconds one attempt to connect may take, TLS and login included. Not counted: reading the
            credentials before it and, on the blocking side, looking up the host's name, which cannot be interrupted.
        command_timeout: seconds until the whole reply to one command is there, and to wait for a free connection.
        max_connections: connections at most; in a cluster for each node.
    """

    instance_name: Text = Field(min_length=1)
    host: Host
    port: Port = REDIS_PORT
    user: Annotated[Text, Field(min_length=1)] | None = None
    auth: Auth = NoAuth()
    tls: TlsConfig | None = TlsConfig()
    cluster: bool = False
    db: Annotated[int, Field(ge=0)] = 0
    dial: Dial | None = None
    connect_timeout: Timeout = 5.0
    command_timeout: Timeout = 5.0
    max_connections: Annotated[int, Field(ge=1)] = 50

    @classmethod
    def from_secret(
        cls, payload: Mapping[str, object], *, instance_name: str, secret_id: str | None = None, **overrides: object
    ) -> RedisConfig:
        """Return a config from a secret's payload ``{username?, password, endpoint, port?, tls?}``.

        TLS is on unless the payload says it is not.

        Args:
            payload: the secret's JSON object.
            instance_name: what logs and statistics call it.
            secret_id: whose payload it is, for messages; the instance name when left out.
            overrides: fields that win over the payload.

        Raises:
            SecretMalformed: a field cannot be used; the message names it.
            ConfigurationError: a field is missing in both, or an override cannot be used.
        """
        found = read_redis_payload(payload, secret_id or instance_name)
        fields: dict[str, object] = {"host": found.host, "port": found.port, "user": found.user}
        given = {name: value for name, value in fields.items() if value is not None}
        if found.tls is False:
            given["tls"] = None
        auth = PasswordAuth(password=SecretStr(found.password))
        return cls(**{"instance_name": instance_name, "auth": auth, **given, **overrides})

    @classmethod
    def from_url(cls, url: str, *, instance_name: str, **overrides: object) -> RedisConfig:
        """Return a config from ``redis://user:password@host:port/db``, or ``rediss://…`` for TLS, which is verified.

        The parameters are those of redis-py's URLs: ``socket_timeout``, ``socket_connect_timeout``,
        ``max_connections``, ``ssl_ca_certs``, ``ssl_cert_reqs`` ….

        Raises:
            ConfigurationError: the URL cannot be read or holds an unknown parameter; the URL is never quoted.
        """
        return cls(**{"instance_name": instance_name, **read_redis_url(url), **overrides})

    @classmethod
    def from_env(
        cls, environment: Mapping[str, str] | None = None, *, instance_name: str, **overrides: object
    ) -> RedisConfig:
        """Return a config from ``REDIS_URL``, or from ``REDIS_HOST`` and its kin.

        Its kin: ``REDIS_PORT``, ``REDIS_USERNAME``, ``REDIS_PASSWORD`` (or redis-cli's ``REDISCLI_AUTH``), ``REDIS_DB``
        and ``REDIS_TLS``.

        Args:
            environment: the variables; those of the process when left out.
            instance_name: what logs and statistics call it.
            overrides: fields that win over the variables.

        Raises:
            ConfigurationError: a variable is missing or cannot be used.
        """
        variables = os.environ if environment is None else environment
        return cls(**{"instance_name": instance_name, **read_redis_environment(variables), **overrides})

    @model_validator(mode="after")
    def _consistent(self) -> RedisConfig:
        if self.auth.kind == "iam" and self.tls is None:
            # The token travels in AUTH: over plain text anybody in between could log in with it.
            raise ValueError("IAM authentication needs TLS")
        if self.auth.kind == "iam" and self.user is None:
            raise ValueError("IAM authentication needs a user")
        if self.cluster and self.db:
            raise ValueError("a cluster has the database 0 only")
        return self
