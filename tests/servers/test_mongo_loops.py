"""A MongoDB provider in another event loop, in a forked child, and twice in one process."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING

import pytest
from tests.servers.mongo_kit import config_of
from tests.support.processes import in_child, succeeded

from soa_db import NotConnectedError
from soa_db.mongo import AsyncMongoProvider, MongoProvider

if TYPE_CHECKING:
    from soa_db.local.mongo import MongoServer

# Python 3.12 warns of every fork while threads run; forking with pymongo's monitors is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

WHO = "whatsmyuri"


def test_another_loop_gets_a_typed_error_and_its_own_provider_works(mongo_server: MongoServer) -> None:
    """While the loop it is connected in is alive; without a loop too. In its own it goes on."""
    provider = AsyncMongoProvider(config_of(mongo_server))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(provider.connect())

    async def misuse() -> None:
        for call in (provider.connect, provider.disconnect, provider.drain):
            with pytest.raises(NotConnectedError, match="another event loop"):
                await call()
        with pytest.raises(NotConnectedError, match="another event loop"):
            _ = provider.database
        assert not await provider.ping()

    asyncio.run(misuse())
    with pytest.raises(NotConnectedError):
        _ = provider.client
    assert loop.run_until_complete(provider.ping())
    loop.run_until_complete(provider.disconnect())
    # Disconnected, it belongs to whoever connects it next.
    other = asyncio.new_event_loop()
    other.run_until_complete(provider.connect())
    assert other.run_until_complete(provider.ping())
    other.run_until_complete(provider.disconnect())
    for one in (loop, other):
        one.close()


def test_a_forked_child_gets_a_client_of_its_own(mongo_server: MongoServer, unique_name: str) -> None:
    """Children and parent at work together; the parent's connections live on when the children end."""
    with MongoProvider(config_of(mongo_server)) as provider:
        rooms = provider.database[unique_name]
        mine = provider.client.admin.command(WHO)["you"]

        def work() -> None:
            assert provider.is_connected
            for number in range(20):
                provider.database[unique_name].insert_one({"child": number})
                assert provider.client.admin.command(WHO)["you"] != mine
            assert provider.ping()
            provider.disconnect()

        children = [in_child(work) for _ in range(2)]
        for number in range(20):
            rooms.insert_one({"parent": number})
        assert [succeeded(child) for child in children] == [True, True]
        assert rooms.count_documents({"child": {"$exists": True}}) == 40
        assert provider.client.admin.command(WHO)["you"] == mine


def test_a_child_that_never_uses_the_provider_disturbs_nothing(mongo_server: MongoServer) -> None:
    """Whether it disconnects, or collects what it inherited."""
    with MongoProvider(config_of(mongo_server)) as provider:
        mine = provider.client.admin.command(WHO)["you"]
        assert succeeded(in_child(provider.disconnect))

        def collect() -> None:
            gc.collect()

        assert succeeded(in_child(collect))
        assert provider.client.admin.command(WHO)["you"] == mine


async def test_a_child_forked_in_a_running_loop_connects_in_a_loop_of_its_own(
    mongo_server: MongoServer, unique_name: str
) -> None:
    """The epoll instance both share keeps the parent's sockets."""
    async with AsyncMongoProvider(config_of(mongo_server)) as provider:
        rooms = provider.database[unique_name]
        await asyncio.gather(*(rooms.insert_one({"_id": number}) for number in range(5)))

        def work() -> None:
            async def use() -> None:
                assert await provider.database[unique_name].count_documents({}) == 5
                await provider.disconnect()

            # The parent's loop is left behind in a thread that is not the main one, as in a worker.
            thread = threading.Thread(target=lambda: asyncio.run(use()))
            thread.start()
            thread.join()
            gc.collect()
            assert not provider.is_connected

        child = in_child(work)
        assert await asyncio.to_thread(succeeded, child)
        assert await rooms.count_documents({}) == 5
        await rooms.insert_one({"_id": 6})


async def test_two_providers_of_one_name_do_not_meet(mongo_server: MongoServer, unique_name: str) -> None:
    """Each has its own client."""
    config = config_of(mongo_server, instance_name=unique_name)
    async with AsyncMongoProvider(config) as one, AsyncMongoProvider(config) as two:
        assert one.client is not two.client
        await one.disconnect()
        assert await two.ping()
