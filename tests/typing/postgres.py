"""``soa_db.postgres``: providers, loaders, single connections; what is handed out is the driver's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, assert_type

from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from soa_db import PostgresConfig
from soa_db.access import Spec
from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.postgres import (
    AsyncPostgresProvider,
    Isolation,
    PostgresIdentitySource,
    PostgresProvider,
    aconnect,
    aload_postgres_config_from_aws,
    connect,
    load_postgres_config_from_aws,
)


async def asynchronous(aws: AsyncAwsClients) -> None:
    """With ``async``."""
    chat = AsyncPostgresProvider.from_aws(env="prod", service="chat-api", role="app", aws=aws)
    assert_type(chat, AsyncPostgresProvider)
    async with chat as entered:
        assert_type(entered, AsyncPostgresProvider)
        async with chat.connection(timeout=1.0) as conn:
            assert_type(conn, AsyncConnection[TupleRow])
            row = await (await conn.execute("select 1")).fetchone()
            assert_type(row, TupleRow | None)
        async with chat.transaction(isolation="serializable") as conn:
            assert_type(conn, AsyncConnection[TupleRow])

        async def work(conn: AsyncConnection[TupleRow]) -> int:
            del conn
            return 42

        assert_type(await chat.run_transaction(work, attempts=3, isolation="repeatable read"), int)
        assert_type(await chat.ping(), bool)
        assert_type(chat.stats(), Mapping[str, int])
        assert_type(chat.is_connected, bool)
        assert_type(chat.config, PostgresConfig)
        native: AsyncConnectionPool[Any] = chat.pool
        del native
        await chat.drain()
    await chat.connect()
    await chat.disconnect()
    config = await aload_postgres_config_from_aws(env="mirror", service="chat-api", db_id="pii", dial="h:1", tls=False)
    assert_type(config, PostgresConfig)
    async with await aconnect(config, aws=aws) as single:
        assert_type(single, AsyncConnection[TupleRow])
    chat.transaction(isolation="dirty")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncPostgresProvider.from_aws(env="prod")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AsyncPostgresProvider.from_aws(service="x", rôle="ro")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def blocking(aws: AwsClients, spec: Spec) -> None:
    """Without."""
    level: Isolation = "read committed"
    source: PostgresIdentitySource = spec
    with PostgresProvider.from_aws(env="dev", service="chat-api", spec=source, aws=aws) as chat:
        assert_type(chat, PostgresProvider)
        with chat.connection() as conn:
            assert_type(conn, Connection[TupleRow])
            assert_type(conn.execute("select 1").fetchall(), list[TupleRow])
        with chat.transaction(isolation=level, timeout=2.0) as conn:
            assert_type(conn, Connection[TupleRow])

        def work(conn: Connection[TupleRow]) -> str:
            return conn.info.dbname

        assert_type(chat.run_transaction(work), str)
        assert_type(chat.ping(timeout=1.0), bool)
        native: ConnectionPool[Any] = chat.pool
        del native
    config = load_postgres_config_from_aws(env="dev", service="chat-api", role="ro", aws=aws)
    assert_type(config, PostgresConfig)
    assert_type(PostgresProvider(config).config, PostgresConfig)
    with connect(config) as single:
        assert_type(single, Connection[TupleRow])
    auth: Literal["password"] = "password"
    assert_type(load_postgres_config_from_aws(env="prod", service="x", auth=auth), PostgresConfig)
    load_postgres_config_from_aws("dev", "x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
