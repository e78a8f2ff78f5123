"""find_one and insert_one of the MongoDB provider against bare pymongo, on one connection each to one server.

Rounds are short and interleaved; the figure is the lower decile of the rounds.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pymongo import AsyncMongoClient, MongoClient

from bench.report import Row
from bench.servers import DATABASE, mongo_config, plain_mongo
from bench.timing import alternate, alternate_async, lower_decile
from soa_db.mongo import AsyncMongoProvider, MongoProvider

if TYPE_CHECKING:
    from soa_db.local.mongo import MongoServer

ROUNDS = 250
CALLS = 40
BAR = 1.03
DOCUMENT = {"name": "Ada Lovelace", "roles": ["app", "ro"], "active": True, "seen": "2026-11-24T10:00:00Z"}


def _blocking(server: MongoServer) -> dict[str, list[float]]:
    def timed(call: Callable[[], object]) -> Callable[[], float]:
        def once() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            return time.perf_counter() - start

        return once

    bare: MongoClient[dict[str, Any]] = MongoClient(server.admin_url, retryWrites=False)
    with bare, MongoProvider(mongo_config(server)) as ours:
        ours.database["rooms"].insert_one({"_id": 1, **DOCUMENT})
        # The database anew at every call, as a user writes it.
        contenders = {
            "find_one": timed(lambda: ours.database["rooms"].find_one({"_id": 1})),
            "bare find_one": timed(lambda: bare[DATABASE]["rooms"].find_one({"_id": 1})),
            "insert_one": timed(lambda: ours.database["sync"].insert_one({**DOCUMENT})),
            "bare insert_one": timed(lambda: bare[DATABASE]["sync"].insert_one({**DOCUMENT})),
        }
        alternate(contenders, 10)  # connected, caches warm
        return alternate(contenders, ROUNDS)


async def _asynchronous(server: MongoServer) -> dict[str, list[float]]:
    def timed(call: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
        async def once() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                await call()
            return time.perf_counter() - start

        return once

    bare: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(server.admin_url, retryWrites=False)
    async with bare, AsyncMongoProvider(mongo_config(server)) as ours:
        contenders = {
            "find_one": timed(lambda: ours.database["rooms"].find_one({"_id": 1})),
            "bare find_one": timed(lambda: bare[DATABASE]["rooms"].find_one({"_id": 1})),
            "insert_one": timed(lambda: ours.database["async"].insert_one({**DOCUMENT})),
            "bare insert_one": timed(lambda: bare[DATABASE]["async"].insert_one({**DOCUMENT})),
        }
        await alternate_async(contenders, 10)
        return await alternate_async(contenders, ROUNDS)


def run() -> list[Row]:
    """Blocking, then asynchronous."""
    with plain_mongo() as server:
        gc.disable()  # a collection would fall on whoever is running
        try:
            found = {"sync": lower_decile(_blocking(server), scale=1e6 / CALLS)}
            gc.collect()
            found["async"] = lower_decile(asyncio.run(_asynchronous(server)), scale=1e6 / CALLS)
        finally:
            gc.enable()
    return [
        Row(f"{what}, {how}", times[what], "us", times[f"bare {what}"], "bare pymongo", BAR)
        for how, times in found.items()
        for what in ("find_one", "insert_one")
    ]
