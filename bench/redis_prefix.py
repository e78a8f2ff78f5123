"""``clear_by_prefix`` over 100,000 keys among 1,000,000, against a loop of SCAN and UNLINK written by hand.

Memory is what the peak of the process grew by: a new process for each. Linux only, as the servers are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from bench.report import Row
from bench.servers import plain_redis
from bench.timing import order
from soa_db.config import RedisConfig
from soa_db.redis import RedisConnectionManager

if TYPE_CHECKING:
    from soa_db.local.redis import RedisServer

ALL, CLEARED = 1_000_000, 100_000
PREFIX = "bench:old:"
COUNT = 1000
ROUNDS = 5


def _fill(server: RedisServer) -> None:
    with server.admin() as client:
        # By the server itself: sending a million keys would take longer than all that is measured here.
        client.eval(
            "for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do redis.call('SET', KEYS[1] .. i, '{\"id\":1}') end",
            1,
            PREFIX,
            1,
            CLEARED,
        )
        missing = ALL - int(client.dbsize())
        for start in range(0, missing, 50_000):
            client.eval(
                "for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do redis.call('SET', KEYS[1] .. i, '{\"id\":1}') end",
                1,
                "bench:other:",
                start + 1,
                min(start + 50_000, missing),
            )


def _left(server: RedisServer) -> dict[str, float]:
    """How many keys with the prefix are still there, and how many others are not, as the server tells."""
    with server.admin() as client:
        left = sum(1 for _ in client.scan_iter(match=f"{PREFIX}*", count=10_000))
        return {"left": left, "taken": ALL - CLEARED - (int(client.dbsize()) - left)}


def _by_hand(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        count = cursor = 0
        while True:
            page = client.scan(cursor, match=f"{PREFIX}*", count=COUNT)
            cursor, names = page
            if names:
                count += int(client.unlink(*names))
            if cursor == 0:
                return count


def _ours(url: str) -> int:
    with RedisConnectionManager(RedisConfig.from_url(url, instance_name="bench")) as manager:
        return manager.clear_by_prefix(PREFIX)


def _peak() -> int:
    # Not getrusage: there a child begins with its parent's peak.
    status = Path("/proc/self/status").read_text("ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """Clear once: ``python -m bench.redis_prefix ours|hand``, the URL on standard input; print figures as JSON."""
    url = sys.stdin.readline().strip()
    before = _peak()
    start = time.perf_counter()
    count = {"ours": _ours, "hand": _by_hand}[sys.argv[1]](url)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "megabytes": (_peak() - before) / 1024, "count": count}))


def run() -> list[Row]:
    """Five rounds each, in turn; the best of the times and the worst of the rest."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "hand": []}
    with plain_redis() as server:
        for number in range(ROUNDS):
            for name in order(tuple(found), number):
                _fill(server)
                child = subprocess.run(
                    [sys.executable, "-m", "bench.redis_prefix", name],
                    input=server.admin_url,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                found[name].append({**json.loads(child.stdout), **_left(server)})
    best = {name: min(one["seconds"] for one in figures) for name, figures in found.items()}
    grown = {name: max(one["megabytes"] for one in figures) for name, figures in found.items()}
    ours = found["ours"]
    return [
        Row("clear 100,000 of 1,000,000 keys", best["ours"], "s", best["hand"], "SCAN and UNLINK by hand", 1.10),
        Row("memory on the way", grown["ours"], "MB", grown["hand"], "SCAN and UNLINK by hand"),
        Row("keys it left", max(one["left"] for one in ours), "keys", bar=0, bar_is="value"),
        Row("other keys it took", max(one["taken"] for one in ours), "keys", bar=0, bar_is="value"),
        Row("keys it counted wrongly", max(abs(CLEARED - one["count"]) for one in ours), "keys", bar=0, bar_is="value"),
    ]


if __name__ == "__main__":
    main()
