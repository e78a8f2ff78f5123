"""What a planted fault is, and the databases of the test world."""

from __future__ import annotations

from dataclasses import dataclass

MAIN, PII, BETA, SHARED = "{tag}_alpha", "{tag}_pii", "{tag}_beta", "postgres"


@dataclass(frozen=True)
class Fault:
    """What is wrong, how to put it right, and what ``verify`` must say.

    ``says``: a pattern per violation that must be there; every violation must match one of ``says`` and ``also``
    (what follows from the fault by itself). ``everywhere``: on every supported version, since what is read for it is
    the version's own.
    """

    name: str
    database: str
    plant: str
    undo: str
    says: tuple[str, ...]
    also: tuple[str, ...] = ()
    version: int = 17
    everywhere: bool = False
