"""Proxy mode against a real PgBouncer in transaction pooling."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.postgres import PASSWORD, config

from soa_db.asyncpg import create_asyncpg_pool
from soa_db.config import PasswordAuth, PoolConfig, PostgresConfig, SessionConfig
from soa_db.errors import AuthenticationFailed, ConfigurationError, ConnectionFailed, ServerUnavailable
from soa_db.local.binaries import server_account
from soa_db.local.ports import free_port
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider, aconnect

if TYPE_CHECKING:
    from soa_db.local.postgres import PostgresServer


def quoted(value: str) -> str:
    """As PgBouncer's auth_file wants it."""
    return '"' + value.replace('"', '""') + '"'


@pytest.fixture
def bouncer(server: PostgresServer, user: str, server_folder: Path) -> Iterator[int]:
    """The port of a PgBouncer in transaction mode with two server connections, run as the servers' user."""
    program = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert program, "pgbouncer is not installed: run `make servers`"
    port = free_port()
    account = server_account()
    folder = server_folder / f"bouncer-{user}"
    folder.mkdir()
    (folder / "users").write_text(f"{quoted(user)} {quoted(PASSWORD)}\n")
    (folder / "ini").write_text(
        f"""[databases]
postgres = host={server.host} port={server.port}
alone = host={server.host} port={server.port} dbname=postgres pool_size=1
elsewhere = host={server.host} port={free_port()} dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder / "users"}
pool_mode = transaction
default_pool_size = 2
query_wait_timeout = 2
server_login_retry = 1
"""
    )
    for path in (folder, *folder.iterdir()):
        if os.geteuid() == 0:
            os.chown(path, account.uid, account.gid)
    as_server: dict[str, Any] = {}
    if os.geteuid() == 0:
        # PgBouncer refuses to run as root.
        as_server = {"user": account.uid, "group": account.gid, "extra_groups": []}
    with (server_folder / f"bouncer-{user}.log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "ini")],
            stdout=log,
            stderr=log,
            **as_server,
        )
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, (server_folder / f"bouncer-{user}.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def proxied(server: PostgresServer, user: str, port: int, **changes: object) -> PostgresConfig:
    """Through PgBouncer."""
    session = SessionConfig(proxy=True, statement_timeout=9)
    return config(server, user, **{"port": port, "session": session, **changes})


async def test_many_sessions_share_two_connections(server: PostgresServer, user: str, bouncer: int) -> None:
    """Repeated queries with parameters would be prepared by psycopg, and not be found on the other connection."""
    async with AsyncPostgresProvider(proxied(server, user, bouncer)) as provider:

        async def call(number: int) -> None:
            for _ in range(12):
                async with provider.connection() as conn:
                    row = await (await conn.execute("SELECT %s::int", (number,))).fetchone()
                    assert row == (number,)

        await asyncio.gather(*(call(number) for number in range(8)))
        async with provider.connection() as conn:
            assert conn.prepare_threshold is None
    with PostgresProvider(proxied(server, user, bouncer)) as blocking:
        assert blocking.ping()


async def test_session_timeouts_are_set_after_connect(server: PostgresServer, user: str, bouncer: int) -> None:
    """On the server connection PgBouncer had at hand; with one of them it is the one the next query gets."""
    async with (
        AsyncPostgresProvider(proxied(server, user, bouncer, database="alone")) as provider,
        provider.transaction() as conn,
    ):
        row = await (await conn.execute("SHOW statement_timeout")).fetchone()
        assert row == ("9s",)


async def test_asyncpgs_pool_works_behind_it_too(server: PostgresServer, user: str, bouncer: int) -> None:
    """Nothing prepared, and what asyncpg's reset takes away is set again, in the same transaction as the reset."""
    async with create_asyncpg_pool(proxied(server, user, bouncer)) as pool:
        crowd = (pool.fetchval("SELECT $1::int", number) for number in range(60))
        assert await asyncio.gather(*crowd) == list(range(60))
    async with create_asyncpg_pool(proxied(server, user, bouncer, database="alone")) as pool:
        for _ in range(3):
            assert await pool.fetchval("SHOW statement_timeout") == "9s"


async def test_without_proxy_mode_the_startup_packet_is_refused_with_the_hint(
    server: PostgresServer, user: str, bouncer: int
) -> None:
    """PgBouncer takes no options there."""
    with pytest.raises(ConfigurationError) as caught:
        await aconnect(proxied(server, user, bouncer, session=SessionConfig()))
    assert "session.proxy" in caught.value.hint


async def test_refusals_of_pgbouncers_own_are_typed(server: PostgresServer, user: str, bouncer: int) -> None:
    """Its words are not the server's."""
    with pytest.raises(AuthenticationFailed):
        await aconnect(proxied(server, user, bouncer, auth=PasswordAuth(password="no")))
    with pytest.raises(ConnectionFailed, match="no such database"):
        await aconnect(proxied(server, user, bouncer, database="none_such"))


async def test_a_bouncer_whose_database_is_away_is_not_connected(
    server: PostgresServer, user: str, bouncer: int
) -> None:
    """It may let a client in all the same: the probe makes a round trip."""
    wanted = proxied(server, user, bouncer, database="elsewhere", pool=PoolConfig(connect_timeout=3))
    with pytest.raises(ServerUnavailable):
        await AsyncPostgresProvider(wanted).connect()
    for session in (wanted.session, SessionConfig(proxy=True, idle_in_transaction_timeout=0)):
        with pytest.raises(ServerUnavailable):
            PostgresProvider(wanted.model_copy(update={"session": session})).connect()
