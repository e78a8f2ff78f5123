"""The blocking provider on a real server, and in forked children."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from pathlib import Path
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
    superuser,
)
from tests.support.processes import in_child, leave, succeeded

from soa_db.config import PasswordAuth, PoolConfig, PostgresConfig
from soa_db.errors import AuthenticationFailed, NotConnectedError, PoolTimeout, ServerUnavailable
from soa_db.postgres import PostgresProvider, connect

if TYPE_CHECKING:
    from soa_db.local.postgres import PostgresServer

# Python 3.12 warns of every fork while threads run; forking with a pool's threads is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def backend(provider: PostgresProvider) -> int:
    """The server's process behind a connection of the provider's."""
    with provider.connection() as conn:
        return conn.info.backend_pid


def test_its_life_from_connect_to_disconnect(server: PostgresServer, user: str) -> None:
    """The same as the asynchronous one's, and no thread is left."""
    threads = set(threading.enumerate())
    provider = PostgresProvider(config(server, user))
    with pytest.raises(NotConnectedError):
        _ = provider.pool
    with provider:
        assert provider.is_connected
        assert provider.ping()
        with provider.transaction(isolation="repeatable read") as conn:
            conn.execute("CREATE TABLE t (id int)")
        with pytest.raises(KeyError), provider.transaction() as conn:
            conn.execute("INSERT INTO t VALUES (1)")
            raise KeyError
        count = provider.run_transaction(lambda conn: conn.execute("SELECT count(*) FROM t").fetchone())
        assert count == (0,)
        assert provider.stats()["connected"] == 1
        first = backend(provider)
        provider.drain()
        assert backend(provider) != first
    assert not provider.is_connected
    assert not provider.ping()
    assert sessions(server, user) == 0
    eventually(lambda: set(threading.enumerate()) <= threads)


def test_one_connection_without_a_pool(server: PostgresServer, user: str) -> None:
    """Native, in autocommit."""
    with connect(config(server, user)) as conn:
        assert type(conn) is psycopg.Connection
        assert conn.autocommit
    with pytest.raises(AuthenticationFailed):
        connect(config(server, user, auth=PasswordAuth(password="no")))


def test_a_pool_that_is_used_up_times_out_typed(server: PostgresServer, user: str) -> None:
    """With what to do about it."""
    provider = PostgresProvider(config(server, user, pool=PoolConfig(max_size=1)))
    with (
        provider,
        provider.connection(),
        pytest.raises(PoolTimeout, match="became free"),
        provider.connection(timeout=0.05),
    ):
        pass


def test_dead_connections_are_never_handed_out(server: PostgresServer, user: str) -> None:
    """One call notices, no other fails."""
    with PostgresProvider(config(server, user)) as provider:
        with provider.connection(), provider.connection(), provider.connection():
            pass
        end_sessions(server, user)
        with pytest.raises(ServerUnavailable) as caught, provider.connection() as conn:
            conn.execute("SELECT 1")
        assert isinstance(caught.value, psycopg.OperationalError)
        for _ in range(8):
            with provider.connection() as conn:
                conn.execute("SELECT 1")
        assert provider.is_connected


def test_waiting_threads_are_told_of_a_refusal_promptly_and_recover(server: PostgresServer, user: str) -> None:
    """Typed, long before the pool's timeout."""
    vault = Vault(user, PASSWORD)
    provider = served_by(vault, PostgresProvider(config(server, user, pool=PoolConfig(max_size=2, timeout=60))))
    with provider:
        set_password(server, user, "nobody-knows")
        end_sessions(server, user)
        errors: list[BaseException] = []

        def call() -> None:
            try:
                with provider.connection() as conn:
                    conn.execute("SELECT 1")
            except (AuthenticationFailed, ServerUnavailable) as error:
                errors.append(error)

        threads = [threading.Thread(target=call) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(errors) == 20
        assert sum(isinstance(error, AuthenticationFailed) for error in errors) >= 18
        set_password(server, user, PASSWORD)
        eventually(provider.ping)


def test_a_forked_child_gets_a_pool_of_its_own(server: PostgresServer, user: str) -> None:
    """Two children and the parent at work together; the parent's sessions live on when the children end."""
    with PostgresProvider(config(server, user)) as provider:
        with provider.connection() as one, provider.connection() as two:
            mine = {one.info.backend_pid, two.info.backend_pid}

        def work() -> None:
            assert not provider.is_connected
            for _ in range(50):
                with provider.connection() as conn:
                    row = conn.execute("SELECT pg_backend_pid()").fetchone()
                    assert row is not None
                    assert row[0] not in mine
            assert provider.is_connected
            provider.disconnect()

        children = [in_child(work) for _ in range(2)]
        for _ in range(50):
            with provider.connection() as conn:
                conn.execute("SELECT 1")
        assert [succeeded(child) for child in children] == [True, True]
        assert backend(provider) in mine
        assert provider.stats()["generation"] == 0


def test_a_child_that_never_uses_the_provider_disturbs_nothing(server: PostgresServer, user: str) -> None:
    """Whether it disconnects, deletes it, or ends in the middle of a block it inherited."""
    provider = PostgresProvider(config(server, user))
    provider.connect()
    mine = backend(provider)
    assert succeeded(in_child(provider.disconnect))

    def collect() -> None:
        import gc

        nonlocal provider
        del provider
        gc.collect()

    assert succeeded(in_child(collect))
    with provider.connection() as conn:
        conn.execute("SELECT 1")
        child = os.fork()
        if child == 0:
            # The block ends here too: its connection is given back in the child.
            leave(_leave_block(provider, conn))
        assert succeeded(child)
        conn.execute("SELECT 1")
    assert backend(provider) == mine
    provider.disconnect()


def _leave_block(provider: PostgresProvider, conn: psycopg.Connection[tuple[object, ...]]) -> int:
    signal.alarm(30)
    try:
        conn.close()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0 if not provider.is_connected else 1


def test_a_child_holds_no_socket_of_the_parents(server: PostgresServer, user: str) -> None:
    """When the parent's session ends, the server sees it end, although the child lives on."""
    with PostgresProvider(config(server, user)) as provider:
        with provider.connection() as conn:
            descriptor = conn.pgconn.socket
        read, write = os.pipe()

        def live() -> None:
            os.write(write, os.fsencode(Path(f"/proc/self/fd/{descriptor}").readlink()))
            time.sleep(1)

        child = in_child(live)
        assert os.read(read, 100) == os.devnull.encode()
        assert succeeded(child)
        os.close(read)
        os.close(write)


def test_a_fork_while_another_thread_connects_leaves_the_child_able(server: PostgresServer, user: str) -> None:
    """Locks held at that moment are not inherited."""
    provider = PostgresProvider(config(server, user))
    provider.connect()
    provider._lock.acquire()
    child = in_child(lambda: None if provider.ping() else os._exit(3))
    provider._lock.release()
    assert succeeded(child)
    provider.disconnect()


def test_the_root_file_belongs_to_the_process_that_made_it(server: PostgresServer, user: str, unique_name: str) -> None:
    """A child that ends, or disconnects, does not take it away."""
    from soa_db._runtime.pem import PemFile

    roots = PemFile(pem="-----BEGIN CERTIFICATE-----")
    path = Path(roots.path)
    assert succeeded(in_child(roots.remove))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    roots.remove()
    assert not path.parent.exists()


def test_a_password_changed_under_load_fails_no_call(server: PostgresServer, user: str) -> None:
    """The secret is read again when the server refuses the old one: old sessions live on, new ones know the new."""
    vault = Vault(user, PASSWORD)
    pool = PoolConfig(max_size=4, timeout=30, max_lifetime=0.2)
    provider = served_by(vault, PostgresProvider(config(server, user, pool=pool)))
    stop = threading.Event()
    done: list[int] = []
    errors: list[Exception] = []

    def work() -> None:
        while not stop.is_set():
            try:
                with provider.connection() as conn:
                    conn.execute("SELECT 1")
                done.append(1)
            except Exception as error:
                errors.append(error)

    with provider:
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for number in range(5):
            password = f"rotated-{number}"
            vault.pending = password
            set_password(server, user, password)
            time.sleep(0.15)
            vault.password, vault.pending = password, None
            time.sleep(0.15)
        stop.set()
        for thread in threads:
            thread.join(30)
    assert errors == []
    assert done
    assert vault.refreshes >= 1


def test_settings_of_the_pool_reach_psycopgs(server: PostgresServer, user: str) -> None:
    """Nothing of the configuration is lost on the way."""
    wanted: PostgresConfig = config(
        server, user, pool=PoolConfig(min_size=2, max_size=3, timeout=4, max_idle=5, max_lifetime=6)
    )
    with PostgresProvider(wanted) as provider:
        pool = provider.pool
        assert (pool.min_size, pool.max_size, pool.timeout) == (2, 3, 4)
        assert (pool.max_idle, pool.max_lifetime, pool.name) == (5, 6, "chat")
        eventually(lambda: sessions(server, user) == 2)
        (row,) = superuser(server, f"SELECT application_name FROM pg_stat_activity WHERE usename = '{user}' LIMIT 1")
        assert row == ("chat",)
