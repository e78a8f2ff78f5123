"""A Redis killed with -9 and started again under 200 writing tasks on 20 connections, for our manager and redis-py.

As ``bench.recovery`` does for PostgreSQL: processes of their own, times from the moment the server accepted. The server
writes nothing to disk, so that no ledger is compared.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.children import Child
from bench.report import Row
from bench.servers import plain_redis
from bench.timing import order

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer

# Seconds the server is down, a round each.
OUTAGES = (0.5, 0.9, 1.3)
BEFORE, AFTER = 0.7, 3.0
CONTENDERS = ("manager", "cached_call", "redis_py")


@dataclass(frozen=True, slots=True)
class Recovery:
    """One crash, as one client lived through it.

    Attributes:
        first: seconds from the moment the server accepted to the first good call that it answered.
        all_back: seconds from then until every task had made one.
        errors: calls that failed.
        late: failed calls of those begun after the server accepted.
    """

    first: float
    all_back: float
    errors: int
    late: int


def _one(contender: str, server: RedisServer, prober: Child, outage: float) -> Recovery:
    writers = Child("bench.redis_writers", contender)
    try:
        writers.say(json.dumps({"url": server.admin_url}))
        writers.hear()
        time.sleep(BEFORE)
        killed = time.monotonic()
        server.kill()
        time.sleep(outage)
        prober.say("watch")
        server.start()
        accepted = float(prober.hear())
        time.sleep(AFTER)
        writers.say("stop")
        calls = json.loads(writers.hear())
    finally:
        writers.end()
    back: dict[int, float] = {}
    for task, _, _, ended, error in calls:
        if error is None and ended >= accepted:
            back.setdefault(task, ended - accepted)
    failed = [call for call in calls if call[4] is not None and call[3] >= killed]
    tasks = {call[0] for call in calls}
    return Recovery(
        first=min(back.values(), default=AFTER),
        all_back=max(back.values(), default=AFTER) if len(back) == len(tasks) else AFTER,
        errors=len(failed),
        late=sum(1 for call in failed if call[2] > accepted),
    )


def run() -> list[Row]:
    """All contenders in turn, several rounds; the median of the times, the worst of our counts."""
    found: dict[str, list[Recovery]] = {name: [] for name in CONTENDERS}
    with plain_redis() as server:
        prober = Child("bench.redis_writers", "prober")
        try:
            prober.say(server.admin_url)
            assert prober.hear() == "ready"
            for number, outage in enumerate(OUTAGES):
                for name in order(CONTENDERS, number):
                    found[name].append(_one(name, server, prober, outage))
        finally:
            prober.end()

    def middle(name: str, figure: Callable[[Recovery], float]) -> float:
        return statistics.median(figure(recovery) for recovery in found[name])

    figures: dict[str, tuple[str, Callable[[Recovery], float]]] = {
        "first good call": ("ms", lambda r: r.first * 1e3),
        "all 200 tasks back": ("ms", lambda r: r.all_back * 1e3),
        "errors": ("calls", lambda r: r.errors),
    }
    rows = [
        Row(f"{what}, set", middle("manager", figure), unit, middle("redis_py", figure), "redis-py")
        for what, (unit, figure) in figures.items()
    ]
    return [
        *rows,
        Row("first good call, set", rows[0].ours, "ms", bar=100, bar_is="value"),
        Row("all 200 tasks back, set", rows[1].ours, "ms", bar=300, bar_is="value"),
        Row("errors of set", max(r.errors for r in found["manager"]), "calls", bar=0, bar_is="value"),
        Row("errors of cached_call", max(r.errors for r in found["cached_call"]), "calls", bar=0, bar_is="value"),
        Row("of redis-py's, begun after it accepted", max(r.late for r in found["redis_py"]), "calls"),
    ]
