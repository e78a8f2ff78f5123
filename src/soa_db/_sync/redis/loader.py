# Generated from src/soa_db/_async/redis/loader.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""The config of a service's Redis user in dev, mirror or prod, from SSM and Secrets Manager (DESIGN 2)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from soa_db import names
from soa_db._core.redis.endpoint import cache_endpoint
from soa_db.config import Dial, IamAuth, RedisConfig, SecretAuth, TlsConfig
from soa_db.errors import ConfigurationError
from soa_db.sources import read_port
from soa_db.sources.fields import one_user, read_endpoint
from soa_db.sources.redis import RedisSecret, read_redis_payload

if TYPE_CHECKING:
    from soa_db._sync.aws import AwsClients
    from soa_db.names import Env

__all__ = ["load_redis_config_from_aws"]

_NOTHING = RedisSecret(password="")


def load_redis_config_from_aws(
    *,
    env: Env | str,
    service: str,
    instance_name: str | None = None,
    user: str | None = None,
    username: str | None = None,
    host: str | None = None,
    port: int | str | None = None,
    region: str | None = None,
    aws: AwsClients | None = None,
    dial: Dial | str | None = None,
    auth: Literal["iam"] | None = None,
    cache_name: str | None = None,
    serverless: bool | None = None,
    tls: TlsConfig | Literal[False] | None = None,
    cluster: bool | None = None,
    db: int = 0,
    connect_timeout: float | None = None,
    command_timeout: float | None = None,
    max_connections: int | None = None,
) -> RedisConfig:
    """Return how to reach the Redis of an environment as a service's user. It opens no connection to Redis.

    For each value: what is given here, then what the secret ``{env}/redis/{service}`` says, then what the naming
    contract derives. The endpoint is read from SSM where the secret has none.

    Args:
        env: ``dev``, ``mirror`` or ``prod``.
        service: the service id, e.g. ``chat-api``.
        instance_name: what logs and statistics call it; the service id when left out.
        user: the user, where it is not the derived one.
        username: another name of ``user``.
        host: the real host, verified by TLS.
        port: the real port.
        region: region of the cache; that of ``aws`` when left out.
        aws: shared clients; new ones, closed at the end, when left out.
        dial: what is really dialled, ``host:port``, when a tunnel stands in front.
        auth: ``iam`` for tokens of ElastiCache in mirror and prod; no secret is then read. In dev, where there is no
            ElastiCache, the secret is used all the same.
        cache_name: with ``iam``, the name of the replication group or serverless cache; what the endpoint says when
            left out.
        serverless: with ``iam``, whether it is a serverless cache; likewise.
        tls: other TLS settings; False for plain text. Left out: what the secret says, else off in dev and verified in
            mirror and prod, with the roots in SOA_DB_CA_FILE if that is set.
        cluster: cluster mode; what the endpoint's name says when left out.
        db: number of the database.
        connect_timeout: seconds one attempt to connect may take.
        command_timeout: seconds to wait for a reply.
        max_connections: connections at most.

    Raises:
        ConfigurationError: an argument, or what the SSM parameter holds, cannot be used.
        ParameterNotFound: the endpoint is missing in the secret and in SSM.
        SecretNotFound: there is no such secret.
        SecretMalformed: a field of it is missing or cannot be used.
        AccessDenied: the caller's AWS rights do not suffice.
    """
    known = names.check_env(env)
    names.check_service(service)
    iam = _wants_iam(known, auth, cache_name, serverless)
    user = one_user(user, username)
    number = None if port is None else read_port(port)
    if port is not None and number is None:
        raise ConfigurationError("the port is not a number from 1 to 65535")
    if aws is None:
        from soa_db._sync.aws import AwsClients

        clients = AwsClients(region=region)
    else:
        clients = aws
    try:
        secret_id = names.redis_secret_name(known, service)
        found = _NOTHING if iam else read_redis_payload(clients.secret(secret_id), secret_id)
        host, number = _endpoint(clients, known, host, number, found)
        if iam:
            region = region or clients.region()
            how: SecretAuth | IamAuth = IamAuth(
                region=region, aws=clients.target, cache_name=cache_name, serverless=serverless
            )
        else:
            how = SecretAuth(secret_id=secret_id, aws=clients.target)
    finally:
        if aws is None:
            clients.close()
    says = cache_endpoint(host)
    timeouts = {
        "connect_timeout": connect_timeout,
        "command_timeout": command_timeout,
        "max_connections": max_connections,
    }
    return RedisConfig(
        instance_name=instance_name or service,
        host=host,
        port=number,
        user=user if user is not None else (found.user or names.redis_user(service, known)),
        auth=how,
        tls=_tls(known, tls, found.tls),
        cluster=cluster if cluster is not None else bool(serverless) or (says is not None and says.cluster),
        db=db,
        dial=Dial.from_text(dial) if isinstance(dial, str) else dial,
        **{name: value for name, value in timeouts.items() if value is not None},
    )


def _wants_iam(env: Env, auth: str | None, cache_name: str | None, serverless: bool | None) -> bool:
    if auth not in {None, "iam"}:
        raise ConfigurationError(f"unknown auth {auth!r}", hint="'iam', or leave it out")
    if auth is None and (cache_name is not None or serverless is not None):
        raise ConfigurationError("cache_name and serverless are for auth='iam'", hint="give auth='iam' with them")
    return auth == "iam" and env != "dev"


def _endpoint(clients: AwsClients, env: Env, host: str | None, port: int | None, found: RedisSecret) -> tuple[str, int]:
    """Return host and port: given, then the secret's, then what SSM holds, then the default port."""
    host, port = host if host is not None else found.host, port if port is not None else found.port
    if host is None:
        path = names.redis_endpoint_ssm_path(env)
        endpoint = read_endpoint((clients.parameters([path]))[path].strip())
        if endpoint is None:
            raise ConfigurationError(
                f"the SSM parameter {path} does not hold host or host:port",
                hint=f"`aws ssm put-parameter --overwrite --name {path} --value <the Redis endpoint>`",
                env=env,
            )
        host = endpoint[0]
        port = port if port is not None else endpoint[1]
    return host, port if port is not None else names.REDIS_PORT


def _tls(env: Env, tls: TlsConfig | Literal[False] | None, secret_says: bool | None) -> TlsConfig | None:
    if tls is not None:
        return tls or None
    on = secret_says if secret_says is not None else env != "dev"
    return TlsConfig(ca_file=os.environ.get("SOA_DB_CA_FILE") or None) if on else None
