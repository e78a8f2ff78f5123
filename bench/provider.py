"""``SELECT 1`` through the provider, against a bare psycopg connection and a bare psycopg_pool: all on one server.

Each call takes a connection, runs the query, fetches its row and gives the connection back. Rounds are short and
interleaved, so that what else the machine does meets all alike; the figure is the lower decile of the rounds.
"""

from __future__ import annotations

import asyncio
import gc
import time

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from bench.report import Row
from bench.servers import Plain, plain_server
from bench.timing import alternate, alternate_async, lower_decile
from soa_db.config import PoolConfig
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

ROUNDS = 250
CALLS = 60
SIZES = PoolConfig(min_size=4, max_size=4)
# What psycopg_pool is given, so that both make their connections alike.
AUTOCOMMIT = {"autocommit": True}
QUERY = "SELECT 1"
BAR = 1.05


def _blocking(plain: Plain) -> dict[str, list[float]]:
    with (
        psycopg.connect(plain.conninfo, autocommit=True) as single,
        ConnectionPool(plain.conninfo, kwargs=AUTOCOMMIT, min_size=4, max_size=4) as pool,
        PostgresProvider(plain.config(pool=SIZES)) as provider,
    ):
        pool.wait()
        provider.pool.wait()

        def bare() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                single.execute(QUERY).fetchone()
            return time.perf_counter() - start

        def pooled() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                with pool.connection() as conn:
                    conn.execute(QUERY).fetchone()
            return time.perf_counter() - start

        def ours() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                with provider.connection() as conn:
                    conn.execute(QUERY).fetchone()
            return time.perf_counter() - start

        contenders = {"bare": bare, "pooled": pooled, "ours": ours}
        alternate(contenders, 10)  # statements prepared, caches warm
        return alternate(contenders, ROUNDS)


async def _asynchronous(plain: Plain) -> dict[str, list[float]]:
    async with (
        await psycopg.AsyncConnection.connect(plain.conninfo, autocommit=True) as single,
        AsyncConnectionPool(plain.conninfo, kwargs=AUTOCOMMIT, min_size=4, max_size=4) as pool,
        AsyncPostgresProvider(plain.config(pool=SIZES)) as provider,
    ):
        await pool.wait()
        await provider.pool.wait()

        async def bare() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                await (await single.execute(QUERY)).fetchone()
            return time.perf_counter() - start

        async def pooled() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                async with pool.connection() as conn:
                    await (await conn.execute(QUERY)).fetchone()
            return time.perf_counter() - start

        async def ours() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                async with provider.connection() as conn:
                    await (await conn.execute(QUERY)).fetchone()
            return time.perf_counter() - start

        contenders = {"bare": bare, "pooled": pooled, "ours": ours}
        await alternate_async(contenders, 10)
        return await alternate_async(contenders, ROUNDS)


def run() -> list[Row]:
    """Blocking, then asynchronous."""
    with plain_server() as plain:
        gc.disable()  # a collection would fall on whoever is running
        try:
            found = {"sync": lower_decile(_blocking(plain), scale=1e6 / CALLS)}
            gc.collect()
            found["async"] = lower_decile(asyncio.run(_asynchronous(plain)), scale=1e6 / CALLS)
        finally:
            gc.enable()
    rows = []
    for how, times in found.items():
        rows += [
            Row(f"SELECT 1, {how}", times["ours"], "us", times["pooled"], "psycopg_pool", BAR),
            Row(f"SELECT 1, {how}", times["ours"], "us", times["bare"], "bare psycopg connection"),
        ]
    return rows
