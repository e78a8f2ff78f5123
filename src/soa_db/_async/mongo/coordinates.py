"""Where an environment's MongoDB is and which secret opens it, read from SSM and Secrets Manager (DESIGN 2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from soa_db import names
from soa_db._runtime._async import gather
from soa_db._runtime.clock import Clock
from soa_db.errors import ConfigurationError
from soa_db.sources.fields import malformed, read_endpoint, read_port
from soa_db.sources.mongo import (
    Address,
    MongoSecret,
    read_ca_payload,
    read_mongo_hosts,
    read_mongo_login,
    read_mongo_payload,
)

if TYPE_CHECKING:
    from soa_db._async.aws import AsyncAwsClients
    from soa_db.names import MongoEnv

__all__ = ["Coordinates", "read_parity_secret", "read_shared"]


@dataclass(frozen=True, slots=True)
class Coordinates:
    """What AWS says.

    Attributes:
        hosts: the members.
        replica_set: its name; None for a single server.
        ca_pem: what the members' certificates are verified against, where it was asked for.
        secret_id: name or ARN of the secret that holds user and password.
        secret: what it says; of a service's in mirror and prod only who logs in.
    """

    hosts: tuple[Address, ...]
    replica_set: str | None
    ca_pem: str | None
    secret_id: str
    secret: MongoSecret


async def read_parity_secret(
    clients: AsyncAwsClients, service: str, *, hosts: tuple[Address, ...] | None = None
) -> Coordinates:
    """Return what a service's secret in dev says; ``hosts`` that are given win."""
    secret_id = names.mongo_secret_name("dev", service)
    found = read_mongo_payload(await clients.secret(secret_id), secret_id)
    hosts = hosts if hosts is not None else found.hosts
    if hosts is None:
        raise malformed(secret_id, "hosts", "is missing")
    return Coordinates(hosts, found.replica_set, None, secret_id, found)


async def read_shared(
    clients: AsyncAwsClients,
    env: MongoEnv,
    *,
    secret_id: str | None,
    hosts: tuple[Address, ...] | None = None,
    replica_set: str | None = None,
    ca: bool = True,
) -> Coordinates:
    """Return what the parameters of a shared MongoDB say, read in one batch, and then its two secrets, read at once.

    Args:
        clients: whom to ask.
        env: any but ``dev``.
        secret_id: the secret of a user; None for the administrator's, whose ARN stands in SSM.
        hosts: the members, which SSM is then not asked for.
        replica_set: likewise.
        ca: whether the CA's certificate is wanted.

    Raises:
        ConfigurationError: a parameter holds what cannot be used; it is named.
        CredentialError: and its kinds: a parameter, a secret or a field of it is missing or cannot be used.
    """
    paths = [] if hosts is not None else _host_paths(env)
    if replica_set is None:
        paths.append(names.mongo_replica_set_ssm_path(env))
    if ca:
        paths.append(names.mongo_ca_secret_ssm_path(env))
    if secret_id is None:
        paths.append(names.mongo_admin_secret_ssm_path(env))
    held = await _parameters(clients, env, paths)
    if hosts is None:
        hosts = _hosts(env, held)
    if replica_set is None:
        replica_set = held[names.mongo_replica_set_ssm_path(env)]
    admin = secret_id is None
    if secret_id is None:
        secret_id = held[names.mongo_admin_secret_ssm_path(env)]
    pem = None
    if ca:
        ca_id = held[names.mongo_ca_secret_ssm_path(env)]
        payload, roots = await gather(partial(clients.secret, secret_id), partial(clients.secret, ca_id))
        pem = read_ca_payload(roots, ca_id, now=Clock().wall())
    else:
        payload = await clients.secret(secret_id)
    if admin:
        # It may name another way in: {username, password, host?, port?}.
        secret = read_mongo_payload(payload, secret_id, default_port=names.MONGO_PORT)
    else:
        secret = read_mongo_login(payload, secret_id)
    return Coordinates(hosts, replica_set, pem, secret_id, secret)


def _host_paths(env: MongoEnv) -> list[str]:
    if env == "mirror":
        return [names.mongo_endpoint_ssm_path(), names.mongo_port_ssm_path()]
    return [names.mongo_hosts_ssm_path(env)]


async def _parameters(clients: AsyncAwsClients, env: MongoEnv, paths: list[str]) -> dict[str, str]:
    found = await clients.parameters(paths) if paths else {}
    held = {path: text.strip() for path, text in found.items()}
    for path, text in held.items():
        if not text:
            raise _unusable(env, path, "is blank", "<what it is to hold>")
    return held


def _hosts(env: MongoEnv, held: dict[str, str]) -> tuple[Address, ...]:
    if env != "mirror":
        path = names.mongo_hosts_ssm_path(env)
        try:
            return read_mongo_hosts(held[path])
        except ValueError as fault:
            raise _unusable(env, path, str(fault), "host:port,host:port") from None
    path = names.mongo_endpoint_ssm_path()
    endpoint = read_endpoint(held[path])
    if endpoint is None or endpoint[1] is not None:
        raise _unusable(env, path, "does not hold one host name or address, without a port", "<the host>")
    path = names.mongo_port_ssm_path()
    port = read_port(held[path])
    if port is None:
        raise _unusable(env, path, "does not hold a port from 1 to 65535", str(names.MONGO_PORT))
    return ((endpoint[0], port),)


def _unusable(env: MongoEnv, path: str, fault: str, value: str) -> ConfigurationError:
    hint = f"`aws ssm put-parameter --overwrite --name {path} --value {value}`"
    return ConfigurationError(f"the SSM parameter {path} {fault}", hint=hint, env=env)
