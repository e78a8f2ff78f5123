"""What one user of a pooled connection leaves on it, and what the next one finds."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import IsolationLevel
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import dict_row
from tests.support.postgres import config

from soa_db._async.postgres.pool import AsyncPooledConnection
from soa_db.config import PoolConfig, SessionConfig
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

if TYPE_CHECKING:
    from soa_db.local.postgres import PostgresServer

ONE = PoolConfig(max_size=1, timeout=10)


@pytest.fixture
async def provider(server: PostgresServer, user: str) -> AsyncIterator[AsyncPostgresProvider]:
    """With one connection: what is left on it is found by the next."""
    async with AsyncPostgresProvider(config(server, user, pool=ONE)) as connected:
        yield connected


def shown(conn: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> list[object]:
    """What a user can set on a connection."""
    return [
        conn.row_factory,
        conn.cursor_factory,
        conn.server_cursor_factory,
        conn.prepare_threshold,
        conn.prepared_max,
        conn.autocommit,
        conn.isolation_level,
        conn.read_only,
        conn.deferrable,
        list(conn._notice_handlers),
        list(conn._notify_handlers),
    ]


class OtherCursor(psycopg.AsyncCursor[Any]):
    """A cursor class of the user's."""


class OtherServerCursor(psycopg.AsyncServerCursor[Any]):
    """Likewise."""


async def set_everything(conn: psycopg.AsyncConnection[Any]) -> None:
    """Change all that can be changed."""
    conn.row_factory = dict_row
    conn.cursor_factory = OtherCursor
    conn.server_cursor_factory = OtherServerCursor
    conn.prepare_threshold = 0
    conn.prepared_max = 7
    await conn.set_autocommit(False)
    await conn.set_isolation_level(IsolationLevel.SERIALIZABLE)
    await conn.set_read_only(True)
    await conn.set_deferrable(True)
    conn.add_notice_handler(print)
    conn.add_notify_handler(print)


@pytest.mark.parametrize("end", ["simply", "in a transaction", "with an error", "with an error in a transaction"])
async def test_what_is_set_in_the_driver_ends_with_the_block(provider: AsyncPostgresProvider, end: str) -> None:
    """However the block ends; the session is the same one, and rows are tuples again."""
    async with provider.connection() as conn:
        pid, before = conn.info.backend_pid, shown(conn)
    with contextlib.suppress(KeyError):
        async with provider.connection() as conn:
            await set_everything(conn)
            assert not any(now == then for now, then in zip(shown(conn), before, strict=True))
            if "transaction" in end:
                await conn.execute("SELECT 1")
                assert conn.info.transaction_status == TransactionStatus.INTRANS
            if "error" in end:
                raise KeyError
    async with provider.connection() as conn:
        assert conn.info.backend_pid == pid
        assert shown(conn) == before
        assert await (await conn.execute("SELECT 1")).fetchone() == (1,)


@pytest.mark.parametrize("number", range(11))
async def test_a_single_setting_left_behind_is_seen(provider: AsyncPostgresProvider, number: int) -> None:
    """Each of them, by itself."""
    async with provider.connection() as conn:
        before = shown(conn)
        await set_everything(conn)
        keep = shown(conn)[number]
        assert isinstance(conn, AsyncPooledConnection)
        await conn.restore()
        match number:
            case 0 | 1 | 2 | 3 | 4:
                names = ["row_factory", "cursor_factory", "server_cursor_factory", "prepare_threshold", "prepared_max"]
                setattr(conn, names[number], keep)
            case 5:
                await conn.set_autocommit(False)
            case 6:
                await conn.set_isolation_level(IsolationLevel.SERIALIZABLE)
            case 7:
                await conn.set_read_only(True)
            case 8:
                await conn.set_deferrable(True)
            case 9:
                conn.add_notice_handler(print)
            case _:
                conn.add_notify_handler(print)
        assert shown(conn)[number] == keep
    async with provider.connection() as conn:
        assert shown(conn) == before


def test_the_blocking_connection_is_put_back_likewise(server: PostgresServer, user: str) -> None:
    """Where the properties themselves can be set; behind a proxy, prepared statements stay off."""
    shown_to = config(server, user, pool=ONE, session=SessionConfig(proxy=True))
    with PostgresProvider(shown_to) as provider:
        with provider.connection() as conn:
            pid, before = conn.info.backend_pid, shown(conn)
            assert conn.prepare_threshold is None
            conn.row_factory = dict_row  # type: ignore[assignment]  # of other rows
            conn.prepare_threshold = 5
            conn.autocommit = False
            conn.read_only = True
            conn.execute("SELECT 1")
        with provider.connection() as conn:
            assert conn.info.backend_pid == pid
            assert shown(conn) == before
            conn.pgconn.enter_pipeline_mode()
        with provider.connection() as conn:
            assert conn.info.backend_pid != pid
            assert conn.pgconn.pipeline_status == PipelineStatus.OFF


async def test_an_untouched_connection_is_not_worked_on(
    provider: AsyncPostgresProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one whose changes were taken back."""
    calls: list[object] = []

    async def restore(conn: AsyncPooledConnection) -> None:
        calls.append(conn)

    monkeypatch.setattr(AsyncPooledConnection, "restore", restore)
    async with provider.connection() as conn:
        await conn.execute("SELECT 1")
    async with provider.transaction(isolation="serializable") as conn:
        await conn.execute("SELECT 1")
        async with conn.pipeline():
            await conn.execute("SELECT 1")
    async with provider.connection() as conn:
        await conn.set_read_only(True)
        await conn.set_read_only(None)
    assert calls == []


async def test_a_notifies_that_was_not_closed_blocks_nobody(
    provider: AsyncPostgresProvider,
) -> None:
    """It holds the connection's lock: whoever got that connection would wait for ever."""
    async with provider.connection() as conn:
        pid = conn.info.backend_pid
        await conn.execute("LISTEN here")
        await conn.execute("NOTIFY here")
        left = conn.notifies()
        assert (await anext(left)).channel == "here"
    async with provider.connection() as conn:
        assert conn.info.backend_pid != pid
        assert await (await conn.execute("SELECT 1")).fetchone() == (1,)
    with contextlib.suppress(psycopg.OperationalError):
        await left.aclose()


async def test_a_two_phase_transaction_left_open_is_not_handed_on(server: PostgresServer, user: str) -> None:
    """Neither begun, which is told, nor prepared: the server here allows none, so that is made up."""
    async with AsyncPostgresProvider(config(server, user, pool=ONE)) as provider:
        with pytest.raises(psycopg.ProgrammingError):
            async with provider.connection() as conn:
                await conn.tpc_begin("one")
                await conn.execute("SELECT 1")
        async with provider.connection() as conn:
            assert conn._tpc is None
            assert conn.info.transaction_status == TransactionStatus.IDLE
            pid = conn.info.backend_pid
            conn._tpc = (conn.xid(1, "two", "three"), True)
        async with provider.connection() as conn:
            assert conn.info.backend_pid != pid


async def test_a_block_may_end_with_discard_all(provider: AsyncPostgresProvider) -> None:
    """What is left in the session stays otherwise; statements that were prepared, and the timeouts, survive it."""

    async def prepared(conn: psycopg.AsyncConnection[Any]) -> object:
        return await (await conn.execute("SELECT %s::int", (1,), prepare=True)).fetchone()

    for discard in (False, True):
        async with provider.connection() as conn:
            await prepared(conn)
            await conn.execute("SET application_name = 'left'")
            await conn.execute("SET idle_in_transaction_session_timeout = 0")
            await conn.execute("CREATE TEMP TABLE left_here (id int)")
            if discard:
                await conn.execute("DISCARD ALL")
        async with provider.connection() as conn:
            found = await (await conn.execute("SELECT current_setting('application_name')")).fetchone()
            assert found == (("chat",) if discard else ("left",))
            timeout = await (await conn.execute("SHOW idle_in_transaction_session_timeout")).fetchone()
            assert timeout == (("30s",) if discard else ("0",))
            assert await prepared(conn) == (1,)
            await conn.execute("DROP TABLE IF EXISTS left_here")


# --- pipeline mode


async def test_a_pipeline_works_on_a_pooled_connection(provider: AsyncPostgresProvider) -> None:
    """Over many statements; an error in it is the driver's, and leaves a good connection."""
    async with provider.connection() as conn:
        pid = conn.info.backend_pid
        async with conn.pipeline():
            cursors = [await conn.execute("SELECT %s::int", (number,)) for number in range(20)]
        assert [await cursor.fetchone() for cursor in cursors] == [(number,) for number in range(20)]
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with provider.connection() as conn, conn.pipeline():
            await conn.execute("SELECT 1")
            await conn.execute("SELECT 1/0")
            await conn.execute("SELECT 2")
    async with provider.transaction() as conn, conn.pipeline():
        await conn.execute("CREATE TABLE t (id int)")
        await conn.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with provider.transaction() as conn, conn.pipeline():
            await conn.execute("INSERT INTO t VALUES (2)")
            await conn.execute("SELECT 1/0")
    async with provider.connection() as conn:
        assert conn.info.backend_pid == pid
        assert await (await conn.execute("SELECT array_agg(id) FROM t")).fetchone() == ([1],)
    assert provider.stats()["generation"] == 0


async def test_a_swallowed_error_in_a_pipeline_cannot_pass_for_a_commit(provider: AsyncPostgresProvider) -> None:
    """As without one."""
    async with provider.connection() as conn:
        await conn.execute("CREATE TABLE t (id int)")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        async with provider.transaction() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")
            with contextlib.suppress(psycopg.errors.DivisionByZero):
                async with conn.pipeline():
                    await conn.execute("SELECT 1/0")
    async with provider.connection() as conn:
        assert await (await conn.execute("SELECT count(*) FROM t")).fetchone() == (0,)


@pytest.mark.parametrize("pending", [False, True])
async def test_a_pipeline_that_was_not_left_is_not_handed_on(
    provider: AsyncPostgresProvider, caplog: pytest.LogCaptureFixture, pending: bool
) -> None:
    """With commands in it that were never sent, or without: the next user gets another connection."""
    caplog.set_level(logging.CRITICAL, "psycopg.pool")
    async with provider.connection() as conn:
        pid = conn.info.backend_pid
        pipeline = conn.pipeline()
        await pipeline.__aenter__()
        if pending:
            await conn.execute("SELECT 1")
    async with provider.connection() as conn:
        assert conn.info.backend_pid != pid
        assert conn.pgconn.pipeline_status == PipelineStatus.OFF
        assert await (await conn.execute("SELECT 1")).fetchone() == (1,)
    with contextlib.suppress(psycopg.OperationalError):
        await pipeline.__aexit__(None, None, None)
