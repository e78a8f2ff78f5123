"""Text as it may go to a terminal."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, keep: str = "\n\t") -> str:
    """Return ``text`` with control characters spelled out: names and messages must not drive the terminal.

    Args:
        text: what somebody else wrote.
        keep: control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)
