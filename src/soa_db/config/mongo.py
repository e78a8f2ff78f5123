"""How to reach one MongoDB server or replica set as one user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from soa_db.config.auth import Auth, NoAuth, PasswordAuth
from soa_db.config.model import Host, Model, Port, Seconds, Text
from soa_db.config.tls import Dial, TlsConfig
from soa_db.names import MONGO_PORT
from soa_db.sources.fields import is_name_or_address
from soa_db.sources.mongo import MOST_HOSTS, read_mongo_payload
from soa_db.sources.mongo_url import read_mongo_environment, read_mongo_url

__all__ = ["MongoConfig", "MongoHost", "MongoOptions"]


def _name_or_address(host: str) -> str:
    # A URL's special characters would make another host of it, or a user.
    if not is_name_or_address(host):
        raise ValueError("a host is a name or an IP address, without its port")
    return host


def _database(name: str) -> str:
    # https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions
    if any(char in '/\\. "$' for char in name):
        raise ValueError('a database name holds none of / \\ . " $ and blanks')
    if len(name.encode("utf-8", "surrogatepass")) > 63:
        raise ValueError("MongoDB keeps 63 bytes of a database name")
    return name


Timeout = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class MongoHost(Model, frozen=True):
    """One member of a replica set, or the one server there is."""

    host: Annotated[Host, AfterValidator(_name_or_address)]
    port: Port = MONGO_PORT

    @property
    def address(self) -> str:
        """``host:port`` as the driver and URLs write it, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MongoOptions(Model, frozen=True):
    """What the driver is told beyond where and who; its own defaults where None.

    Attributes:
        max_pool_size: connections to one member at most.
        min_pool_size: connections to one member kept open.
        max_idle: seconds after which an unused connection is closed; None for never.
        connect_timeout: seconds one physical connect may take.
        server_selection_timeout: seconds an operation waits for a member it can go to, as during an election.
        pool_timeout: seconds an operation waits for a free connection; None for as long as it takes. With one,
            pymongo's asynchronous client repeats fewer of the writes that meet an election.
        operation_timeout: seconds an operation may take, retries included; None for as long as it takes.
        retry_writes: whether the driver repeats a write that met a lost connection or an election; None: with TLS.
        mechanism: how a password is proved. Not agreed on with the server: it would have its way with the weaker one,
            which is for users that were made before MongoDB 4.0 and not provisioned since.
        write_concern: how many members acknowledge a write; None for the server's default (``majority`` since 5.0).
    """

    max_pool_size: Annotated[int, Field(ge=1)] = 100
    min_pool_size: Annotated[int, Field(ge=0)] = 0
    max_idle: Seconds | None = None
    connect_timeout: Timeout = 10.0
    server_selection_timeout: Timeout = 10.0
    pool_timeout: Timeout | None = None
    operation_timeout: Timeout | None = None
    retry_writes: bool | None = None
    mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-1"] = "SCRAM-SHA-256"
    write_concern: Literal["majority"] | Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> MongoOptions:
        if self.min_pool_size > self.max_pool_size:
            raise ValueError("min_pool_size is greater than max_pool_size")
        return self


class MongoConfig(Model, frozen=True):
    """How to reach one MongoDB as one user.

    Attributes:
        instance_name: what logs and statistics call it, and the name its connections give themselves on the server.
        hosts: the members of the replica set that are asked first, or the one server.
        database: the default database.
        user: user name; None lets a secret's ``username`` decide.
        auth: how to authenticate, a tagged field; ``iam`` is not among what a server of one's own can do.
        auth_source: the database the user is kept in; ``database`` when left out.
        replica_set: name of the replica set; None for a single server.
        tls: None for plain text.
        options: what the driver is told beyond that.
        dial: what is really dialled, directly, in the place of ``hosts``, when a tunnel stands in front. TLS verifies
            this name: the driver knows no other (certificates of our servers carry ``localhost``).
    """

    instance_name: Text = Field(min_length=1)
    hosts: Annotated[tuple[MongoHost, ...], Field(min_length=1, max_length=MOST_HOSTS)]
    database: Annotated[Text, Field(min_length=1), AfterValidator(_database)]
    user: Annotated[Text, Field(min_length=1)] | None = None
    auth: Auth = NoAuth()
    auth_source: Annotated[Text, Field(min_length=1)] | None = None
    replica_set: Annotated[Text, Field(min_length=1)] | None = None
    tls: TlsConfig | None = TlsConfig()
    options: MongoOptions = MongoOptions()
    dial: Dial | None = None

    @classmethod
    def from_secret(
        cls, payload: Mapping[str, object], *, instance_name: str, secret_id: str | None = None, **overrides: object
    ) -> MongoConfig:
        """Return a config from a secret's payload.

        It is ``{username?, password?, hosts | host+port, database?, replica_set?}``; one without a password is of a
        server that knows no users. TLS is on; ``tls=None`` for plain text.

        Args:
            payload: the secret's JSON object.
            instance_name: what logs and statistics call it.
            secret_id: whose payload it is, for messages; the instance name when left out.
            overrides: fields that win over the payload.

        Raises:
            SecretMalformed: a field cannot be used; the message names it.
            ConfigurationError: a field is missing in both, or an override cannot be used.
        """
        found = read_mongo_payload(payload, secret_id or instance_name)
        fields: dict[str, object] = {"user": found.user, "database": found.database, "replica_set": found.replica_set}
        if found.hosts is not None:
            fields["hosts"] = [{"host": host, "port": port} for host, port in found.hosts]
        if found.password is not None:
            fields["auth"] = PasswordAuth(password=SecretStr(found.password))
        given = {name: value for name, value in fields.items() if value is not None}
        return cls(**{"instance_name": instance_name, **given, **overrides})

    @classmethod
    def from_url(cls, url: str, *, instance_name: str, **overrides: object) -> MongoConfig:
        """Return a config from ``mongodb://user:password@host:port,host:port/database?replicaSet=…&tls=true``.

        The options are those of the driver that a config has a field for (``tlsCAFile``, ``maxPoolSize``, ``w`` …), and
        mean what they mean there: TLS is off unless one of them asks for it, the user is kept in ``authSource``, else
        in the URL's database, else in ``admin``. ``directConnection=true`` dials the one host directly. But without an
        ``authMechanism`` it is SCRAM-SHA-256 alone.

        Raises:
            ConfigurationError: the URL cannot be read, holds an unknown option or is ``mongodb+srv``; the URL is never
                quoted.
        """
        return cls(**{"instance_name": instance_name, **read_mongo_url(url), **overrides})

    @classmethod
    def from_env(
        cls, environment: Mapping[str, str] | None = None, *, instance_name: str, **overrides: object
    ) -> MongoConfig:
        """Return a config from the URL in ``MONGODB_URI``; the driver itself reads no variable.

        Args:
            environment: the variables; those of the process when left out.
            instance_name: what logs and statistics call it.
            overrides: fields that win over the URL.

        Raises:
            ConfigurationError: the variable is missing or cannot be used.
        """
        variables = os.environ if environment is None else environment
        return cls(**{"instance_name": instance_name, **read_mongo_environment(variables), **overrides})

    @model_validator(mode="after")
    def _consistent(self) -> MongoConfig:
        if self.auth.kind == "iam":
            raise ValueError("MongoDB knows no IAM authentication outside Atlas")
        if self.auth.kind == "password" and self.user is None:
            raise ValueError("a password needs a user")
        return self
