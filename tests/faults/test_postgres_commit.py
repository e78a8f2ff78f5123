"""COMMIT cut off on the wire, and Ctrl-C in blocking code: typed, run once, and nothing leaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.support.postgres import PASSWORD, config, eventually, login_role, sessions, superuser
from tests.support.tcp import FaultyProxy

from soa_db.errors import ServerUnavailable
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

if TYPE_CHECKING:
    from soa_db.local.postgres import PostgresServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def user(server: PostgresServer, unique_name: str) -> Iterator[str]:
    """A login role of the test's own, with a table."""
    with login_role(server, unique_name) as name:
        superuser(server, f"CREATE TABLE {name}.t (id int); GRANT ALL ON {name}.t TO {name}")
        yield name


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[FaultyProxy]:
    """Between the provider and the server."""
    with FaultyProxy(server.host, server.port) as faulty:
        yield faulty


def rows(server: PostgresServer, user: str) -> int:
    """How many rows were committed."""
    (row,) = superuser(server, f"SELECT count(*) FROM {user}.t")
    return int(str(row[0]))


async def test_a_commit_whose_answer_is_cut_off_is_typed_and_not_run_again(
    server: PostgresServer, user: str, proxy: FaultyProxy
) -> None:
    """It may have taken effect, and here it has: a second run would write twice."""
    runs = 0

    async def work(conn: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        nonlocal runs
        runs += 1
        await conn.execute("INSERT INTO t VALUES (1)")
        proxy.mode = "reset"  # in the middle of the server's next reply, which is that to COMMIT

    async with AsyncPostgresProvider(config(server, user, port=proxy.port)) as provider:
        with pytest.raises(ServerUnavailable) as caught:
            await provider.run_transaction(work)
        assert isinstance(caught.value, psycopg.OperationalError)
        assert "not known" in caught.value.hint
        proxy.mode = "pass"
        async with provider.connection() as conn:
            await conn.execute("SELECT 1")
    assert (runs, rows(server, user)) == (1, 1)


def test_a_commit_whose_answer_is_cut_off_from_a_thread_is_not_run_again_either(
    server: PostgresServer, user: str, proxy: FaultyProxy
) -> None:
    """Nor is one that leaving a plain block makes."""
    runs = 0

    def work(conn: psycopg.Connection[tuple[object, ...]]) -> None:
        nonlocal runs
        runs += 1
        conn.execute("INSERT INTO t VALUES (1)")
        proxy.mode = "reset"

    with PostgresProvider(config(server, user, port=proxy.port)) as provider:
        with pytest.raises(ServerUnavailable):
            provider.run_transaction(work)
        proxy.mode = "pass"
        with pytest.raises(ServerUnavailable), provider.connection() as conn:
            conn.execute("BEGIN")
            work(conn)
        proxy.mode = "pass"
        assert provider.ping()
    assert (runs, rows(server, user)) == (2, 2)


INTERRUPTED = """
    import sys, threading, time
    from tests.support.postgres import config
    from soa_db.config import PoolConfig
    from soa_db.local.postgres import PostgresServer
    from soa_db.postgres import PostgresProvider

    class Server:
        host, port = "127.0.0.1", int(sys.argv[1])

    provider = PostgresProvider(config(Server, sys.argv[2], pool=PoolConfig(max_size=1, timeout=60)))

    def execute():
        with provider.connection() as conn:
            print("ready", flush=True)
            conn.execute("SELECT pg_sleep(60)")

    def transaction():
        with provider.transaction() as conn:
            conn.execute("INSERT INTO t VALUES (1)")
            print("ready", flush=True)
            conn.execute("SELECT pg_sleep(60)")

    def wait():
        def tell():
            while not provider.stats()["requests_waiting"]:
                time.sleep(0.01)
            print("ready", flush=True)

        with provider.connection():
            threading.Thread(target=tell).start()
            with provider.connection():
                pass

    provider.connect()
    try:
        {"execute": execute, "transaction": transaction, "wait": wait}[sys.argv[3]]()
    except KeyboardInterrupt:
        pass
    else:
        raise SystemExit("it was not interrupted")
    with provider.connection(timeout=20) as conn:
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)
    stats = provider.stats()
    assert (stats["pool_size"], stats["pool_available"], stats["generation"]) == (1, 1, 0), stats
    provider.disconnect()
    print("usable", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("where", ["execute", "transaction", "wait"])
def test_ctrl_c_leaves_the_pool_usable(server: PostgresServer, user: str, where: str) -> None:
    """In a query, in a transaction, waiting for a connection; the one slot is free, and no session is left."""
    script = textwrap.dedent(INTERRUPTED)
    command = [sys.executable, "-c", script, str(server.port), user, where]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src")))}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "ready\n"
            if where != "wait":
                sleeping = f"SELECT 1 FROM pg_stat_activity WHERE usename = '{user}' AND query LIKE '%pg_sleep%'"
                eventually(lambda: bool(superuser(server, sleeping)))
            child.send_signal(signal.SIGINT)
            line = child.stdout.readline()
            assert line == "usable\n", child.communicate()[1]
            eventually(lambda: sessions(server, user) == 0)
            out, err = child.communicate()
        finally:
            child.kill()
    assert (child.returncode, out) == (0, ""), err
    assert PASSWORD not in err
