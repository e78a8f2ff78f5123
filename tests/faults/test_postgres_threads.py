"""The blocking provider where its code goes ways of its own: what its asynchronous twin is shown to do, on threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.support.credentials import Vault, served_by
from tests.support.postgres import (
    PASSWORD,
    config,
    end_sessions,
    eventually,
    sessions,
    set_password,
)
from tests.support.tcp import FaultyProxy

from soa_db._sync.postgres import provider as provider_module
from soa_db.config import Dial, PasswordAuth, PoolConfig
from soa_db.errors import PoolTimeout, ServerUnavailable
from soa_db.local.postgres import MASTER_USER
from soa_db.postgres import PostgresProvider, connect

if TYPE_CHECKING:
    from tests.conftest import ServerFactory

    from soa_db.local.postgres import PostgresServer

MASTER = PasswordAuth(password="master-password-of-the-tests")


def select(provider: PostgresProvider) -> None:
    """A call that must work."""
    with provider.connection() as conn:
        conn.execute("SELECT 1")


def test_a_server_that_stays_away_is_a_pool_timeout_with_the_reason(pg_server_factory: ServerFactory) -> None:
    """It is looked for until it is back, or until disconnecting."""
    server = pg_server_factory(version=17)
    with PostgresProvider(config(server, MASTER_USER, auth=MASTER)) as provider:
        server.kill()
        with pytest.raises(ServerUnavailable):
            select(provider)
        for _ in range(2):
            with pytest.raises(PoolTimeout, match="refused"), provider.connection(timeout=0.3):
                pass
        server.start()
        assert provider.ping(20)


def test_a_standby_that_refuses_a_write_is_taken_for_a_demotion(pg_server_factory: ServerFactory) -> None:
    """Older connections to it are dropped although they answer."""
    server = pg_server_factory(version=17)
    server.stop()
    (server.data_directory / "standby.signal").touch()
    server.start()
    with PostgresProvider(config(server, MASTER_USER, auth=MASTER)) as provider:
        with provider.connection() as one, provider.connection() as two:
            before = {one.info.backend_pid, two.info.backend_pid}
        with pytest.raises(ServerUnavailable) as caught, provider.connection() as conn:
            conn.execute("CREATE TEMP TABLE t (id int)")
        assert isinstance(caught.value.__cause__, psycopg.errors.ReadOnlySqlTransaction)
        with provider.connection() as one, provider.connection() as two:
            assert before.isdisjoint({one.info.backend_pid, two.info.backend_pid})


def test_a_refusal_met_while_looking_for_the_server_is_told(pg_server_factory: ServerFactory) -> None:
    """It came back, and knows other passwords."""
    server = pg_server_factory(version=17)
    vault = Vault(MASTER_USER, "master-password-of-the-tests")
    provider = served_by(vault, PostgresProvider(config(server, MASTER_USER, pool=PoolConfig(max_size=1, timeout=60))))
    with provider:
        server.kill()
        with pytest.raises(ServerUnavailable):
            select(provider)
        with pytest.raises(PoolTimeout), provider.connection(timeout=0.1):
            pass
        vault.served = vault.password = "another"
        server.start()
        told: list[str] = []

        def refused() -> bool:
            try:
                select(provider)
            except Exception as error:
                told.append(type(error).__name__)
            return told[-1:] == ["AuthenticationFailed"]

        eventually(refused, within=30)


def test_connect_tries_three_times_while_nobody_answers(
    server: PostgresServer, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the third failure is its own."""
    monkeypatch.setattr(provider_module, "full_jitter", lambda *_, **__: 0.0)
    with FaultyProxy(server.host, server.port) as proxy:
        proxy.mode = "hang_up"
        provider = PostgresProvider(config(server, user, port=proxy.port))
        with pytest.raises(ServerUnavailable):
            provider.connect()
        assert proxy.accepted == 3
        assert "not connected" in repr(provider)


def test_a_dialled_name_that_does_not_resolve_is_said(server: PostgresServer, user: str) -> None:
    """And one that does is dialled."""
    with pytest.raises(ServerUnavailable, match=r"no-such-host\.invalid"):
        connect(config(server, user, dial=Dial(host="no-such-host.invalid", port=1)))
    with connect(
        config(server, user, host="db.example", port=1, dial=Dial(host="localhost", port=server.port))
    ) as conn:
        assert conn.info.backend_pid


def test_a_commit_that_fails_is_told(server: PostgresServer, user: str) -> None:
    """At the end of a block that left its transaction open; the slot is free again."""
    with PostgresProvider(config(server, user, pool=PoolConfig(max_size=1, timeout=5))) as provider:
        with provider.connection() as conn:
            conn.execute("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(psycopg.errors.UniqueViolation), provider.connection() as conn:
            conn.execute("BEGIN")
            conn.execute("INSERT INTO t VALUES (1), (1)")
        with pytest.raises(KeyError), provider.connection() as conn:
            conn.execute("BEGIN")
            raise KeyError
        with provider.connection() as conn:
            assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_session_ended_behind_a_failing_block_is_not_rolled_back_but_replaced(
    server: PostgresServer, user: str
) -> None:
    """The driver has not noticed yet: the rollback does."""
    with PostgresProvider(config(server, user, pool=PoolConfig(max_size=1, timeout=20))) as provider:
        with pytest.raises(KeyError), provider.connection() as conn:
            conn.execute("BEGIN")
            end_sessions(server, user)
            raise KeyError
        select(provider)


def test_a_transaction_that_lost_is_run_again(server: PostgresServer, user: str) -> None:
    """And not for ever; what else fails is not."""
    with PostgresProvider(config(server, user)) as provider:
        runs = 0

        def fail(sqlstate: str, times: int) -> Callable[[psycopg.Connection[tuple[object, ...]]], int]:
            def work(conn: psycopg.Connection[tuple[object, ...]]) -> int:
                nonlocal runs
                runs += 1
                if runs <= times:
                    conn.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{sqlstate}'; END $$")
                return runs

            return work

        assert provider.run_transaction(fail("40001", 2)) == 3
        runs = 0
        with pytest.raises(psycopg.errors.DeadlockDetected):
            provider.run_transaction(fail("40P01", 9), attempts=2)
        assert runs == 2
        runs = 0
        with pytest.raises(psycopg.errors.UniqueViolation):
            provider.run_transaction(fail("23505", 9))
        assert runs == 1


def test_healthy_connections_serve_on_while_new_ones_are_refused(server: PostgresServer, user: str) -> None:
    """A waiting thread gets one of those that come back, not the refusal."""
    vault = Vault(user, PASSWORD)
    provider = served_by(vault, PostgresProvider(config(server, user)))
    with provider:
        set_password(server, user, "nobody-knows")
        errors: list[Exception] = []

        def call() -> None:
            try:
                with provider.connection() as conn:
                    conn.execute("SELECT pg_sleep(0.02)")
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=call) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert errors == []


def test_a_connect_that_fails_after_its_probe_leaves_nothing_open(
    server: PostgresServer, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool cannot be opened (no more threads, say): what the probe made is closed."""
    provider = PostgresProvider(config(server, user))

    def no_threads(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("soa_db._sync.postgres.pool.ProviderPool.open", no_threads)
        with pytest.raises(RuntimeError, match="new thread"):
            provider.connect()
    eventually(lambda: sessions(server, user) == 0)
    with provider:
        provider.connect()
        select(provider)
