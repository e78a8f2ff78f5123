"""Patterns that name tables, views, sequences or routines of a database.

Syntax: ``schema.name``, where ``*`` in the name stands for any number of characters, and ``()`` after it means
routines (functions and procedures, every overload) instead of relations (tables, partitioned tables, views,
materialized views, foreign tables, sequences)::

    public.rooms            one relation
    public.audit_*          every relation whose name starts with audit_
    public.*                every relation of the schema
    public.refresh_*()      every routine whose name starts with refresh_
    "my.schema"."odd*name"  double quotes take the text as it is; "" stands for one "

Names are exact: letters are not folded to lower case, quoted or not. The schema is never a pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["ObjectKind", "ObjectPattern"]

ObjectKind = Literal["relation", "routine"]

_QUOTED = r'"(?:[^"]|"")*"'
_PATTERN = re.compile(rf'(?P<schema>{_QUOTED}|[^".()]+)\.(?P<name>{_QUOTED}|[^".()]+)(?P<call>\(\))?', re.DOTALL)
_PLAIN = re.compile(r'[^\s".()*]+')


@dataclass(frozen=True, slots=True)
class ObjectPattern:
    """A parsed pattern.

    Attributes:
        schema: the schema's exact name.
        pieces: the literal texts between the wildcards of the name: ``("rooms",)`` is one name,
            ``("audit_", "")`` is ``audit_*``.
        kind: what it names.
    """

    schema: str
    pieces: tuple[str, ...]
    kind: ObjectKind = "relation"

    @classmethod
    def parse(cls, text: str) -> ObjectPattern:
        """Read the syntax above; ValueError says what is wrong with it."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(_why_not(text))
        schema, name = match["schema"], match["name"]
        for part in (schema, name):
            if part != part.strip():
                raise ValueError("a name that starts or ends with a space is put in double quotes")
        if schema.startswith('"'):
            schema = _unquote(schema)
        elif "*" in schema:
            raise ValueError("the schema is named exactly, without `*`: write one entry for each schema")
        pieces = (_unquote(name),) if name.startswith('"') else tuple(name.split("*"))
        if not schema or pieces == ("",):
            raise ValueError("the schema and the name must not be empty")
        return cls(schema, pieces, "routine" if match["call"] else "relation")

    @property
    def exact(self) -> str | None:
        """The name, when the pattern names one; None when it has a wildcard."""
        return self.pieces[0] if len(self.pieces) == 1 else None

    def matches(self, schema: str, name: str) -> bool:
        """Whether an object with this name is meant; the caller compares kinds."""
        return schema == self.schema and _matches(self.pieces, name)

    def covers(self, other: ObjectPattern) -> bool:
        """Whether everything ``other`` can name is named by this pattern too."""
        # A wildcard of the other side is a character no name can hold: only a wildcard of ours can take it in.
        return self.kind == other.kind and self.matches(other.schema, "\0".join(other.pieces))

    def __str__(self) -> str:
        name = _quote(self.pieces[0]) if len(self.pieces) == 1 else "*".join(self.pieces)
        return f"{_quote(self.schema)}.{name}{'()' if self.kind == 'routine' else ''}"


def _matches(pieces: tuple[str, ...], name: str) -> bool:
    # Leftmost search for each piece is enough when `*` is the only wildcard, and linear: no regular expression
    # that a hostile pattern could make run for ever.
    first, *middle = pieces
    if not middle:
        return name == first
    last = middle.pop()
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in middle:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _quote(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _unquote(text: str) -> str:
    return text[1:-1].replace('""', '"')


def _why_not(text: str) -> str:
    if re.search(r"\([^)]", text):
        return "a routine is written without arguments, `schema.name()`: every overload is meant"
    if "." not in text:
        return "the schema is missing: write `schema.name`, e.g. `public.rooms`"
    return "write `schema.name`, `schema.prefix_*` or `schema.name()`, with odd names in double quotes"
