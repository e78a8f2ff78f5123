"""``soa_db.sqlalchemy``: engines on a provider's pool."""

from __future__ import annotations

from typing import assert_type

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from soa_db.postgres import AsyncPostgresProvider, PostgresProvider
from soa_db.sqlalchemy import create_async_engine_from_provider, create_engine_from_provider


def engines(blocking: PostgresProvider, asynchronous: AsyncPostgresProvider) -> None:
    """Each kind of provider has its kind of engine."""
    assert_type(create_engine_from_provider(blocking, echo=True), Engine)
    assert_type(create_async_engine_from_provider(asynchronous), AsyncEngine)
    create_engine_from_provider(asynchronous)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
