"""Engines on an asynchronous provider: cancellation, and what the garbage collector finds, above all."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncSession
from tests.support.postgres import config, end_sessions, eventually, login_role, sessions

from soa_db.config import PoolConfig
from soa_db.errors import NotConnectedError, PoolTimeout
from soa_db.postgres import AsyncPostgresProvider
from soa_db.sqlalchemy import create_async_engine_from_provider

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from soa_db.local.environment import LocalEnvironment

ONE = PoolConfig(max_size=1, timeout=5)


@pytest.fixture
def server(local_env: LocalEnvironment) -> Any:
    """A shared server."""
    return local_env.server("dev")


@pytest.fixture
def user(server: Any, unique_name: str) -> Iterator[str]:
    """A user with a schema of its own."""
    with login_role(server, unique_name) as name:
        yield name


@pytest.fixture
async def provider(server: Any, user: str) -> AsyncIterator[AsyncPostgresProvider]:
    """A provider of one connection: whoever keeps it is found out."""
    async with AsyncPostgresProvider(config(server, user, pool=ONE)) as made:
        yield made


@pytest.fixture
def engine(provider: AsyncPostgresProvider) -> AsyncEngine:
    """An engine on it."""
    return create_async_engine_from_provider(provider)


async def pid(conn: AsyncConnection) -> int:
    """The server's process behind a connection."""
    return int(await conn.scalar(sa.text("SELECT pg_backend_pid()")) or 0)


async def is_whole(provider: AsyncPostgresProvider, size: int = 1) -> bool:
    """Whether every connection can be had, in autocommit and as the provider made it."""
    loans = [provider.connection(timeout=3) for _ in range(size)]
    conns: list[Any] = [await loan.__aenter__() for loan in loans]
    whole = all(conn.autocommit and conn.is_as_made() for conn in conns)
    for loan in loans:
        await loan.__aexit__(None, None, None)
    return whole


async def test_a_rolled_back_transaction_leaves_nothing(engine: AsyncEngine, provider: AsyncPostgresProvider) -> None:
    """Autocommit is off while SQLAlchemy has the connection, and on again for the provider's other users."""
    async with engine.begin() as conn:
        await conn.execute(sa.text("CREATE TABLE t (n int)"))
    async with AsyncSession(engine) as session:
        await session.execute(sa.text("INSERT INTO t VALUES (1)"))
        raw = (await (await session.connection()).get_raw_connection()).driver_connection
        assert raw is not None
        assert not raw.autocommit
        await session.rollback()
    with pytest.raises(ZeroDivisionError):
        async with engine.begin() as conn:
            await conn.execute(sa.text("INSERT INTO t VALUES (2)"))
            _ = 1 / 0
    async with provider.connection() as native:
        assert native.autocommit
        assert await (await native.execute("SELECT count(*) FROM t")).fetchone() == (0,)
    async with engine.begin() as conn:
        await conn.execute(sa.text("INSERT INTO t VALUES (3)"))
    async with engine.connect() as conn:
        assert (await conn.scalars(sa.text("SELECT n FROM t"))).all() == [3]
    assert await is_whole(provider)


async def test_an_exhausted_pool_and_a_missing_connection_are_typed_errors(server: Any, user: str) -> None:
    """The provider's own errors come through."""
    provider = AsyncPostgresProvider(config(server, user, pool=PoolConfig(max_size=1, timeout=0.05)))
    engine = create_async_engine_from_provider(provider)
    with pytest.raises(NotConnectedError):
        await engine.connect()
    async with provider, engine.connect():
        with pytest.raises(PoolTimeout):
            await engine.connect()


async def test_connect_events_run_once_and_what_they_set_stays_the_engines(
    engine: AsyncEngine, provider: AsyncPostgresProvider
) -> None:
    """As in a blocking engine."""
    seen: list[int] = []

    @sa.event.listens_for(engine.sync_engine, "connect")
    def on_connect(dbapi_connection: Any, record: Any) -> None:
        seen.append(1)
        dbapi_connection.adapters.register_loader("int4", psycopg.types.string.TextLoader)

    for _ in range(3):
        async with engine.connect() as conn:
            assert await conn.scalar(sa.text("SELECT 1")) == "1"
        async with provider.connection() as native:
            assert await (await native.execute("SELECT 1")).fetchone() == (1,)
    assert seen == [1]
    await engine.dispose()
    async with engine.connect():
        assert seen == [1, 1]


async def test_a_cancelled_statement_costs_no_connection(engine: AsyncEngine, provider: AsyncPostgresProvider) -> None:
    """More often than there are connections; each time the next caller gets one that works."""
    for _ in range(3):
        started = asyncio.Event()

        async def sleep(started: asyncio.Event = started) -> None:
            async with engine.connect() as conn:
                started.set()
                await conn.execute(sa.text("SELECT pg_sleep(30)"))

        task = asyncio.create_task(sleep())
        await started.wait()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with engine.connect() as conn:
            assert await conn.scalar(sa.text("SELECT 1")) == 1
    assert await is_whole(provider)
    assert provider.stats()["generation"] == 0


async def test_cancellation_anywhere_costs_no_connection(server: Any, user: str) -> None:
    """Tasks are cancelled at chance moments: waiting, in a statement, giving back. Nothing is left in the table."""
    async with AsyncPostgresProvider(config(server, user, pool=PoolConfig(max_size=3, timeout=20))) as provider:
        engine = create_async_engine_from_provider(provider)
        async with engine.begin() as conn:
            await conn.execute(sa.text("CREATE TABLE t (n int)"))

        async def work() -> None:
            for _ in range(100):
                async with engine.connect() as conn:
                    await conn.execute(sa.text("INSERT INTO t VALUES (1)"))

        chance = random.Random(5)
        for _ in range(12):
            tasks = [asyncio.create_task(work()) for _ in range(8)]
            for task in tasks:
                await asyncio.sleep(chance.random() * 0.006)
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in found), found
        assert await is_whole(provider, 3)
        async with engine.connect() as conn:
            assert await conn.scalar(sa.text("SELECT count(*) FROM t")) == 0


async def test_a_connection_nobody_gave_back_is_closed_and_its_place_is_free(
    engine: AsyncEngine, provider: AsyncPostgresProvider
) -> None:
    """SQLAlchemy warns: a collector can do no I/O, so the connection cannot be rolled back."""
    kept: list[Any] = [await engine.connect()]
    first = await pid(kept[0])
    kept.append(kept)
    del kept
    with pytest.warns(exc.SAWarning, match="garbage collector"):
        gc.collect()
    async with engine.connect() as other:
        assert await pid(other) != first
    assert await is_whole(provider)


async def test_invalidated_and_detached_connections_are_replaced(
    engine: AsyncEngine, provider: AsyncPostgresProvider
) -> None:
    """No place in the pool is lost by either."""
    async with engine.connect() as conn:
        first = await pid(conn)
        await conn.invalidate()
    async with engine.connect() as conn:
        second = await pid(conn)
        assert second != first
        raw: Any = await conn.get_raw_connection()
        raw.detach()
        async with engine.connect() as other:
            assert await pid(other) != second
        assert await pid(conn) == second
    assert await is_whole(provider)


async def test_a_server_that_ends_the_connection_puts_the_pool_in_doubt(
    engine: AsyncEngine, provider: AsyncPostgresProvider, server: Any, user: str
) -> None:
    """SQLAlchemy's own error, marked as a disconnect; the provider learns of it as from its own users."""
    async with engine.connect() as conn:
        before = await pid(conn)
        await asyncio.to_thread(end_sessions, server, user)
        with pytest.raises(exc.OperationalError) as caught:
            await conn.execute(sa.text("SELECT 1"))
        assert caught.value.connection_invalidated
        assert provider.stats()["generation"] == 1
        assert not provider.is_connected
    async with engine.connect() as conn:
        assert await pid(conn) != before
    assert await is_whole(provider)


async def test_streams_and_isolation_levels_work(engine: AsyncEngine, provider: AsyncPostgresProvider) -> None:
    """Server-side cursors, and AUTOCOMMIT for one connection."""
    async with engine.connect() as conn:
        rows = await conn.stream_scalars(sa.text("SELECT generate_series(1, 1000)"))
        assert [row async for row in rows] == list(range(1, 1001))
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        await conn.execute(sa.text("CREATE TABLE t (n int)"))
    async with engine.connect() as conn:
        assert await conn.scalar(sa.text("SELECT to_regclass('t')")) == "t"
    assert await is_whole(provider)


def test_an_engine_follows_its_provider_from_loop_to_loop(server: Any, user: str) -> None:
    """One after the other, as with two calls of ``asyncio.run``."""
    provider = AsyncPostgresProvider(config(server, user, pool=ONE))
    engine = create_async_engine_from_provider(provider)

    async def once() -> object:
        async with provider, engine.connect() as conn:
            return await conn.scalar(sa.text("SELECT 1"))

    assert [asyncio.run(once()) for _ in range(2)] == [1, 1]


async def test_a_transaction_left_open_is_not_committed_even_without_a_reset(provider: AsyncPostgresProvider) -> None:
    """``pool_reset_on_return=None`` leaves it to the pool."""
    engine = create_async_engine_from_provider(provider, pool_reset_on_return=None)
    async with engine.connect() as conn:
        raw: Any = (await conn.get_raw_connection()).driver_connection
        await raw.execute("CREATE TABLE t (n int)")
    assert await is_whole(provider)
    async with engine.connect() as conn:
        assert await conn.scalar(sa.text("SELECT to_regclass('t')")) is None


async def test_a_session_that_ended_within_a_transaction_is_replaced_even_without_a_reset(
    provider: AsyncPostgresProvider, server: Any, user: str
) -> None:
    """Giving it back finds out: it cannot be rolled back, and raises nothing at who is done with it."""
    engine = create_async_engine_from_provider(provider, pool_reset_on_return=None)
    async with engine.connect() as conn:
        raw: Any = (await conn.get_raw_connection()).driver_connection
        await raw.execute("CREATE TABLE t (n int)")
        await asyncio.to_thread(end_sessions, server, user)
    assert await is_whole(provider)


async def test_a_pipeline_left_open_costs_the_connection_and_no_place_in_the_pool(
    engine: AsyncEngine, provider: AsyncPostgresProvider
) -> None:
    """Nothing can end it for whoever opened it; the next one gets another connection."""
    async with engine.connect() as conn:
        before = await pid(conn)
        await conn.rollback()
        raw: Any = (await conn.get_raw_connection()).driver_connection
        pipeline = raw.pipeline()
        await pipeline.__aenter__()
    async with engine.connect() as conn:
        assert await pid(conn) != before
    assert await is_whole(provider)
    del pipeline  # which would have ended it


async def test_outside_of_the_asynchronous_interface_it_is_refused_and_costs_no_connection(
    engine: AsyncEngine, provider: AsyncPostgresProvider
) -> None:
    """SQLAlchemy's own error, although the pool has a connection at hand and need not wait for it."""
    for _ in range(2):
        with pytest.raises(exc.MissingGreenlet):
            engine.sync_engine.connect()
    assert await is_whole(provider)


def test_a_connection_that_outlives_its_loop_is_dropped_when_it_is_collected(server: Any, user: str) -> None:
    """The provider's pool ended with the loop: there is nothing to give it back to."""
    provider = AsyncPostgresProvider(config(server, user, pool=ONE))
    engine = create_async_engine_from_provider(provider)

    async def leave() -> Any:
        await provider.connect()
        conn = await engine.connect()
        await provider.disconnect()
        return conn

    cycle: list[Any] = [asyncio.run(leave())]
    cycle.append(cycle)
    del cycle
    with pytest.warns(exc.SAWarning, match="garbage collector"):
        gc.collect()
    eventually(lambda: sessions(server, user) == 0)

    async def again() -> object:
        async with provider, engine.connect() as conn:
            return await conn.scalar(sa.text("SELECT 1"))

    assert asyncio.run(again()) == 1
