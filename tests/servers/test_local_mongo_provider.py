"""`LocalMongoProvider`: the provider's interface on a throw-away server."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from soa_db.config import MongoConfig, MongoHost
from soa_db.errors import NotConnectedError
from soa_db.local import processes
from soa_db.testing.local_mongo import AsyncLocalMongoProvider, LocalMongoProvider


def test_it_is_a_provider_whose_server_goes_with_it() -> None:
    """The service's names and rights, transactions; afterwards no process and no file, and it may connect again."""
    provider = LocalMongoProvider.from_aws(env="prod", service="chat-api")
    assert provider.admin_url is None
    with pytest.raises(NotConnectedError):
        _ = provider.client
    for _ in range(2):
        with provider:
            assert provider.is_connected
            assert provider.ping()
            assert provider.database.name == "chat_api_db"
            assert provider.config.user == "chat_api_app"
            assert provider.stats()["connected"] == 1
            with provider.client.start_session() as session, session.start_transaction():
                assert provider.database.things.count_documents({}, session=session) == 0
                provider.database.things.insert_one({}, session=session)
            with pytest.raises(OperationFailure) as caught:
                provider.client.other_db.things.find_one()
            assert caught.value.code == 13
            assert provider.admin_url is not None
            with MongoClient[dict[str, Any]](provider.admin_url) as admin:
                assert admin.chat_api_db.things.count_documents({}) == 1
            server = provider._behind.server
            assert server is not None
            pid, folder = server.pid, server.directory
            assert pid is not None
        assert not provider.is_connected
        assert processes.find(pid) is None
        assert not folder.parent.exists()
    provider.disconnect()


async def test_the_twin_takes_its_names_from_a_configuration() -> None:
    """Where that leads does not matter; two stand side by side."""
    config = MongoConfig(
        instance_name="rooms", hosts=(MongoHost(host="db.example.com"),), database="rooms_db", user="rooms"
    )
    async with AsyncLocalMongoProvider(config) as provider, AsyncLocalMongoProvider(service="chat-api") as other:
        assert "'rooms'" in repr(provider)
        await provider.database.things.insert_one({"_id": 1})
        assert provider.config.user == "rooms"
        assert await other.database.things.find_one() is None
        servers = [each._behind.server for each in (provider, other)]
        assert provider.admin_url != other.admin_url
    for server in servers:
        assert server is not None
        assert not server.directory.parent.exists()


async def test_one_cancelled_while_it_starts_leaves_nothing_once_disconnected() -> None:
    """The start under way comes to its end first."""
    provider = AsyncLocalMongoProvider()
    connecting = asyncio.create_task(provider.connect())
    await asyncio.sleep(0.05)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await provider.disconnect()
    assert provider._behind.server is None
    children = [processes.command_line(pid) for pid in processes.tree(os.getpid())]
    assert not [line for line in children if any("soa-db-mongo-" in part for part in line)]
