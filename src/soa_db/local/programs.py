"""A server's program: what it says of itself, and which of several to take."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from soa_db.errors import ConfigurationError

__all__ = ["Program", "first_program", "text"]


@dataclass(frozen=True, slots=True)
class Program:
    """One program.

    Attributes:
        path: where it is.
        product: what it is called, e.g. ``Redis`` or ``Valkey``.
        version: major and minor version, of the product itself (Valkey 9 still calls itself Redis 7.2 in INFO).
    """

    path: Path
    product: str
    version: tuple[int, int]


@lru_cache
def _inspect(path: Path, says: re.Pattern[str], product: str) -> Program | None:
    """What the program is; None when it is none that runs here and says so."""
    # os.access never raises: a folder on PATH may be unreadable for us.
    if not os.access(path, os.X_OK):
        return None
    try:
        run = subprocess.run(  # noqa: S603 (the program was looked for, or named by whoever runs us)
            [path, "--version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = says.search(run.stdout)
    if match is None:
        return None
    named = match.groupdict().get("product")
    return Program(path, named.capitalize() if named else product, (int(match["major"]), int(match["minor"])))


def first_program(
    explicit: str | Path | None,
    candidates: Iterable[Path],
    *,
    says: re.Pattern[str],
    product: str,
    oldest: tuple[int, int],
) -> Program | None:
    """The program given, else the first candidate that will do; None when none does.

    Args:
        explicit: the program given, if any.
        candidates: where to look else.
        says: what ``--version`` prints, with the groups ``major`` and ``minor``, and ``product`` where that differs.
        product: what is wanted.
        oldest: the oldest version that will do.

    Raises:
        ConfigurationError: the program given is none that runs, or too old.
    """
    if explicit:
        found = _inspect(Path(explicit).resolve(), says, product)
        if found is None:
            raise ConfigurationError(f"{explicit} is no {product} server that runs")
        if found.version < oldest:
            raise ConfigurationError(
                f"{explicit} is {found.product} {text(found.version)}; {text(oldest)} is the oldest that will do"
            )
        return found
    inspected = (_inspect(candidate, says, product) for candidate in candidates)
    return next((found for found in inspected if found is not None and found.version >= oldest), None)


def text(version: tuple[int, int]) -> str:
    """``7.2``."""
    return ".".join(map(str, version))
