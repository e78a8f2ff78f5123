"""200 tasks that write through one pool of 20, in a process of its own: ``python -m bench.writers CONTENDER``.

The first line of standard input is a JSON object with the server's coordinates, the second ends the run. It prints
how many seconds a new pool took until every task had written, and in the end its calls as JSON: ``[[task, number,
began, ended, error], …]`` in monotonic seconds, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

CONNECTIONS = 20
TASKS = 200
# Seconds a task rests after an error: a pool that fails fast would otherwise do nothing but fail.
REST = 0.01
CREATE = (
    "CREATE TABLE IF NOT EXISTS ledger (contender text, task int, number int, PRIMARY KEY (contender, task, number))"
)

# Writes the row of a task with a number.
Write = Callable[[int, int], Awaitable[None]]
Pool = Callable[[dict[str, Any]], AbstractAsyncContextManager[Write]]


@asynccontextmanager
async def provider(server: dict[str, Any]) -> AsyncIterator[Write]:
    """Ours."""
    from soa_db.config import PoolConfig, PostgresConfig
    from soa_db.postgres import AsyncPostgresProvider

    sizes = PoolConfig(min_size=CONNECTIONS, max_size=CONNECTIONS)
    config = PostgresConfig.from_url(f"{server['url']}?sslmode=disable", instance_name="bench", pool=sizes)
    async with AsyncPostgresProvider(config) as ours:

        async def write(task: int, number: int) -> None:
            async with ours.connection() as conn:
                await conn.execute("INSERT INTO ledger VALUES ('provider', %s, %s)", (task, number))

        yield write


@asynccontextmanager
async def psycopg_pool(server: dict[str, Any]) -> AsyncIterator[Write]:
    """The pool the provider is built on, as it comes."""
    from psycopg_pool import AsyncConnectionPool

    async with AsyncConnectionPool(
        server["conninfo"], kwargs={"autocommit": True}, min_size=CONNECTIONS, max_size=CONNECTIONS
    ) as pool:

        async def write(task: int, number: int) -> None:
            async with pool.connection() as conn:
                await conn.execute("INSERT INTO ledger VALUES ('psycopg_pool', %s, %s)", (task, number))

        yield write


@asynccontextmanager
async def asyncpg(server: dict[str, Any]) -> AsyncIterator[Write]:
    """asyncpg's own pool."""
    import asyncpg as driver

    async with driver.create_pool(server["url"], min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:

        async def write(task: int, number: int) -> None:
            async with pool.acquire() as conn:
                await conn.execute("INSERT INTO ledger VALUES ('asyncpg', $1, $2)", task, number)

        yield write


@asynccontextmanager
async def sqlalchemy(server: dict[str, Any]) -> AsyncIterator[Write]:
    """SQLAlchemy on psycopg, with pre-ping."""
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(
        server["url"].replace("postgresql:", "postgresql+psycopg:"),
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
    )
    statement = text("INSERT INTO ledger VALUES ('sqlalchemy', :task, :number)")

    async def write(task: int, number: int) -> None:
        async with engine.connect() as conn:
            await conn.execute(statement, {"task": task, "number": number})

    try:
        yield write
    finally:
        await engine.dispose()


CONTENDERS: dict[str, Pool] = {
    "provider": provider,
    "psycopg_pool": psycopg_pool,
    "asyncpg": asyncpg,
    "sqlalchemy": sqlalchemy,
}


async def write_until_told(pool: Pool, server: dict[str, Any]) -> list[tuple[object, ...]]:
    """Run the tasks on a pool until a line comes on standard input; return their calls."""
    calls: list[tuple[object, ...]] = []
    stopped = False
    first = [asyncio.Event() for _ in range(TASKS)]

    async def task(number: int, write: Write) -> None:
        for count in itertools.count():
            if stopped:
                return
            began, error = time.monotonic(), None
            try:
                await write(number, count)
            except Exception as failure:
                error = type(failure).__name__
            calls.append((number, count, began, time.monotonic(), error))
            first[number].set()
            if error is not None:
                await asyncio.sleep(REST)

    start = time.monotonic()
    async with pool(server) as write:
        tasks = [asyncio.create_task(task(number, write)) for number in range(TASKS)]
        for event in first:
            await event.wait()
        print(time.monotonic() - start, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        stopped = True
        await asyncio.gather(*tasks)
    return calls


def main() -> None:
    """Run one contender."""
    # The pools log every failed attempt, which is what is expected here.
    logging.disable()
    server, contender = json.loads(sys.stdin.readline()), sys.argv[1]
    importlib.import_module({"provider": "soa_db.postgres"}.get(contender, contender))
    print(json.dumps(asyncio.run(write_until_told(CONTENDERS[contender], server))), flush=True)


if __name__ == "__main__":
    main()
