"""Import times beyond the bare interpreter, each in new processes, best of several, interleaved."""

from __future__ import annotations

import subprocess
import sys
import time

from bench.report import Row

ROUNDS = 15


def _seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    return time.perf_counter() - start


def _threads(module: str) -> int:
    code = f"import threading, {module}; print(threading.active_count() - 1)"
    return int(subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True).stdout)


def run() -> list[Row]:
    """Measure ``soa_db`` and ``soa_db.postgres`` against the bare interpreter and ``psycopg_pool``."""
    codes = {
        "bare": "pass",
        "root": "import soa_db",
        "postgres": "import soa_db.postgres",
        "pool": "import psycopg_pool",
    }
    best = dict.fromkeys(codes, float("inf"))
    for _ in range(ROUNDS):
        for name, code in codes.items():
            best[name] = min(best[name], _seconds(code))
    milli = {name: seconds * 1000 for name, seconds in best.items()}
    return [
        Row("import soa_db", milli["root"], "ms", milli["bare"], "bare interpreter", 20, "difference"),
        Row("import soa_db.postgres", milli["postgres"], "ms", milli["pool"], "psycopg_pool", 80, "difference"),
        Row("threads after import soa_db", _threads("soa_db"), "threads", bar=0, bar_is="value"),
        Row("threads after import soa_db.postgres", _threads("soa_db.postgres"), "threads", bar=0, bar_is="value"),
    ]
