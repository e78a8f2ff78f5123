"""How a model says that several of its fields don't fit together: one validation error that carries them all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from soa_db.access.spec.document import Path

__all__ = ["RULES", "Fault", "nearest", "refuse", "suggestion"]

# The pydantic error type that carries faults.
RULES = "access_rules"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at ``path``, relative to the model that found it; ``at_key`` points at the key, not the value."""

    path: Path
    text: str
    at_key: bool = False


def refuse(faults: Iterable[Fault]) -> None:
    """Raise one error for all faults; nothing when there are none."""
    found = tuple(faults)
    if found:
        text = "; ".join(f"{'.'.join(map(str, fault.path))}: {fault.text}" for fault in found)
        raise PydanticCustomError(RULES, "{text}", {"text": text, "faults": found})


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, if any is near."""
    import difflib

    near = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return near[0] if near else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """`` (did you mean `x`?)``, or nothing when no known word is near."""
    near = nearest(word, known)
    return f" (did you mean `{near}`?)" if near else ""
