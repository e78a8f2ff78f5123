"""The asynchronous Redis manager in several event loops, one after the other and side by side."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.servers.redis_kit import config_of
from tests.support.postgres import eventually

from soa_db import TlsConfig
from soa_db.errors import NotConnectedError
from soa_db.redis import AsyncRedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer
    from soa_db.local.redis_cluster import RedisCluster


class Scene:
    """A manager on one server or on a cluster, and the connections it has there."""

    def __init__(self, servers: list[RedisServer], manager: AsyncRedisConnectionManager, name: str) -> None:
        self.manager, self.name = manager, name
        self._servers = servers

    def connections(self) -> int:
        """How many connections of the manager's the servers have."""
        count = 0
        for server in self._servers:
            with server.admin() as admin:
                count += sum(one["name"] == self.name for one in admin.client_list())
        return count

    async def crowd(self) -> None:
        """More callers than connections: asyncio's locks are bound to a loop by those who wait for them."""
        await asyncio.gather(
            *(self.manager.set(f"{self.name}:{number}", number) for number in range(20)),
            *(self.manager.connect() for _ in range(3)),
        )
        assert await self.manager.get(f"{self.name}:7") == 7


@pytest.fixture(params=["one server", "cluster"])
def scene(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    redis_cluster: RedisCluster,
    ca_file: Path,
    unique_name: str,
) -> Scene:
    """Without TLS, and with it."""
    if request.param == "cluster":
        tls = TlsConfig(ca_file=str(ca_file))
        config = config_of(redis_cluster, tls=tls, instance_name=unique_name, max_connections=4, command_timeout=10)
        return Scene(list(redis_cluster.nodes), AsyncRedisConnectionManager(config), unique_name)
    config = config_of(redis_server, instance_name=unique_name, max_connections=4, command_timeout=10)
    return Scene([redis_server], AsyncRedisConnectionManager(config), unique_name)


def test_a_manager_disconnected_in_one_loop_is_connected_in_the_next(scene: Scene) -> None:
    """`asyncio.run` for every job, as scripts and workers do; what it has counted stays."""

    async def job() -> None:
        await asyncio.gather(*(scene.manager.connect() for _ in range(3)))
        await scene.crowd()

        async def origin() -> int:
            return 1

        await scene.manager.cached_call(f"{scene.name}:c", origin)
        await asyncio.gather(*(scene.manager.disconnect() for _ in range(3)))

    for _ in range(3):
        asyncio.run(job())
    eventually(lambda: scene.connections() == 0)
    asyncio.run(scene.manager.connect())
    assert scene.manager.stats()["hits"] == 2
    asyncio.run(scene.manager.disconnect())
    eventually(lambda: scene.connections() == 0)


def test_what_was_left_connected_in_a_loop_that_ended_is_dropped(scene: Scene) -> None:
    """Using it says so; connecting works, and nothing of the first loop stays open, nor warns."""
    manager = scene.manager

    async def first() -> None:
        await manager.connect()
        await scene.crowd()

    async def use() -> None:
        for call in (lambda: manager.get("k"), manager.drain, lambda: manager.get("k", on_error="miss")):
            with pytest.raises(NotConnectedError, match="event loop"):
                await call()
        assert not await manager.ping()

    asyncio.run(first())
    assert scene.connections() > 0
    asyncio.run(use())
    left = scene.connections()

    async def second() -> None:
        await manager.connect()
        eventually(lambda: scene.connections() < left)
        await scene.crowd()
        await manager.disconnect()
        eventually(lambda: scene.connections() == 0)

    asyncio.run(second())
    asyncio.run(first())
    asyncio.run(manager.disconnect())
    assert not manager.is_connected
    eventually(lambda: scene.connections() == 0)
    gc.collect()


def test_a_thread_with_a_loop_of_its_own_is_told(scene: Scene) -> None:
    """While the first loop runs, the manager is that one's; the first is not disturbed."""
    manager, told = scene.manager, list[str]()

    async def elsewhere() -> None:
        for call in (manager.connect, manager.disconnect, manager.drain, lambda: manager.get("k")):
            try:
                await call()
            except NotConnectedError as error:
                told.append(str(error))
        assert not await manager.ping()

    async def main() -> None:
        async with manager:
            await scene.crowd()
            thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
            thread.start()
            await asyncio.to_thread(thread.join)
            await scene.crowd()
            assert manager.is_connected

    asyncio.run(main())
    assert len(told) == 4
    assert all("another event loop" in line for line in told)
