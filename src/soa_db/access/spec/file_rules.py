"""What a file must not hold, whatever its keys mean: another version, ARNs, parts with nothing in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from soa_db.access.spec.models import VERSIONS

if TYPE_CHECKING:
    from soa_db.access.spec.document import Document, Path, Problem

__all__ = ["file_problems", "unknown_version"]

_ARN = re.compile(r"\s*arn:aws[a-z-]*:", re.IGNORECASE)


def unknown_version(document: Document) -> Problem | None:
    """A version this package can't read: nothing else in the file can then be judged."""
    match document.data:
        case {"version": bool() | float() | str() | list() | dict() | None}:
            return document.problem(("version",), f"the version is a number: {_known()}")
        case {"version": version} if version not in VERSIONS:
            return document.problem(("version",), f"version {version} is not known: this soa-db reads {_known()}")
        case _:
            return None


def file_problems(document: Document) -> Iterator[Problem]:
    """What is refused before the models are asked."""
    if isinstance(document.data, dict):
        # Some mean the defaults by `postgres:` with nothing after it, some mean none.
        for part in ("postgres", "redis", "mongo"):
            if document.data.get(part, part) is None:
                text = f"`{part}` is empty: write `{part}: {{}}` for the defaults, or leave it out for none"
                yield document.problem((part,), text, at_key=True)
    for path, text in _texts(document.data, ()):
        if _ARN.match(text):
            yield document.problem(
                path, "an ARN has no place here: hosts, accounts, ARNs and passwords never stand in a spec"
            )


def _known() -> str:
    return ", ".join(map(str, VERSIONS))


def _texts(data: object, path: Path) -> Iterator[tuple[Path, str]]:
    match data:
        case str():
            yield path, data
        case list():
            for index, value in enumerate(data):
                yield from _texts(value, (*path, index))
        case dict():
            for key, value in data.items():
                yield from _texts(value, (*path, key))
