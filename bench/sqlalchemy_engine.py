"""``SELECT 1`` through an engine on a provider, against SQLAlchemy's own psycopg engine and pool, on one server."""

from __future__ import annotations

import asyncio
import gc
import time

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from bench.report import Row
from bench.servers import Plain, plain_server
from bench.timing import alternate, alternate_async, lower_decile
from soa_db.config import PoolConfig
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider
from soa_db.sqlalchemy import create_async_engine_from_provider, create_engine_from_provider

ROUNDS = 60
CALLS = 30
SIZES = PoolConfig(min_size=4, max_size=4)
QUERY = sa.text("SELECT 1")
BAR = 1.1


def _blocking(plain: Plain) -> dict[str, list[float]]:
    own = sa.create_engine(sa.make_url(plain.url).set(drivername="postgresql+psycopg"), pool_size=4)
    with PostgresProvider(plain.config(pool=SIZES)) as provider:
        provider.pool.wait()
        engine = create_engine_from_provider(provider)

        def timed(contender: sa.Engine) -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                with contender.connect() as conn:
                    conn.execute(QUERY).fetchone()
            return time.perf_counter() - start

        contenders = {"theirs": lambda: timed(own), "ours": lambda: timed(engine)}
        alternate(contenders, 10)  # statements prepared, caches warm
        found = alternate(contenders, ROUNDS)
    own.dispose()
    return found


async def _asynchronous(plain: Plain) -> dict[str, list[float]]:
    own = create_async_engine(sa.make_url(plain.url).set(drivername="postgresql+psycopg"), pool_size=4)
    async with AsyncPostgresProvider(plain.config(pool=SIZES)) as provider:
        await provider.pool.wait()
        engine = create_async_engine_from_provider(provider)

        async def theirs() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                async with own.connect() as conn:
                    (await conn.execute(QUERY)).fetchone()
            return time.perf_counter() - start

        async def ours() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                async with engine.connect() as conn:
                    (await conn.execute(QUERY)).fetchone()
            return time.perf_counter() - start

        contenders = {"theirs": theirs, "ours": ours}
        await alternate_async(contenders, 10)
        found = await alternate_async(contenders, ROUNDS)
    await own.dispose()
    return found


def run() -> list[Row]:
    """Blocking, then asynchronous."""
    with plain_server() as plain:
        gc.disable()  # a collection would fall on whoever is running
        try:
            blocking = lower_decile(_blocking(plain), scale=1e6 / CALLS)
            gc.collect()
            asynchronous = lower_decile(asyncio.run(_asynchronous(plain)), scale=1e6 / CALLS)
        finally:
            gc.enable()
    what, against = "SELECT 1 through SQLAlchemy", "its own engine"
    return [
        Row(f"{what}, sync", blocking["ours"], "us", blocking["theirs"], against, BAR),
        Row(f"{what}, async", asynchronous["ours"], "us", asynchronous["theirs"], against),
    ]
