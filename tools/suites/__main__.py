"""The frameworks' own test suites, run through soa-db on an embedded server: what ``make suites`` calls.

Not for every change: each takes minutes. With arguments only the suites named are run. Each suite is a module here with
a function ``run()`` that prints what it found and returns whether all is well. What takes longer than its module allows
is stopped, and has failed.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tools.suites.children import DidNotEnd, stop_in_order


def names() -> list[str]:
    """The suites: the public modules beside this one that have a ``run``."""
    here = Path(__file__).parent
    found = sorted(path.stem for path in here.glob("*_suite.py"))
    return [name.removesuffix("_suite") for name in found]


def main(arguments: list[str]) -> int:
    """Run the suites named, or all; the exit code is 1 when one of them is not as it should be, or does not end."""
    unknown = set(arguments) - set(names())
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    stop_in_order()
    good = True
    for name in arguments or names():
        print(f"== {name}", flush=True)
        try:
            good = importlib.import_module(f"tools.suites.{name}_suite").run() and good
        except DidNotEnd as error:
            good = False
            print(error, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
