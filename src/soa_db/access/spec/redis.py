"""The ``redis`` part of a spec, and the rules within it.

A pattern is Redis's own (https://redis.io/docs/latest/commands/keys/): ``*``, ``?``, ``[abc]``, ``\\`` before one
of them taken as it is. It must name what it is about before its first wildcard (``iam-api:*``, not ``*:sessions``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, StrictBool, model_validator

from soa_db.access.spec.faults import Fault, refuse
from soa_db.access.spec.fields import SpecModel
from soa_db.access.spec.postgres_rules import repeated

__all__ = ["RedisSpec", "patterns_overlap"]


def _pattern(value: str) -> str:
    # An ACL rule ends at a blank: what stands after one would be a rule of its own.
    if any(char.isspace() or not char.isprintable() for char in value):
        raise ValueError("a pattern holds no blanks or control characters")
    if len(value) > 512:
        raise ValueError("a pattern is at most 512 characters long")
    tokens = _tokens(value)
    first = next((index for index, token in enumerate(tokens) if token is None or token == _ANY_RUN), len(tokens))
    if not value or (first < len(tokens) and ":" not in tokens[:first]):
        raise ValueError("a pattern starts with whose keys they are, up to a colon, as in `iam-api:*`")
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]


class RedisSpec(SpecModel):
    """What the service has on Redis."""

    keys: tuple[Pattern, ...] = ()
    """Key patterns it reads and writes; `{service}:*` when left out."""
    read_only_keys: tuple[Pattern, ...] = ()
    """Key patterns it only reads."""
    channels: tuple[Pattern, ...] = ()
    """Channel patterns it publishes and subscribes to; `{service}:*` when left out."""
    profile: Literal["app", "readonly", "queue"] = "app"
    """What kind of commands it uses."""
    scan: StrictBool = False
    """True lets clear_by_prefix work; key names of others can then be listed."""

    @model_validator(mode="after")
    def _rules(self) -> RedisSpec:
        refuse(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        for name in ("keys", "read_only_keys", "channels"):
            patterns = getattr(self, name)
            yield from repeated(patterns, (name,), "the pattern")
            if name in self.model_fields_set and not patterns:
                yield Fault((name,), "the list is empty: leave it out for the default", at_key=True)
        for index, pattern in enumerate(self.read_only_keys):
            if any(patterns_overlap(pattern, key) for key in self.keys):
                yield Fault(("read_only_keys", index), "these keys may be written by `keys` already")


# One token a character of the key: a literal, None for any one character, or any number of characters.
_ANY_RUN = ""
_Token = str | None


def _tokens(pattern: str) -> tuple[_Token, ...]:
    tokens: list[_Token] = []
    at = 0
    while at < len(pattern):
        match pattern[at]:
            case "*":
                if not tokens or tokens[-1] != _ANY_RUN:
                    tokens.append(_ANY_RUN)
            case "?":
                tokens.append(None)
            case "[":
                # A set is taken for any character: overlap is then said too often rather than too seldom.
                end = pattern.find("]", at + 1)
                at = end if end > 0 else len(pattern)
                tokens.append(None)
            case "\\" if at + 1 < len(pattern):
                at += 1
                tokens.append(pattern[at])
            case char:
                tokens.append(char)
        at += 1
    return tuple(tokens)


def patterns_overlap(one: str, other: str) -> bool:
    """Whether some key matches both patterns."""
    left, right = _tokens(one), _tokens(other)
    # reachable[j]: the tokens of `left` read so far and right[:j] can stand for the same text.
    reachable = [True] + [False] * len(right)
    for j, token in enumerate(right):
        reachable[j + 1] = reachable[j] and token == _ANY_RUN
    for mine in left:
        row = [reachable[0] and mine == _ANY_RUN]
        for j, theirs in enumerate(right):
            if _ANY_RUN in (mine, theirs):
                met = reachable[j + 1] or row[j]
            else:
                met = reachable[j] and (mine is None or theirs is None or mine == theirs)
            row.append(met)
        reachable = row
    return reachable[-1]
