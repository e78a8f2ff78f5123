"""``soa_db.databases``: every database of a service, opened from its spec."""

from __future__ import annotations

from typing import assert_type

from soa_db.databases import Databases, OpenOptions, open_databases
from soa_db.mongo import AsyncMongoProvider
from soa_db.postgres import AsyncPostgresProvider
from soa_db.redis import AsyncRedisConnectionManager


async def opened() -> None:
    """As a script uses them."""
    options: OpenOptions = {}
    async with open_databases("chat-api", "dev", **options) as databases:
        assert_type(databases, Databases)
        assert_type(databases.postgres, AsyncPostgresProvider)
        assert_type(databases.postgres_for("pii", role="ro"), AsyncPostgresProvider)
        assert_type(databases.redis, AsyncRedisConnectionManager)
        assert_type(databases.mongo, AsyncMongoProvider)
