"""``soa_db.testing``: the providers that need no pytest, and what a service's conftest.py says."""

from __future__ import annotations

from typing import assert_type

import pytest

from soa_db import PostgresConfig
from soa_db.mongo import MongoProvider
from soa_db.testing import AsyncLocalMongoProvider, LocalMongoProvider, Migrate


@pytest.fixture(scope="session")
def soa_db_migrate() -> Migrate:
    """As a service overrides it."""

    def migrate(config: PostgresConfig, db_id: str) -> None:
        del config, db_id

    return migrate


def blocking() -> None:
    """A MongoDB of one's own."""
    with LocalMongoProvider() as local:
        assert_type(local, LocalMongoProvider)
        provider: MongoProvider = local
        del provider


async def asynchronous() -> None:
    """Likewise."""
    async with AsyncLocalMongoProvider() as local:
        assert_type(local, AsyncLocalMongoProvider)
