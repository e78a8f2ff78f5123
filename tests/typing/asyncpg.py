"""``soa_db.asyncpg``: a native pool (asyncpg has no types of its own that mypy is given)."""

from __future__ import annotations

from typing import assert_type

from soa_db import PostgresConfig
from soa_db.asyncpg import AsyncpgOptions, aload_postgres_config_from_aws, create_asyncpg_pool


async def pool() -> None:
    """From a config."""
    config = await aload_postgres_config_from_aws(env="dev", service="chat-api")
    assert_type(config, PostgresConfig)
    options: AsyncpgOptions = {}
    made = create_asyncpg_pool(config, **options)
    await made.close()
    create_asyncpg_pool("postgresql://h/d")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
