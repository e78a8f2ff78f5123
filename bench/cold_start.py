"""From nothing to the first row in a new process, in dev and with IAM, against boto3 and psycopg by hand.

Best of several interleaved rounds, with compiled bytecode: what else the machine does can only lengthen one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

from bench.environment import child_environment, provisioned
from bench.report import Row
from bench.timing import alternate

ROUNDS = 10
BARS = {"dev": 1.3, "mirror": 1.2}
TITLES = {"dev": "dev", "mirror": "IAM"}
WAYS = ("hand", "provider", "connect")


def _seconds(way: str, env: str) -> float:
    command = [sys.executable, "-m", "bench.first_row", way, env]
    start = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=child_environment(), timeout=60)
    seconds = time.perf_counter() - start
    if run.stdout.strip() != "(1,)":
        raise RuntimeError(f"{way} in {env} gave no row: {run.stderr[-2000:]}")
    return seconds


def run() -> list[Row]:
    """Every way in both environments."""
    contenders = {f"{way} {env}": partial(_seconds, way, env) for env in BARS for way in WAYS}
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
