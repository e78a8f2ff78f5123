"""``SELECT 1`` through an engine on a provider, against SQLAlchemy's own psycopg engine and pool, on one server.

Both have as many connections, which both pools hand out in turn (SQLAlchemy's would otherwise make one only, and one
process of the server answers faster than four by turns), with the same session timeout set, and both send a ROLLBACK
when a connection comes back. Rounds are short and many, and the ratio is the median of theirs: one that lasts longer is
often not at the pace of the next.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import AsyncExitStack, ExitStack

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from bench.report import Row
from bench.servers import Plain, plain_server
from bench.timing import alternate, alternate_async, lower_decile, median_ratio
from soa_db.config import PoolConfig, SessionConfig
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider
from soa_db.sqlalchemy import create_async_engine_from_provider, create_engine_from_provider

ROUNDS = 1000
CALLS = 10
SIZE = 4
SIZES = PoolConfig(min_size=SIZE, max_size=SIZE)
QUERY = sa.text("SELECT 1")
BAR = 1.1


def _own_url(plain: Plain) -> sa.URL:
    seconds = SessionConfig().idle_in_transaction_timeout
    options = f"-c idle_in_transaction_session_timeout={seconds:.0f}s"
    url = sa.make_url(plain.url).set(drivername="postgresql+psycopg")
    return url.update_query_dict({"options": options})


def _blocking(plain: Plain) -> dict[str, list[float]]:
    own = sa.create_engine(_own_url(plain), pool_size=SIZE)
    with ExitStack() as held:
        for _ in range(SIZE):
            held.enter_context(own.connect())
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
        alternate(contenders, 30)  # statements prepared, caches warm
        found = alternate(contenders, ROUNDS)
    own.dispose()
    return found


async def _asynchronous(plain: Plain) -> dict[str, list[float]]:
    own = create_async_engine(_own_url(plain), pool_size=SIZE)
    async with AsyncExitStack() as held:
        for _ in range(SIZE):
            await held.enter_async_context(own.connect())
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
        await alternate_async(contenders, 30)
        found = await alternate_async(contenders, ROUNDS)
    await own.dispose()
    return found


def run() -> list[Row]:
    """Blocking, then asynchronous."""
    with plain_server() as plain:
        gc.disable()  # a collection would fall on whoever is running
        try:
            blocking = _blocking(plain)
            gc.collect()
            asynchronous = asyncio.run(_asynchronous(plain))
        finally:
            gc.enable()
    return [_row("sync", blocking), _row("async", asynchronous)]


def _row(kind: str, found: dict[str, list[float]]) -> Row:
    figures = lower_decile(found, scale=1e6 / CALLS)
    return Row(
        f"SELECT 1 through SQLAlchemy, {kind}",
        figures["ours"],
        "us",
        figures["theirs"],
        "its own engine",
        BAR,
        of_pairs=median_ratio(found, "ours", "theirs"),
    )
