"""``soa_db``: errors, config models, environments and roles."""

from __future__ import annotations

from typing import Literal, assert_type

from pydantic import SecretStr

import soa_db
from soa_db import (
    AccessDenied,
    AuthenticationFailed,
    CommandRefused,
    ConfigurationError,
    ConnectionFailed,
    CredentialError,
    Dial,
    Env,
    IamAuth,
    MissingExtra,
    MongoConfig,
    MongoHost,
    MongoOptions,
    NoAuth,
    NotConnectedError,
    ParameterNotFound,
    PasswordAuth,
    PlanConflict,
    PoolConfig,
    PoolTimeout,
    PostgresConfig,
    ProvisionError,
    RedisConfig,
    Role,
    SecretAuth,
    SecretMalformed,
    SecretNotFound,
    ServerUnavailable,
    SessionConfig,
    SoaDbError,
    SpecError,
    TlsConfig,
    TlsVerificationFailed,
    ValueMalformed,
)

assert_type(soa_db.__version__, str)


def environments_and_roles(env: Env, role: Role) -> None:
    """They are literals: a misspelt one is found before the program runs."""
    assert_type(env, Literal["dev", "mirror", "prod"])
    assert_type(role, Literal["owner", "app", "ro"])
    wrong: Env = "production"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del wrong


def errors(error: SoaDbError) -> None:
    """One root; what a handler reads of an error."""
    assert_type(error.message, str)
    assert_type(error.hint, str)
    assert_type(error.context, dict[str, str])
    kinds: tuple[type[SoaDbError], ...] = (
        AccessDenied,
        AuthenticationFailed,
        CommandRefused,
        ConfigurationError,
        ConnectionFailed,
        CredentialError,
        MissingExtra,
        NotConnectedError,
        ParameterNotFound,
        PlanConflict,
        PoolTimeout,
        ProvisionError,
        SecretMalformed,
        SecretNotFound,
        ServerUnavailable,
        SpecError,
        TlsVerificationFailed,
        ValueMalformed,
    )
    del kinds
    if isinstance(error, SpecError):
        assert_type(error.problems, tuple[str, ...])
    standard: tuple[type[ValueError], type[ImportError]] = (ConfigurationError, MissingExtra)
    del standard


def postgres() -> None:
    """A config by hand, and by its other ways in."""
    config = PostgresConfig(
        instance_name="chat",
        host="db.example",
        port=5432,
        database="chat",
        user="chat_app",
        auth=PasswordAuth(password=SecretStr("secret")),
        tls=TlsConfig(ca_file="/ca.pem", verify="full"),
        pool=PoolConfig(min_size=1, max_size=10, timeout=30.0),
        session=SessionConfig(statement_timeout=5.0, proxy=True),
        dial=Dial(host="127.0.0.1", port=15432),
    )
    assert_type(config.host, str)
    assert_type(config.port, int)
    assert_type(config.user, str | None)
    assert_type(config.tls, TlsConfig | None)
    assert_type(config.dial, Dial | None)
    assert_type(config.pool.max_size, int)
    assert_type(config.session.statement_timeout, float | None)
    auth = config.auth
    if auth.kind == "password":
        assert_type(auth, PasswordAuth)
        assert_type(auth.password, SecretStr)
    elif auth.kind == "secret":
        assert_type(auth, SecretAuth)
        assert_type(auth.secret_id, str)
    elif auth.kind == "iam":
        assert_type(auth, IamAuth)
        assert_type(auth.region, str)
    else:
        assert_type(auth, NoAuth)
    assert_type(PostgresConfig.from_url("postgresql://u:p@h/d", instance_name="x"), PostgresConfig)
    assert_type(PostgresConfig.from_env({"PGHOST": "h"}, instance_name="x", user="u"), PostgresConfig)
    assert_type(PostgresConfig.from_secret({"password": "p"}, instance_name="x", host="h"), PostgresConfig)
    assert_type(Dial.from_text("h:1"), Dial)
    config.host = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    PostgresConfig(instance_name="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def redis_and_mongo() -> None:
    """Likewise."""
    redis = RedisConfig(instance_name="x", host="cache", tls=None, cluster=True, auth=IamAuth(region="us-west-2"))
    assert_type(redis.cluster, bool)
    assert_type(redis.command_timeout, float)
    assert_type(RedisConfig.from_url("redis://h", instance_name="x"), RedisConfig)
    assert_type(RedisConfig.from_env(instance_name="x"), RedisConfig)
    assert_type(RedisConfig.from_secret({"password": "p"}, instance_name="x"), RedisConfig)
    mongo = MongoConfig(
        instance_name="x",
        hosts=(MongoHost(host="a", port=27017),),
        database="d",
        auth=NoAuth(),
        options=MongoOptions(max_pool_size=5, write_concern="majority"),
    )
    assert_type(mongo.hosts, tuple[MongoHost, ...])
    assert_type(mongo.hosts[0].address, str)
    assert_type(mongo.options.retry_writes, bool | None)
    assert_type(MongoConfig.from_url("mongodb://h/d", instance_name="x"), MongoConfig)
    assert_type(MongoConfig.from_env(instance_name="x"), MongoConfig)
    assert_type(MongoConfig.from_secret({"password": "p"}, instance_name="x"), MongoConfig)
    MongoOptions(max_pool_size="many")  # pyright: ignore[reportArgumentType]
