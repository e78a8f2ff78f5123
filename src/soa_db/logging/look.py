"""Small containers of plain members, seen to at a look: most that are logged are such, and a walk takes twice as long.

What a look does not suffice for is None, and is then walked through. Members are looked at in a copy, which is made in
one step: other threads may write to the container.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from soa_db.logging.keys import Decision
from soa_db.logging.text import REDACTED

__all__ = ["LEAST", "MOST", "look_at_dict", "look_at_list"]

_FEW = 16
# Integers that need no counting of their bits.
LEAST, MOST = -(1 << 63), 1 << 63

_KEEP, _NAME, _PERSON, _REDACT, _REDACT_TEXT = (
    Decision.KEEP,
    Decision.NAME,
    Decision.PERSON,
    Decision.REDACT,
    Decision.REDACT_TEXT,
)


def look_at_dict(
    value: dict[Any, Any],
    decision: Decision,
    known: Mapping[str, Decision],
    longest: int,
    text: Callable[[str, int], str],
) -> dict[str, object] | None:
    """The members of ``value``: text, numbers, booleans and None, under keys that are known.

    Args:
        value: a dict, and of no other class.
        decision: about the key it stands under.
        known: what was decided about keys that are shown as they are.
        longest: characters that are shown of a text.
        text: masks a text, and cuts it to that length.
    """
    if len(value) > _FEW:
        return None
    plain = value.copy()
    try:
        for key, item in plain.items():
            judged = known.get(key)
            kind = type(item)
            if judged is _KEEP:
                if kind is str:
                    if (
                        " " in item
                        or "=" in item
                        or ":" in item
                        or "'" in item
                        or len(item) > longest
                        or not item.isascii()
                    ):
                        plain[key] = text(item, longest)
                elif not (
                    (kind is int and LEAST < item < MOST)
                    or item is None
                    or kind is bool
                    or (kind is float and item - item == 0)
                ):
                    return None
            elif judged is not _REDACT and (judged is not _NAME or decision is not _PERSON):
                return None
            elif item is not None and kind is not bool:
                plain[key] = REDACTED
    except Exception:  # noqa: BLE001  # __hash__ and __eq__ of anybody's keys
        return None
    return plain


def look_at_list(value: list[Any] | tuple[Any, ...], decision: Decision, longest: int) -> list[object] | None:
    """The members of ``value``: texts in which nothing is to be masked. Two may be a name and its value.

    Args:
        value: a list or tuple, and of no other class.
        decision: about the key it stands under.
        longest: characters that are shown of a text.
    """
    if len(value) > _FEW or decision is _REDACT_TEXT:
        return None
    words: list[Any] = list(value)
    if len(words) == 2:
        return None
    for word in words:
        if type(word) is not str:
            return None
    text = "".join(words)  # looked at once for all of them
    if " " in text or "=" in text or ":" in text or "'" in text or len(text) > longest or not text.isascii():
        return None
    return words
