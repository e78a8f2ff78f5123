"""A server killed with -9 and started again under 200 writing tasks on 20 connections, for four pools on that server.

Every pool and the prober that finds out when the server accepts again are processes of their own. Times count from
that moment. Afterwards the ledger is read: a write that was acknowledged must be in it.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from bench.children import Child
from bench.report import Row
from bench.servers import Plain, plain_server
from bench.timing import order
from bench.writers import CONNECTIONS, CONTENDERS, CREATE

# Seconds the server is down, a round each: pools that wait longer and longer between attempts are lucky or not.
OUTAGES = (0.5, 0.9, 1.3)
BEFORE, AFTER = 0.7, 2.5
PEERS = {"psycopg_pool": "psycopg_pool", "asyncpg": "asyncpg's pool", "sqlalchemy": "SQLAlchemy, pre-ping"}


@dataclass(frozen=True, slots=True)
class Recovery:
    """One crash, as one pool lived through it.

    Attributes:
        first: seconds from the moment the server accepted to the first good write.
        all_back: seconds from then until every task had written.
        errors: calls that failed.
        new: seconds a new pool took until every task had written, before the crash: what cannot be undercut.
        late: failed calls of those begun after the server accepted.
        lost: acknowledged writes that are not in the ledger.
    """

    first: float
    all_back: float
    errors: int
    new: float
    late: int
    lost: int


def _crash(plain: Plain, prober: Child, outage: float) -> tuple[float, float, float]:
    """Kill the server and start it again; when it was killed (from, to) and when it accepted."""
    before = time.monotonic()
    plain.server.kill()
    after = time.monotonic()
    time.sleep(outage)
    prober.say("watch")
    plain.server.start()
    return before, after, float(prober.hear())


def _one(contender: str, plain: Plain, prober: Child, outage: float) -> Recovery:
    with psycopg.connect(plain.conninfo, autocommit=True) as conn:
        conn.execute(CREATE)
        conn.execute("TRUNCATE ledger")
    writers = Child("bench.writers", contender)
    try:
        writers.say(json.dumps({"conninfo": plain.conninfo, "url": plain.url}))
        new = float(writers.hear())
        time.sleep(BEFORE)
        killed, dead, accepted = _crash(plain, prober, outage)
        time.sleep(AFTER)
        writers.say("stop")
        calls = json.loads(writers.hear())
    finally:
        writers.end()
    back: dict[int, float] = {}
    acknowledged: set[tuple[int, int]] = set()
    failed = [call for call in calls if call[4] is not None and call[3] >= killed]
    for task, number, _, ended, error in calls:
        if error is None:
            acknowledged.add((task, number))
            if ended > dead + outage:
                back.setdefault(task, ended)
    with psycopg.connect(plain.conninfo) as conn:
        query = "SELECT task, number FROM ledger WHERE contender = %s"
        found = {(task, number) for task, number in conn.execute(query, (contender,))}
    tasks = {call[0] for call in calls}
    missing = AFTER if len(back) < len(tasks) else 0.0
    return Recovery(
        first=max(0.0, min(back.values(), default=accepted + AFTER) - accepted),
        all_back=max(missing, max(back.values(), default=accepted + AFTER) - accepted),
        errors=len(failed),
        new=new,
        late=sum(1 for call in failed if call[2] > accepted),
        lost=len(acknowledged - found),
    )


def run() -> list[Row]:
    """All contenders in turn, several rounds; the median of the times, the worst of the counts."""
    found: dict[str, list[Recovery]] = {name: [] for name in CONTENDERS}
    with plain_server() as plain:
        prober = Child("bench.prober")
        try:
            prober.say(plain.conninfo)
            assert prober.hear() == "ready"
            for number, outage in enumerate(OUTAGES):
                for name in order(tuple(found), number):
                    found[name].append(_one(name, plain, prober, outage))
        finally:
            prober.end()

    def middle(name: str, figure: Callable[[Recovery], float]) -> float:
        return statistics.median(figure(recovery) for recovery in found[name])

    def worst(name: str, figure: Callable[[Recovery], int]) -> int:
        return max(figure(recovery) for recovery in found[name])

    rows = [
        Row("first good write", middle("provider", lambda r: r.first) * 1e3, "ms", bar=100, bar_is="value"),
        Row("all 200 tasks back", middle("provider", lambda r: r.all_back) * 1e3, "ms", bar=300, bar_is="value"),
        Row(
            "errors, at most the calls in flight",
            worst("provider", lambda r: r.errors),
            "calls",
            bar=CONNECTIONS,
            bar_is="value",
        ),
        Row("errors of calls begun later", worst("provider", lambda r: r.late), "calls", bar=0, bar_is="value"),
        Row("acknowledged writes lost", worst("provider", lambda r: r.lost), "writes", bar=0, bar_is="value"),
    ]
    figures: dict[str, tuple[str, Callable[[Recovery], float]]] = {
        "first good write": ("ms", lambda r: r.first * 1e3),
        "all 200 tasks back": ("ms", lambda r: r.all_back * 1e3),
        "errors": ("calls", lambda r: r.errors),
        "acknowledged writes lost": ("writes", lambda r: r.lost),
    }
    rows.append(
        Row(
            "all 200 tasks back",
            rows[1].ours,
            "ms",
            middle("psycopg_pool", lambda r: r.new) * 1e3,
            "a new psycopg_pool",
        )
    )
    for what, (unit, figure) in figures.items():
        rows += [
            Row(what, middle("provider", figure), unit, middle(name, figure), title) for name, title in PEERS.items()
        ]
    return rows
