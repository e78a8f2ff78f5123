"""The asynchronous provider in several event loops, and in a forked child."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.postgres import config, eventually, sessions
from tests.support.processes import in_child, succeeded
from tests.support.tcp import FaultyProxy

from soa_db.config import PoolConfig
from soa_db.errors import NotConnectedError, PoolTimeout
from soa_db.postgres import AsyncPostgresProvider

if TYPE_CHECKING:
    from soa_db.local.postgres import PostgresServer

# Python 3.12 warns of every fork while threads run: the servers' own threads, here.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


async def backend(provider: AsyncPostgresProvider) -> int:
    """The server's process behind one of its connections."""
    async with provider.connection(timeout=10) as conn:
        await conn.execute("SELECT 1")
        return conn.info.backend_pid


async def crowd(provider: AsyncPostgresProvider) -> None:
    """More callers than connections: asyncio's locks are bound to a loop by those who wait for them."""
    await asyncio.gather(*(backend(provider) for _ in range(20)), *(provider.connect() for _ in range(3)))


def test_a_provider_disconnected_in_one_loop_is_connected_in_the_next(server: PostgresServer, user: str) -> None:
    """`asyncio.run` for every job, as scripts and workers do."""
    provider = AsyncPostgresProvider(config(server, user))

    async def job() -> None:
        await asyncio.gather(*(provider.connect() for _ in range(3)))
        await crowd(provider)
        await asyncio.gather(*(provider.disconnect() for _ in range(3)))

    for _ in range(3):
        asyncio.run(job())
    assert sessions(server, user) == 0


def test_what_was_left_connected_in_a_loop_that_ended_is_dropped(server: PostgresServer, user: str) -> None:
    """Using it says so; connecting works, and nothing of the first loop stays open."""
    provider = AsyncPostgresProvider(config(server, user, pool=PoolConfig(min_size=2, max_size=4)))

    async def first() -> int:
        await provider.connect()
        await crowd(provider)
        return await backend(provider)

    async def use() -> None:
        with pytest.raises(NotConnectedError, match="event loop"):
            await backend(provider)
        with pytest.raises(NotConnectedError, match="event loop"):
            await provider.drain()
        assert not await provider.ping()

    async def second(before: int) -> None:
        await provider.connect()
        assert await backend(provider) != before
        await crowd(provider)

    pid = asyncio.run(first())
    asyncio.run(use())
    asyncio.run(second(pid))
    assert sessions(server, user) <= 4
    asyncio.run(provider.disconnect())
    assert not provider.is_connected
    eventually(lambda: sessions(server, user) == 0)


def test_a_loop_ends_although_the_pool_is_connecting(server: PostgresServer, user: str) -> None:
    """As after Ctrl-C: `asyncio.run` cancels the pool's workers and waits for them, which swallow the first time."""
    with FaultyProxy(server.host, server.port) as proxy:
        provider = AsyncPostgresProvider(config(server, user, port=proxy.port))

        async def leave() -> None:
            await provider.connect()
            proxy.mode = "blackhole"
            async with provider.connection():
                with pytest.raises(PoolTimeout):
                    async with provider.connection(timeout=0.1):
                        pass
            assert proxy.accepted > 1

        asyncio.run(leave())
        asyncio.run(provider.disconnect())
    eventually(lambda: sessions(server, user) == 0)


def test_a_thread_with_a_loop_of_its_own_is_told(server: PostgresServer, user: str) -> None:
    """While the first loop runs, the provider is that one's; the first is not disturbed."""
    provider = AsyncPostgresProvider(config(server, user))
    told: list[str] = []

    async def elsewhere() -> None:
        for call in (provider.connect, provider.disconnect, provider.drain, lambda: backend(provider)):
            try:
                await call()
            except NotConnectedError as error:
                told.append(str(error))
        assert not await provider.ping()

    async def main() -> None:
        async with provider:
            pid = await backend(provider)
            thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
            thread.start()
            await asyncio.to_thread(thread.join)
            assert await backend(provider) == pid
            assert provider.is_connected

    asyncio.run(main())
    assert len(told) == 4
    assert all("another event loop" in line for line in told)


def test_a_forked_child_runs_a_loop_of_its_own(server: PostgresServer, user: str) -> None:
    """Forked between two loops or within one; the parent's sessions live on when the children end."""
    provider = AsyncPostgresProvider(config(server, user))

    async def work(not_mine: int) -> None:
        assert not provider.is_connected
        assert not_mine not in {await backend(provider) for _ in range(5)}
        await crowd(provider)
        assert provider.is_connected
        await provider.disconnect()

    async def main() -> None:
        async with provider:
            pid = await backend(provider)
            children = [in_child(lambda: asyncio.run(work(pid))) for _ in range(2)]
            await crowd(provider)
            for child in children:
                assert await asyncio.to_thread(succeeded, child)
            assert pid in {await backend(provider) for _ in range(20)}
            assert provider.stats()["generation"] == 0

    asyncio.run(main())

    async def connect_only() -> int:
        await provider.connect()
        return await backend(provider)

    with asyncio.Runner() as runner:
        pid = runner.run(connect_only())
        assert succeeded(in_child(lambda: asyncio.run(work(pid))))
        # It ends without having touched the provider.
        assert succeeded(in_child(lambda: None))
        assert runner.run(backend(provider)) == pid
        runner.run(provider.disconnect())
