"""``make bench [ONLY="name …"]``: run the benchmarks and print ratios; exit code 1 when a bar is missed."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from bench.report import Row, as_json, table

NAMES = (
    "imports",
    "provider",
    "telemetry",
    "credentials",
    "cold_start",
    "recovery",
    "provision",
    "redis_calls",
    "redis_cache",
    "redis_prefix",
    "redis_recovery",
    "mongo_calls",
    "mongo_recovery",
    "mongo_cold_start",
    "log_lines",
    "sqlalchemy_engine",
)


def main() -> int:
    """Run the named benchmarks one after the other: they must not disturb each other."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all unless given")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the rows as JSON")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for name in arguments.names or NAMES:
        print(f"\n== {name}", flush=True)
        found = importlib.import_module(f"bench.{name}").run()
        print(table(found), flush=True)
        rows += found
    if arguments.json:
        arguments.json.write_text(as_json(rows), "utf-8")
    missed = [row.what for row in rows if row.passed is False]
    if missed:
        print(f"\nmissed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
