"""Import times beyond the bare interpreter, each in new processes, best of several, interleaved."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.report import Row

ROUNDS = 15
# As installed: with compiled bytecode, which this variable would keep from being written.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
    return time.perf_counter() - start


def _threads(module: str) -> int:
    code = f"import threading, {module}; print(threading.active_count() - 1)"
    command = [sys.executable, "-c", code]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout)


def run() -> list[Row]:
    """Measure ``soa_db`` against the bare interpreter, its modules against the drivers they bring."""
    codes = {
        "bare": "pass",
        "root": "import soa_db",
        "postgres": "import soa_db.postgres",
        "pool": "import psycopg_pool",
        "redis": "import soa_db.redis",
        "driver": "import redis.asyncio",
    }
    for code in codes.values():
        _seconds(code)  # writes the bytecode
    best = dict.fromkeys(codes, float("inf"))
    for _ in range(ROUNDS):
        for name, code in codes.items():
            best[name] = min(best[name], _seconds(code))
    milli = {name: seconds * 1000 for name, seconds in best.items()}
    return [
        Row("import soa_db", milli["root"], "ms", milli["bare"], "bare interpreter", 20, "difference"),
        Row("import soa_db.postgres", milli["postgres"], "ms", milli["pool"], "psycopg_pool", 80, "difference"),
        Row("import soa_db.redis", milli["redis"], "ms", milli["driver"], "redis.asyncio", 80, "difference"),
        Row("threads after import soa_db", _threads("soa_db"), "threads", bar=0, bar_is="value"),
        Row("threads after import soa_db.postgres", _threads("soa_db.postgres"), "threads", bar=0, bar_is="value"),
        Row("threads after import soa_db.redis", _threads("soa_db.redis"), "threads", bar=0, bar_is="value"),
    ]
