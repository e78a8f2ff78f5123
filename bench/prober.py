"""When a server accepts again, found out from outside: ``python -m bench.prober``, a process of its own.

The first line of standard input is a conninfo. For each line after that it tries to log in, a millisecond apart, and
prints the monotonic time at which it first succeeded.
"""

from __future__ import annotations

import sys
import time

import psycopg


def main() -> None:
    """Answer until standard input ends."""
    conninfo = sys.stdin.readline().strip()
    print("ready", flush=True)
    for _ in sys.stdin:
        while True:
            try:
                psycopg.connect(conninfo).close()
            except psycopg.OperationalError:
                time.sleep(0.001)
            else:
                break
        print(time.monotonic(), flush=True)


if __name__ == "__main__":
    main()
