"""The two kinds of MongoDB providers as one, on servers and users of the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from tests.servers.aws_kit import settle

from soa_db import MongoConfig, PasswordAuth
from soa_db.mongo import AsyncMongoProvider, MongoProvider

if TYPE_CHECKING:
    from soa_db.local.mongo import MongoDeployment

KINDS: dict[str, type[Any]] = {"async": AsyncMongoProvider, "sync": MongoProvider}


def config_of(server: MongoDeployment, **fields: Any) -> MongoConfig:
    """The administrator's config, without TLS."""
    given = {
        "instance_name": "mongo",
        "hosts": [{"host": host, "port": port} for host, port in server.hosts],
        "database": "chat_api_db",
        "user": server.admin_user,
        "auth": PasswordAuth(password=SecretStr(server.admin_password)),
        "auth_source": "admin",
        "replica_set": server.replica_set,
        "tls": None,
    }
    return MongoConfig(**{**given, **fields})


@asynccontextmanager
async def connected(kind: str, config: MongoConfig) -> AsyncIterator[Any]:
    """A connected provider of a kind."""
    provider = KINDS[kind](config)
    await settle(provider.connect())
    try:
        yield provider
    finally:
        await settle(provider.disconnect())
