"""How names that came from a server or a spec stand in sentences for people."""

from __future__ import annotations

import re

__all__ = ["printable", "shown"]

_PLAIN = re.compile(r"[\w$.@-]+")


def shown(name: str) -> str:
    """A name as it can stand in a sentence: quoted and escaped where it could be mistaken for something else."""
    if _PLAIN.fullmatch(name):
        return name
    escaped = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in name.replace('"', '""'))
    return f'"{escaped}"'


def printable(text: str) -> str:
    """Text from a server as it can be shown: one takes any bytes for a name, those that move a cursor too."""
    return text if text.isprintable() else ascii(text)
