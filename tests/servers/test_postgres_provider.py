"""The asynchronous provider on real servers: its life, its connections, its transactions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING

import psycopg
import psycopg_pool
import pytest
from tests.support.credentials import Vault, served_by
from tests.support.postgres import (
    PASSWORD,
    config,
    end_sessions,
    login_role,
    sessions,
    set_password,
    superuser,
)

from soa_db._async.postgres import provider as provider_module
from soa_db.config import NoAuth, PasswordAuth, PoolConfig, SessionConfig
from soa_db.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    NotConnectedError,
    PoolTimeout,
    ServerUnavailable,
)
from soa_db.local.ports import free_port
from soa_db.postgres import AsyncPostgresProvider, aconnect

if TYPE_CHECKING:
    from soa_db.local.postgres import PostgresServer


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take the waits out of connect() and say which there were."""
    waits: list[int] = []

    def none(attempt: int, **_: object) -> float:
        waits.append(attempt)
        return 0.0

    monkeypatch.setattr(provider_module, "full_jitter", none)
    return waits


async def value(conn: psycopg.AsyncConnection[tuple[object, ...]], query: str) -> object:
    """The first column of the first row."""
    row = await (await conn.execute(query)).fetchone()
    assert row is not None
    return row[0]


# --- connecting


async def test_a_connection_is_native_in_autocommit_and_set_up_as_asked(pg: PostgresServer, unique_name: str) -> None:
    """On every version; the timeouts rode in the startup packet, so RESET goes back to them."""
    session = SessionConfig(statement_timeout=7, lock_timeout=0.25, application_name="näme")
    with login_role(pg, unique_name) as user:
        provider = AsyncPostgresProvider(config(pg, user, session=session))
        async with provider, provider.connection() as conn:
            assert isinstance(conn, psycopg.AsyncConnection)
            assert conn.autocommit
            assert await value(conn, "SELECT current_user") == user
            await conn.execute("SET statement_timeout = 60000")
            await conn.execute("RESET statement_timeout")
            assert await value(conn, "SHOW statement_timeout") == "7s"
            assert await value(conn, "SHOW lock_timeout") == "250ms"
            assert await value(conn, "SHOW idle_in_transaction_session_timeout") == "30s"
            assert conn.info.get_parameters()["keepalives_idle"] == "30"


async def test_bad_credentials_fail_in_connect_at_once(
    server: PostgresServer, user: str, no_backoff: list[int]
) -> None:
    """With the typed error, its cause, and without a second attempt; the provider can be connected later."""
    provider = AsyncPostgresProvider(config(server, user, auth=PasswordAuth(password="wrong-password")))
    with pytest.raises(AuthenticationFailed) as caught:
        await provider.connect()
    assert no_backoff == []
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    assert caught.value.context["user"] == user
    assert "wrong-password" not in str(caught.value)
    assert not provider.is_connected
    set_password(server, user, "wrong-password")
    async with provider:
        assert provider.is_connected


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"database": "no_such_database"}, ConnectionFailed),
        ({"auth": NoAuth()}, AuthenticationFailed),
        ({"user": "no_such_user"}, AuthenticationFailed),
        ({"auth": PasswordAuth(password="nul\0")}, ConfigurationError),
    ],
)
async def test_a_final_failure_is_not_tried_again(
    server: PostgresServer,
    user: str,
    no_backoff: list[int],
    changes: dict[str, object],
    error: type[Exception],
) -> None:
    """Whatever waiting does not mend."""
    provider = AsyncPostgresProvider(config(server, **{"user": user, **changes}))
    with pytest.raises(error) as caught:
        await provider.connect()
    assert type(caught.value) is error
    assert no_backoff == []


async def test_a_user_without_connect_is_refused_with_the_right(
    server: PostgresServer, user: str, unique_name: str
) -> None:
    """Authorisation is not authentication: no re-read of the secret would help."""
    superuser(server, f"CREATE DATABASE {unique_name}_d")
    superuser(server, f"REVOKE CONNECT ON DATABASE {unique_name}_d FROM PUBLIC")
    vault = Vault(user, PASSWORD)
    provider = served_by(vault, AsyncPostgresProvider(config(server, user, database=f"{unique_name}_d")))
    with pytest.raises(AuthenticationFailed, match="permission denied for database"):
        await provider.connect()
    assert vault.refreshes == 0
    superuser(server, f"DROP DATABASE {unique_name}_d")


async def test_a_server_that_is_down_is_tried_three_times(no_backoff: list[int], server: PostgresServer) -> None:
    """Then the error says where nothing answered."""
    port = free_port()
    provider = AsyncPostgresProvider(config(server, "u", port=port))
    with pytest.raises(ServerUnavailable) as caught:
        await provider.connect()
    assert no_backoff == [1, 2]
    assert caught.value.context["host"] == f"127.0.0.1:{port}"
    assert not await provider.ping()


async def test_connect_and_disconnect_do_nothing_the_second_time(server: PostgresServer, user: str) -> None:
    """And a disconnected provider can be connected again, with a pool of its own."""
    provider = AsyncPostgresProvider(config(server, user))
    await provider.disconnect()
    await asyncio.gather(provider.connect(), provider.connect(), provider.connect())
    pool = provider.pool
    assert isinstance(pool, psycopg_pool.AsyncConnectionPool)
    assert provider.stats()["pool_size"] == 1
    await provider.disconnect()
    await provider.disconnect()
    assert pool.closed
    assert sessions(server, user) == 0
    await provider.connect()
    assert provider.pool is not pool
    await provider.disconnect()


async def test_an_unconnected_provider_says_so(server: PostgresServer) -> None:
    """Everything but ping, which is False."""
    provider = AsyncPostgresProvider(config(server, "u"))
    with pytest.raises(NotConnectedError):
        _ = provider.pool
    with pytest.raises(NotConnectedError):
        provider.stats()
    with pytest.raises(NotConnectedError):
        await provider.drain()
    with pytest.raises(NotConnectedError):
        async with provider.connection():
            pass
    assert not provider.is_connected
    assert not await provider.ping()
    assert "not connected" in repr(provider)
    lazy = AsyncPostgresProvider.from_aws(env="dev", service="chat-api")
    with pytest.raises(NotConnectedError):
        _ = lazy.config


async def test_one_connection_without_a_pool(server: PostgresServer, user: str) -> None:
    """Native, in autocommit, the caller's to close."""
    conn = await aconnect(config(server, user))
    assert type(conn) is psycopg.AsyncConnection
    assert conn.autocommit
    assert await value(conn, "SELECT current_user") == user
    await conn.close()
    with pytest.raises(AuthenticationFailed):
        await aconnect(config(server, user, auth=PasswordAuth(password="no")))


# --- transactions


async def test_a_transaction_is_committed_or_rolled_back(server: PostgresServer, user: str) -> None:
    """As the block ends."""
    async with AsyncPostgresProvider(config(server, user)) as provider:
        async with provider.transaction() as conn:
            await conn.execute("CREATE TABLE t (id int PRIMARY KEY)")
            await conn.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(KeyError):
            async with provider.transaction() as conn:
                await conn.execute("INSERT INTO t VALUES (2)")
                raise KeyError("mine")
        async with provider.connection() as conn:
            assert await value(conn, "SELECT array_agg(id) FROM t") == [1]
        async with provider.transaction(isolation="serializable") as conn:
            assert await value(conn, "SHOW transaction_isolation") == "serializable"
        async with provider.transaction() as conn:
            assert await value(conn, "SHOW transaction_isolation") == "read committed"


async def test_a_transaction_begun_by_hand_ends_with_the_block(server: PostgresServer, user: str) -> None:
    """Committed at its end, rolled back on an error, as psycopg's own context does it; and the connection is reused."""
    async with AsyncPostgresProvider(config(server, user)) as provider:
        async with provider.connection() as conn:
            await conn.execute("CREATE TABLE t (id int)")
        async with provider.connection() as conn:
            await conn.execute("BEGIN")
            await conn.execute("INSERT INTO t VALUES (1)")
            pid = conn.info.backend_pid
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with provider.connection() as conn:
                await conn.execute("BEGIN")
                await conn.execute("INSERT INTO t VALUES (2)")
                await conn.execute("SELECT 1/0")
        async with provider.connection() as conn:
            assert conn.info.backend_pid == pid
            assert await value(conn, "SELECT array_agg(id) FROM t") == [1]
        assert provider.stats()["generation"] == 0


async def test_a_commit_that_fails_is_told(server: PostgresServer, user: str) -> None:
    """Even at the very end of the block; nothing leaks."""
    async with AsyncPostgresProvider(config(server, user, pool=PoolConfig(max_size=1, timeout=5))) as provider:
        async with provider.connection() as conn:
            await conn.execute("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            async with provider.connection() as conn:
                await conn.execute("BEGIN")
                await conn.execute("INSERT INTO t VALUES (1), (1)")
        async with provider.connection() as conn:
            assert await value(conn, "SELECT count(*) FROM t") == 0


async def test_a_swallowed_error_cannot_pass_for_a_commit(server: PostgresServer, user: str) -> None:
    """The server answers COMMIT with ROLLBACK and no error: what was written before would be lost without a word."""

    async def work(conn: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        await conn.execute("INSERT INTO t VALUES (1)")
        with contextlib.suppress(psycopg.Error):
            await conn.execute("SELECT 1 / 0")

    async with AsyncPostgresProvider(config(server, user)) as provider:
        async with provider.connection() as conn:
            await conn.execute("CREATE TABLE t (id int)")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction, match="swallowed"):
            async with provider.transaction() as conn:
                await work(conn)
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            await provider.run_transaction(work)
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            async with provider.connection() as conn:
                await conn.execute("BEGIN")
                await work(conn)
        async with provider.transaction() as conn:
            async with conn.transaction(force_rollback=True):
                await work(conn)
            await conn.execute("INSERT INTO t VALUES (2)")
        async with provider.connection() as conn:
            assert await value(conn, "SELECT array_agg(id) FROM t") == [2]


async def test_the_environment_does_not_lead_elsewhere(
    server: PostgresServer, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq takes what it is not told from its variables: another address to send the password to, say."""
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.9")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=other")
    for session in (SessionConfig(idle_in_transaction_timeout=None), SessionConfig(proxy=True)):
        conn = await aconnect(config(server, user, session=session))
        assert "other" not in str(await value(conn, "SHOW search_path"))
        await conn.close()


async def test_a_transaction_that_lost_is_run_again(server: PostgresServer, user: str) -> None:
    """Two counters under serializable isolation: every increment counts."""
    async with AsyncPostgresProvider(config(server, user)) as provider:
        async with provider.connection() as conn:
            await conn.execute("CREATE TABLE n (v int)")
            await conn.execute("INSERT INTO n VALUES (0)")
        runs = 0

        async def increment(conn: psycopg.AsyncConnection[tuple[object, ...]]) -> object:
            nonlocal runs
            runs += 1
            seen = await value(conn, "SELECT v FROM n")
            await asyncio.sleep(0.01)
            await conn.execute("UPDATE n SET v = %s", (int(str(seen)) + 1,))
            return seen

        results = await asyncio.gather(
            *(provider.run_transaction(increment, isolation="serializable", attempts=50) for _ in range(6))
        )
        assert sorted(results) == [0, 1, 2, 3, 4, 5]  # type: ignore[type-var]  # ints all
        assert runs > 6


async def test_a_transaction_is_not_run_again_for_other_errors_nor_for_ever(server: PostgresServer, user: str) -> None:
    """The driver's own error comes out."""
    async with AsyncPostgresProvider(config(server, user)) as provider:
        runs = 0

        async def fail(conn: psycopg.AsyncConnection[tuple[object, ...]], sqlstate: str) -> None:
            nonlocal runs
            runs += 1
            await conn.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{sqlstate}'; END $$")

        with pytest.raises(psycopg.errors.DeadlockDetected):
            await provider.run_transaction(lambda conn: fail(conn, "40P01"), attempts=3)
        assert runs == 3
        with pytest.raises(psycopg.errors.UniqueViolation):
            await provider.run_transaction(lambda conn: fail(conn, "23505"))
        assert runs == 4


# --- the pool


async def test_a_pool_that_is_used_up_times_out_typed(server: PostgresServer, user: str) -> None:
    """Saying what to do about it; ping says no."""
    async with AsyncPostgresProvider(config(server, user, pool=PoolConfig(max_size=1, timeout=5))) as provider:
        async with provider.connection():
            with pytest.raises(PoolTimeout, match="became free") as caught:
                async with provider.connection(timeout=0.05):
                    pass
            assert "max_size" in caught.value.hint
            assert not await provider.ping(timeout=0.05)
        assert await provider.ping()


async def test_a_caller_waiting_at_disconnect_is_told(server: PostgresServer, user: str) -> None:
    """And a connection handed out works on, and is closed when it comes back."""
    provider = AsyncPostgresProvider(config(server, user, pool=PoolConfig(max_size=1, timeout=20)))
    await provider.connect()
    async with provider.connection() as conn:

        async def wait() -> None:
            async with provider.connection():
                pass

        waiting = asyncio.create_task(wait())
        while provider.stats()["requests_waiting"] == 0:
            await asyncio.sleep(0.005)
        await provider.disconnect()
        with pytest.raises(NotConnectedError):
            await waiting
        assert await value(conn, "SELECT 1") == 1
    assert conn.closed
    gc.collect()


async def test_a_cancelled_disconnect_ends_all_the_same(server: PostgresServer, user: str) -> None:
    """Nothing is left behind: no session and no worker."""
    provider = AsyncPostgresProvider(config(server, user))
    await provider.connect()
    async with provider.connection() as conn:
        pass  # held on to here, so that nothing but disconnect() can close it
    ending = asyncio.create_task(provider.disconnect())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    await provider.disconnect()
    async with asyncio.timeout(10):
        while not conn.closed or sessions(server, user) or len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.05)


async def test_drain_replaces_every_connection(server: PostgresServer, user: str) -> None:
    """Idle ones now, the one handed out when it comes back."""
    async with AsyncPostgresProvider(config(server, user)) as provider:
        async with provider.connection() as conn, provider.connection() as other:
            before = {conn.info.backend_pid, other.info.backend_pid}
            await provider.drain()
        async with provider.connection() as conn, provider.connection() as other:
            assert {conn.info.backend_pid, other.info.backend_pid}.isdisjoint(before)


async def test_an_ended_session_raises_the_generation_once_and_the_others_prove_themselves(
    server: PostgresServer, user: str
) -> None:
    """The block's error is typed, the driver's too, and the flag comes back with the next good check."""
    async with AsyncPostgresProvider(config(server, user)) as provider:
        async with provider.connection() as one, provider.connection() as two:
            pids = {one.info.backend_pid, two.info.backend_pid}
        with pytest.raises(ServerUnavailable) as caught:
            async with provider.connection() as conn:
                lost = conn.info.backend_pid
                await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        assert isinstance(caught.value, psycopg.OperationalError)
        assert caught.value.sqlstate == "57P01"
        assert isinstance(caught.value.__cause__, psycopg.errors.AdminShutdown)
        assert not provider.is_connected
        assert provider.stats()["generation"] == 1
        async with provider.connection() as conn:
            assert conn.info.backend_pid in pids - {lost}
            assert await value(conn, "SELECT 1") == 1
        assert provider.is_connected


async def test_dead_connections_are_never_handed_out(server: PostgresServer, user: str) -> None:
    """All sessions ended behind the pool's back: one call notices, no other call fails."""
    async with AsyncPostgresProvider(config(server, user)) as provider:
        async with provider.connection(), provider.connection(), provider.connection(), provider.connection():
            pass
        end_sessions(server, user)
        with pytest.raises(ServerUnavailable):
            async with provider.connection() as conn:
                await conn.execute("SELECT 1")
        for _ in range(8):
            async with provider.connection() as conn:
                assert await value(conn, "SELECT 1") == 1
        assert provider.stats()["generation"] == 1


async def test_a_swallowed_loss_of_the_connection_is_seen_all_the_same(server: PostgresServer, user: str) -> None:
    """The caller handled the error; the connection does not go back."""
    async with AsyncPostgresProvider(config(server, user)) as provider:
        async with provider.connection() as conn:
            with pytest.raises(psycopg.OperationalError):
                await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        async with provider.connection() as conn:
            assert await value(conn, "SELECT 1") == 1


async def test_a_users_own_read_only_transaction_is_no_demotion(server: PostgresServer, user: str) -> None:
    """25006 from a primary."""
    async with AsyncPostgresProvider(config(server, user)) as provider:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            async with provider.transaction() as conn:
                await conn.execute("SET TRANSACTION READ ONLY")
                await conn.execute("CREATE TABLE t (id int)")
        assert provider.stats()["generation"] == 0
        assert provider.is_connected


# --- credentials


async def test_a_changed_password_is_read_again_once(server: PostgresServer, user: str) -> None:
    """The refused credentials cause one forced re-read and one retry."""
    vault = Vault(user, PASSWORD)
    provider = served_by(vault, AsyncPostgresProvider(config(server, user)))
    async with provider:
        vault.password = "the-next-one"
        set_password(server, user, "the-next-one")
        await provider.drain()
        async with provider.connection() as conn:
            assert await value(conn, "SELECT 1") == 1
        # Once per physical connect that was under way; sharing the reads is the credential provider's affair.
        assert 1 <= vault.refreshes <= 2


async def test_a_pending_password_is_taken_while_a_rotation_is_under_way(server: PostgresServer, user: str) -> None:
    """AWSCURRENT is still the old one, the server has the new one."""
    vault = Vault(user, PASSWORD)
    vault.pending = "pending-password"
    set_password(server, user, "pending-password")
    provider = served_by(vault, AsyncPostgresProvider(config(server, user)))
    async with provider:
        assert vault.refreshes == 1


async def test_waiting_callers_are_told_of_a_refusal_promptly_and_recover(server: PostgresServer, user: str) -> None:
    """Not after the pool's timeout; and the server is not asked once per caller."""
    vault = Vault(user, PASSWORD)
    provider = served_by(vault, AsyncPostgresProvider(config(server, user, pool=PoolConfig(max_size=4, timeout=60))))
    async with provider:
        set_password(server, user, "nobody-knows")
        end_sessions(server, user)

        async def call() -> None:
            async with provider.connection() as conn:
                await conn.execute("SELECT 1")

        async with asyncio.timeout(30):
            results = await asyncio.gather(*(call() for _ in range(50)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, AuthenticationFailed)]
        gone = [result for result in results if isinstance(result, ServerUnavailable)]
        assert len(refused) + len(gone) == 50
        assert len(refused) >= 46
        assert "dev/postgres-shared/chat/app" in str(refused[0])
        assert isinstance(refused[0].__cause__, psycopg.OperationalError)
        assert vault.gets < 15
        set_password(server, user, PASSWORD)
        async with asyncio.timeout(30):
            while not await provider.ping():
                await asyncio.sleep(0.05)
        await call()
        assert provider.is_connected


async def test_healthy_connections_serve_on_while_new_ones_are_refused(server: PostgresServer, user: str) -> None:
    """A waiting caller gets one of those that come back, not the refusal."""
    vault = Vault(user, PASSWORD)
    provider = served_by(vault, AsyncPostgresProvider(config(server, user)))
    async with provider:
        set_password(server, user, "nobody-knows")

        async def call() -> object:
            async with provider.connection() as conn:
                await asyncio.sleep(0.01)
                return await value(conn, "SELECT 1")

        assert await asyncio.gather(*(call() for _ in range(20))) == [1] * 20
