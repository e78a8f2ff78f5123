"""ElastiCache's access strings: which it takes, and how it gives them back. Pure.

Source: "Role-Based Access Control (RBAC)", Amazon ElastiCache User Guide. Passwords and ``reset`` are refused; without
``on`` a user is off; ``-@all`` is put before the commands where they do not begin with all or nothing. The order of
commands is meaning and is kept.
"""

from __future__ import annotations

import re

__all__ = ["BadAccessString", "canonical"]

_WORD = re.compile(r"\([^()]*\)|[^\s()]+|[()]")
_KINDS = {
    "keys": re.compile(r"(~|%(R|W|RW|WR)~)\S*"),
    "channels": re.compile(r"&\S*"),
    "commands": re.compile(r"[+-]@?[A-Za-z0-9_.|-]+"),
    "selectors": re.compile(r"\(.+\)"),
}
_SYNONYMS = {"allkeys": "~*", "allchannels": "&*", "allcommands": "+@all", "nocommands": "-@all"}
_SECRETS = re.compile(r"[<>#!].*|nopass|resetpass|reset", re.IGNORECASE)


class BadAccessString(ValueError):
    """It is none; the text says why, and repeats nothing that may be a password."""


def canonical(text: str) -> str:
    """Return the string as ElastiCache stores it.

    Raises:
        BadAccessString: it holds a word that an access string may not hold.
    """
    state = "off"
    parts: dict[str, list[str]] = {"keys": [], "channels": [], "commands": [], "selectors": []}
    words = _WORD.findall(text)
    if not words:
        raise BadAccessString("The access string is empty.")
    for word in words:
        rule = _SYNONYMS.get(word.lower(), word)
        match rule.lower():
            case "on" | "off" as which:
                state = which
            case "resetkeys":
                parts["keys"].clear()
            case "resetchannels" as reset:
                parts["channels"] = [reset]
            case "+@all" | "-@all" as everything:
                # What stood before it no longer counts.
                parts["commands"] = [everything]
            case _:
                parts[_kind(rule)].append(rule)
    commands = parts["commands"]
    if not commands or commands[0] not in {"+@all", "-@all"}:
        commands.insert(0, "-@all")
    return " ".join([state, *(word for part in parts.values() for word in part)])


def _kind(rule: str) -> str:
    if _SECRETS.fullmatch(rule):
        raise BadAccessString("Passwords and resetting them are no part of an access string.")
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(rule):
            return kind
    raise BadAccessString(f"Invalid rule in the access string: {rule!r}.")
