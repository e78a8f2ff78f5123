"""Any value, as plain data that JSON can hold: bounded, without secrets, and without ever raising.

What comes out has only dicts with text keys, lists, text, finite numbers, booleans and None in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice

from soa_db._core.masking import MASK, mask_secrets
from soa_db.logging.keys import Decision, KeyRules
from soa_db.logging.values import is_sequence, members, shown

__all__ = ["NORMAL", "REDACTED", "TIGHT", "Bounds", "Redactor"]

REDACTED = "[redacted]"

# Objects like ``{"name": "DB_PASSWORD", "value": "…"}``: an ECS task's environment, the headers in a HAR file.
_NAMES = ("name", "key", "Name", "Key", "header", "field")
_VALUES = frozenset({"value", "Value", "values", "default"})
_PARAMETER = re.compile(r"([?&])([\w.%\[\]-]{1,64})=([^&\s#\"']*)")
_LONGEST_KEY = 256
# `str` makes no text of an integer beyond 4,300 digits (sys.set_int_max_str_digits), and nobody reads half as many.
_LONGEST_INTEGER = 4096


class Bounds:
    """How much of a record is shown.

    Args:
        text: characters of one text.
        items: members of one container.
        nodes: members of all containers of one value together.
        depth: containers within each other.
    """

    __slots__ = ("depth", "items", "nodes", "text")

    def __init__(self, *, text: int, items: int, nodes: int, depth: int) -> None:
        self.text = text
        self.items = items
        self.nodes = nodes
        self.depth = depth


NORMAL = Bounds(text=16_384, items=256, nodes=4096, depth=16)
TIGHT = Bounds(text=512, items=16, nodes=64, depth=4)


class Redactor:
    """Makes plain data of anything, by the rules for its keys.

    Args:
        rules: which keys are redacted.
    """

    def __init__(self, rules: KeyRules) -> None:
        self._known = rules.known
        self.decide = rules.decide

    def fields(self, fields: Mapping[str, object], into: dict[str, object], bounds: Bounds = NORMAL) -> None:
        """Put ``fields`` into ``into``; names that stand there already get a ``_`` behind them.

        Args:
            fields: what was logged beside the message.
            into: where they go; what is there is left as it is.
            bounds: how much of each is shown.
        """
        known = self._known
        longest = bounds.text
        for name, value in fields.items():
            key = name if type(name) is str and len(name) <= _LONGEST_KEY else self.key(name)
            decision = known.get(key)
            if decision is None:
                decision = self.decide(key)
            kind = type(value)
            if decision is Decision.KEEP and kind is str:
                clean: object = self.text(value, longest)  # type: ignore[arg-type]
            elif value is None or kind is bool or (kind is int and decision is Decision.KEEP and abs(value) < 1 << 63):  # type: ignore[arg-type]
                clean = value
            else:
                clean = _Walk(self, bounds).value(value, decision)
            if not key.isidentifier() or not key.isascii():
                key = self.text(key)
            while key in into:
                key += "_"
            into[key] = clean

    def key(self, key: object) -> str:
        """``key`` as text, not too long; what it may give away is masked."""
        try:
            text = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
        except Exception:  # noqa: BLE001  # anybody's __str__
            text = f"[{type(key).__name__}]"
        return text if len(text) <= _LONGEST_KEY else f"{text[:_LONGEST_KEY]}…"

    def value(self, value: object, bounds: Bounds = NORMAL) -> object:
        """``value`` as plain data."""
        return _Walk(self, bounds).value(value, Decision.KEEP)

    def text(self, text: str, longest: int = NORMAL.text) -> str:
        """``text`` masked, no longer than ``longest`` characters and a note, and fit for any encoding of Unicode."""
        if len(text) > longest:
            return f"{self.text(_cut(text, longest), longest)}… ({len(text)} characters)"
        text = mask_secrets(text)
        if "=" in text and ("?" in text or "&" in text):
            text = _PARAMETER.sub(self._parameter, text)
        return text if text.isascii() else _encodable(text)

    def _parameter(self, found: re.Match[str]) -> str:
        hidden = found[3] != MASK and self.decide(found[2]) in {Decision.REDACT, Decision.REDACT_TEXT}
        return f"{found[1]}{found[2]}={MASK}" if hidden else found[0]


class _Walk:
    """One walk through one value: what was met on the way down, and how much may still be shown."""

    __slots__ = ("_above", "_bounds", "_left", "_redactor")

    def __init__(self, redactor: Redactor, bounds: Bounds) -> None:
        self._redactor = redactor
        self._bounds = bounds
        self._left = bounds.nodes
        self._above: list[int] = []

    def value(self, value: object, decision: Decision) -> object:
        """``value``, under a key about which was decided; what its own code raises is told and not passed on."""
        try:
            return self._plain(value, decision)
        except Exception as error:  # noqa: BLE001  # properties, iterators and __repr__ of anybody
            return f"[{type(value).__name__}: {type(error).__name__} while it was read]"

    def _plain(self, value: object, decision: Decision) -> object:  # noqa: PLR0911  # one kind of value each
        match value:
            case None | bool():
                return value
            case _ if decision is Decision.REDACT or hasattr(type(value), "get_secret_value"):
                return REDACTED
            case int():
                number = int(value)
                bits = number.bit_length()
                return number if bits <= _LONGEST_INTEGER else f"[integer of {bits} bits]"
            case float():
                number = float(value)
                return number if number - number == 0 else repr(number)  # JSON has neither NaN nor infinities
            case str():
                return self._text(str.__str__(value)) if decision is not Decision.REDACT_TEXT else REDACTED
            case bytes() | bytearray() | memoryview():
                if decision is Decision.REDACT_TEXT:
                    return REDACTED
                return self._text(bytes(value[: self._bounds.text + 1]).decode("utf-8", "backslashreplace"))
        pairs = members(value)
        if pairs is None and not is_sequence(value):
            return self._text(shown(value)) if decision is not Decision.REDACT_TEXT else REDACTED
        if id(value) in self._above:
            return "[itself]"
        if len(self._above) >= self._bounds.depth:
            return f"[{type(value).__name__}: too deep]"
        self._above.append(id(value))
        try:
            if pairs is None:
                return self._sequence(value, decision)  # type: ignore[arg-type]
            return self._mapping(pairs, type(value), decision)
        finally:
            self._above.pop()

    def _mapping(self, pairs: Iterable[tuple[object, object]], kind: type, decision: Decision) -> dict[str, object]:
        """Members by their keys. Names are somebody's under ``user`` and the like, and in objects of a class named so."""
        redactor = self._redactor
        of_person = decision is Decision.PERSON or redactor.decide(kind.__name__) is Decision.PERSON
        found = list(islice(pairs, self._bounds.items + 1))
        named = self._named(found)
        plain: dict[str, object] = {}
        for number, (name, value) in enumerate(found):
            if number == self._bounds.items or self._left <= 0:
                plain["…"] = "there is more"
                break
            self._left -= 1
            key = redactor.key(name)
            judged = redactor.decide(key)
            if (of_person and key.lower() in {"name", "names"}) or (named and key in _VALUES):
                judged = Decision.REDACT
            key = redactor.text(key)
            while key in plain:
                key += "_"
            plain[key] = self.value(value, judged)
        return plain

    def _named(self, pairs: list[tuple[object, object]]) -> bool:
        """Whether this is a name and a value, and the name is one whose value is redacted."""
        if len(pairs) > 8 or not any(key in _VALUES for key, _ in pairs if isinstance(key, str)):
            return False
        return any(
            key in _NAMES and isinstance(value, str) and self._redactor.decide(value) in _HIDDEN for key, value in pairs
        )

    def _sequence(self, values: Iterable[object], decision: Decision) -> list[object]:
        """Members in their order. A pair of a name and a value (a header) goes by its name."""
        plain: list[object] = []
        found = list(islice(values, self._bounds.items + 1))
        if len(found) == 2 and isinstance(found[0], str | bytes) and decision is not Decision.REDACT:
            judged = self._redactor.decide(self._redactor.key(found[0]))
            if judged in _HIDDEN:
                self._left -= 2
                return [self.value(found[0], Decision.KEEP), self.value(found[1], judged)]
        for number, value in enumerate(found):
            if number == self._bounds.items or self._left <= 0:
                plain.append("… there is more")
                break
            self._left -= 1
            plain.append(self.value(value, decision))
        return plain

    def _text(self, text: str) -> str:
        return self._redactor.text(text, self._bounds.text)


_HIDDEN = frozenset({Decision.REDACT, Decision.REDACT_TEXT})


def _cut(text: str, longest: int) -> str:
    """The beginning of ``text``, ending before a URL that is cut in two: its password would not be known as one."""
    head = text[:longest]
    start = head.rfind("://")
    if start >= 0 and "@" not in head[start:] and not any(char.isspace() for char in head[start:]):
        head = head[: start + 3]
    return head


def _encodable(text: str) -> str:
    """``text`` with half surrogate pairs (bytes that were no UTF-8) spelled out."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
