"""What an object consists of, without running more of its code than that needs and without knowing its library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from uuid import UUID

__all__ = ["is_sequence", "members", "shown"]

# These say what they are in `str`; of all else `repr` tells more.
_PLAIN = (Decimal, PurePath, UUID, timedelta)


def members(value: object) -> Iterable[tuple[object, object]] | None:  # noqa: PLR0911  # one for each kind
    """Names and values of a mapping, dataclass, named tuple, pydantic or attrs object; None of anything else.

    Fields that are kept out of the ``repr`` are kept out here too.
    """
    kind = type(value)
    if isinstance(value, Mapping):
        return value.items()
    if is_dataclass(kind):
        return ((field.name, getattr(value, field.name, None)) for field in fields(kind) if field.repr)
    if (declared := getattr(kind, "__pydantic_fields__", None)) is not None:
        own = {name: part for name, part in vars(value).items() if name not in declared or declared[name].repr}
        return {**own, **(getattr(value, "__pydantic_extra__", None) or {})}.items()
    if (declared := getattr(kind, "__attrs_attrs__", None)) is not None:
        return ((part.name, getattr(value, part.name, None)) for part in declared if part.repr)
    if hasattr(kind, "_asdict") and isinstance(value, Sequence):
        return value._asdict().items()  # type: ignore[attr-defined, no-any-return]
    if kind.__name__ in {"Namespace", "SimpleNamespace"}:  # what a command line was parsed to
        return vars(value).items()
    return None


def is_sequence(value: object) -> bool:
    """Whether ``value`` has members that reading does not use up."""
    return isinstance(value, Sequence | AbstractSet)


def shown(value: object) -> str:
    """``value`` as text: dates as ISO 8601, the rest as it shows itself."""
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, _PLAIN) else repr(value)
