"""The primary of a set of three killed with -9 under 50 writing tasks, for our provider and bare pymongo.

Both with ``w: majority`` and ``retryWrites``. Times count from the kill; how long the election takes is part of them,
and the same for both but for chance. Afterwards the collection is read: an acknowledged write must be in it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pymongo import AsyncMongoClient

from bench.report import Row
from bench.servers import DATABASE, mongo_config, mongo_set
from bench.timing import order
from soa_db.mongo import AsyncMongoProvider

if TYPE_CHECKING:
    from soa_db.local.mongo_set import MongoReplicaSet

TASKS = 50
ROUNDS = 3
BEFORE, AFTER = 0.5, 6.0
CONTENDERS = ("provider", "pymongo")


@dataclass(frozen=True, slots=True)
class Recovery:
    """One election, as one client lived through it.

    Attributes:
        first: seconds from the kill to the first good write begun after it.
        all_back: seconds from then until every task had made one.
        errors: calls that failed.
        lost: acknowledged writes that are not there.
    """

    first: float
    all_back: float
    errors: int
    lost: int


async def _lived(client: AsyncMongoClient[dict[str, Any]], members: MongoReplicaSet, name: str) -> Recovery:
    rooms = client[DATABASE][name]
    acknowledged: set[int] = set()
    back: dict[int, float] = {}
    errors = 0
    killed = float("inf")
    stopped = False

    async def work(task: int) -> None:
        nonlocal errors
        turn = 0
        while not stopped:
            begun = time.monotonic()
            key, turn = task * 1_000_000 + turn, turn + 1
            try:
                await rooms.insert_one({"_id": key})
            except Exception:
                errors += 1
                continue
            acknowledged.add(key)
            if begun > killed:
                back.setdefault(task, time.monotonic() - killed)

    tasks = [asyncio.create_task(work(task)) for task in range(TASKS)]
    await asyncio.sleep(BEFORE)
    victim = members.primary()
    assert victim is not None
    victim.kill()
    killed = time.monotonic()
    while len(back) < TASKS and time.monotonic() < killed + AFTER:  # noqa: ASYNC110 - an event would wake at each write
        await asyncio.sleep(0.01)
    stopped = True
    await asyncio.gather(*tasks)
    victim.start()
    members.wait()
    found = set(await rooms.distinct("_id"))
    times = list(back.values()) if len(back) == TASKS else [*back.values(), AFTER]
    return Recovery(min(times), max(times), errors, len(acknowledged - found))


async def _one(contender: str, members: MongoReplicaSet, name: str) -> Recovery:
    if contender == "pymongo":
        bare: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            members.admin_url, w="majority", serverSelectionTimeoutMS=10_000
        )
        async with bare:
            await bare.admin.command("ping")
            return await _lived(bare, members, name)
    config = mongo_config(members, write_concern="majority", retry_writes=True)
    async with AsyncMongoProvider(config) as provider:
        return await _lived(provider.client, members, name)


def run() -> list[Row]:
    """Both in turn, several rounds; the median of the times, the worst of the counts."""
    found: dict[str, list[Recovery]] = {name: [] for name in CONTENDERS}
    with mongo_set() as members:
        for number in range(ROUNDS):
            for name in order(CONTENDERS, number):
                found[name].append(asyncio.run(_one(name, members, f"{name}_{number}")))

    def middle(name: str, figure: Callable[[Recovery], float]) -> float:
        return statistics.median(figure(recovery) for recovery in found[name])

    figures: dict[str, Callable[[Recovery], float]] = {
        "first good write after the kill": lambda r: r.first * 1e3,
        "all 50 tasks back": lambda r: r.all_back * 1e3,
    }
    rows = [
        Row(what, middle("provider", figure), "ms", middle("pymongo", figure), "bare pymongo")
        for what, figure in figures.items()
    ]
    for name in CONTENDERS:
        bar = 0 if name == "provider" else None
        worst = found[name]
        rows.append(Row(f"errors, {name}", max(r.errors for r in worst), "calls", bar=bar, bar_is="value"))
        rows.append(
            Row(f"acknowledged and lost, {name}", max(r.lost for r in worst), "writes", bar=bar, bar_is="value")
        )
    return rows
