"""How to reach one MongoDB server or replica set as one user."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from soa_db.config.auth import Auth, NoAuth
from soa_db.config.model import Host, Model, Port, Seconds, Text
from soa_db.config.tls import Dial, TlsConfig
from soa_db.names import MONGO_PORT

__all__ = ["MongoConfig", "MongoHost", "MongoOptions"]

Timeout = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class MongoHost(Model):
    """One member of a replica set, or the one server there is."""

    host: Host
    port: Port = MONGO_PORT


class MongoOptions(Model):
    """What the driver is told beyond where and who; its own defaults where None.

    Attributes:
        max_pool_size: connections to one member at most.
        min_pool_size: connections to one member kept open.
        max_idle: seconds after which an unused connection is closed; None for never.
        connect_timeout: seconds one physical connect may take.
        server_selection_timeout: seconds an operation waits for a member it can go to, as during an election.
        pool_timeout: seconds an operation waits for a free connection.
        operation_timeout: seconds an operation may take, retries included; None for as long as it takes.
        retry_writes: whether the driver repeats a write that met a lost connection or an election; None: with TLS.
        write_concern: how many members acknowledge a write; None for the server's default (``majority`` since 5.0).
    """

    max_pool_size: Annotated[int, Field(ge=1)] = 100
    min_pool_size: Annotated[int, Field(ge=0)] = 0
    max_idle: Seconds | None = None
    connect_timeout: Timeout = 10.0
    server_selection_timeout: Timeout = 10.0
    pool_timeout: Timeout = 30.0
    operation_timeout: Timeout | None = None
    retry_writes: bool | None = None
    write_concern: Literal["majority"] | Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> MongoOptions:
        if self.min_pool_size > self.max_pool_size:
            raise ValueError("min_pool_size is greater than max_pool_size")
        return self


class MongoConfig(Model):
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
    hosts: Annotated[tuple[MongoHost, ...], Field(min_length=1)]
    database: Annotated[Text, Field(min_length=1)]
    user: Annotated[Text, Field(min_length=1)] | None = None
    auth: Auth = NoAuth()
    auth_source: Annotated[Text, Field(min_length=1)] | None = None
    replica_set: Annotated[Text, Field(min_length=1)] | None = None
    tls: TlsConfig | None = TlsConfig()
    options: MongoOptions = MongoOptions()
    dial: Dial | None = None

    @model_validator(mode="after")
    def _consistent(self) -> MongoConfig:
        if self.auth.kind == "iam":
            raise ValueError("MongoDB knows no IAM authentication outside Atlas")
        return self
