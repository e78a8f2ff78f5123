"""From nothing to the first row in a new process, in dev and with IAM, against boto3 and psycopg by hand.

Best of several interleaved rounds, with compiled bytecode: what else the machine does can only lengthen one.
"""

from __future__ import annotations

from functools import partial

from bench.children import start_to_end
from bench.environment import provisioned
from bench.report import Row
from bench.timing import alternate

ROUNDS = 10
BARS = {"dev": 1.3, "mirror": 1.2}
TITLES = {"dev": "dev", "mirror": "IAM"}
WAYS = ("hand", "provider", "connect")


def run() -> list[Row]:
    """Every way in both environments."""
    contenders = {
        f"{way} {env}": partial(start_to_end, "bench.first_row", way, env, prints="(1,)")
        for env in BARS
        for way in WAYS
    }
    with provisioned():
        for contender in contenders.values():
            contender()  # writes the bytecode
        best = {name: min(times) * 1e3 for name, times in alternate(contenders, ROUNDS).items()}
    rows = []
    for env, bar in BARS.items():
        hand = best[f"hand {env}"]
        rows += [
            Row(f"cold start, {TITLES[env]}, provider", best[f"provider {env}"], "ms", hand, "boto3 and psycopg", bar),
            Row(f"cold start, {TITLES[env]}, connect()", best[f"connect {env}"], "ms", hand, "boto3 and psycopg"),
        ]
    return rows
