"""Any value, as plain data that JSON can hold: bounded, without secrets, and without ever raising.

What comes out has only dicts with text keys, lists, text, finite numbers, booleans and None in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from soa_db.logging.keys import HIDDEN, VALUES, Decision, KeyRules
from soa_db.logging.look import LEAST, MOST, look_at_dict, look_at_list
from soa_db.logging.text import REDACTED, cut, encodable, masked
from soa_db.logging.values import is_sequence, members, shown

__all__ = ["NORMAL", "REDACTED", "TIGHT", "Bounds", "Redactor"]

# Objects like ``{"name": "DB_PASSWORD", "value": "…"}``: an ECS task's environment, the headers in a HAR file.
_NAMES = ("name", "key", "Name", "Key", "header", "field")
_LONGEST_KEY = 256
# `str` makes no text of an integer beyond 4,300 digits (sys.set_int_max_str_digits), and nobody reads half as many.
_LONGEST_INTEGER = 4096


_SIZED = frozenset({list, tuple})

KEEP, NAME, PERSON, REDACT, REDACT_TEXT, VALUE = (
    Decision.KEEP,
    Decision.NAME,
    Decision.PERSON,
    Decision.REDACT,
    Decision.REDACT_TEXT,
    Decision.VALUE,
)


OF_PERSON = (PERSON, REDACT_TEXT)  # a tuple: the hash of an enum's member is Python


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a record is shown.

    Attributes:
        text: characters of one text.
        items: members of one container.
        nodes: members of all containers of one value together.
        depth: containers within each other.
    """

    text: int
    items: int
    nodes: int
    depth: int


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
        self.put(fields.items(), into, bounds, None, False)

    def put(  # noqa: PLR0912  # one for each kind: a call each would double what a line costs
        self,
        pairs: Collection[tuple[object, object]],
        into: dict[str, object],
        bounds: Bounds,
        walk: _Walk | None,
        of_person: bool,
    ) -> None:
        """Put members into ``into``. This is where the time goes, so what most members are comes first, without a call.

        Args:
            pairs: keys and values, as many as there are or one more than are shown.
            into: where they go.
            bounds: how much of each is shown.
            walk: the walk that came here; None for the fields of a record.
            of_person: whether what is called ``name`` is somebody's.
        """
        known = self._known
        below = walk
        named = REDACT if of_person else KEEP
        longest = bounds.text
        more = len(pairs) > bounds.items
        key: str
        for name, value in islice(pairs, bounds.items) if more else pairs:
            decision = known.get(name)  # type: ignore[call-overload]  # keys of any kind: then it is not there
            if decision is None:
                key, decision = self._judged(name)
            else:
                key = name  # type: ignore[assignment]
            while key in into:
                key += "_"
            if decision is not KEEP:
                decision = named if decision is NAME else KEEP if decision is VALUE else decision
            kind = type(value)
            if kind is str and decision is KEEP:
                text: str = value  # type: ignore[assignment]
                if (
                    " " in text
                    or "=" in text
                    or ":" in text
                    or "'" in text
                    or len(text) > longest
                    or not text.isascii()
                ):
                    text = self.text(text, longest)
                into[key] = text
            elif value is None or kind is bool:
                into[key] = value
            elif decision is REDACT:
                into[key] = REDACTED
            elif (kind is int and LEAST < value < MOST) or (kind is float and value - value == 0):  # type: ignore[operator]
                into[key] = value
            else:
                # Members of members are counted, which a look does not do.
                seen: object = (
                    None
                    if walk is not None
                    else look_at_dict(value, decision, known, longest, self.text)  # type: ignore[arg-type]
                    if kind is dict
                    else look_at_list(value, decision, longest)  # type: ignore[arg-type]
                    if kind is list or kind is tuple
                    else None
                )
                if seen is None:
                    below = below or _Walk(self, bounds)
                    seen = below.value(value, decision)
                into[key] = seen
        if more:
            into["…"] = "there is more"

    def _judged(self, name: object) -> tuple[str, Decision]:
        key = self.key(name)
        return self.text(key), self.decide(key)

    def key(self, key: object) -> str:
        """``key`` as text, not too long; what it may give away is masked."""
        try:
            text = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
        except Exception:  # noqa: BLE001  # anybody's __str__
            text = f"[{type(key).__name__}]"
        return text if len(text) <= _LONGEST_KEY else f"{text[:_LONGEST_KEY]}…"

    def value(self, value: object, bounds: Bounds = NORMAL, decision: Decision = KEEP) -> object:
        """``value`` as plain data; ``decision`` is about the key it stands under."""
        return _Walk(self, bounds).value(value, decision)

    def text(self, text: str, longest: int = NORMAL.text) -> str:
        """``text`` masked, no longer than ``longest`` characters and a note, and fit for any encoding of Unicode."""
        if len(text) > longest:
            return f"{self.text(cut(text, longest), longest)}… ({len(text)} characters)"
        if "=" in text or ":" in text or "'" in text or " " in text:  # else there is nothing to be masked in it
            text = masked(text, self.decide)
        return text if text.isascii() else encodable(text)


class _Walk:
    """One walk through one value: what was met on the way down, and how much may still be shown."""

    __slots__ = ("_above", "_bounds", "_left", "_redactor")

    def __init__(self, redactor: Redactor, bounds: Bounds) -> None:
        self._redactor = redactor
        self._bounds = bounds
        self._left = bounds.nodes
        self._above: list[int] = []

    def value(self, value: object, decision: Decision) -> object:  # noqa: PLR0911  # one for each kind
        """``value``, under a key about which was decided; what its own code raises is told and not passed on.

        What is common comes first: the order is one of speed, and the kinds exclude each other.
        """
        kind = type(value)
        try:
            if decision is not REDACT:
                if kind is dict:
                    return self._mapping(value, value.items(), dict, decision)  # type: ignore[attr-defined]
                if kind is list or kind is tuple:
                    return self._sequence(value, decision)  # type: ignore[arg-type]
                if kind is str and decision is not REDACT_TEXT:
                    return self._redactor.text(value, self._bounds.text)  # type: ignore[arg-type]
            if value is None or kind is bool:
                return value
            if decision is REDACT:
                return REDACTED
            if isinstance(value, int | float):
                return _number(value)
            return self._of_any_kind(value, decision)
        except Exception as error:  # noqa: BLE001  # properties, iterators and __repr__ of anybody
            return f"[{kind.__name__}: {type(error).__name__} while it was read]"

    def _of_any_kind(self, value: object, decision: Decision) -> object:
        kind = type(value)
        if hasattr(kind, "get_secret_value"):  # pydantic's SecretStr and its kin
            return REDACTED
        text: str | None = None
        if isinstance(value, str):
            text = str.__str__(value)
        elif isinstance(value, bytes | bytearray | memoryview):
            text = bytes(value[: self._bounds.text + 1]).decode("utf-8", "backslashreplace")
        elif (pairs := members(value)) is not None:
            return self._mapping(value, pairs, kind, decision)
        elif is_sequence(value):
            return self._sequence(value, decision)  # type: ignore[arg-type]
        if decision is REDACT_TEXT:
            return REDACTED
        return self._redactor.text(shown(value) if text is None else text, self._bounds.text)

    def _mapping(self, value: object, pairs: Iterable[tuple[object, object]], kind: type, decision: Decision) -> object:
        """Members by their keys. Names are somebody's in ``user`` and the like, and in objects of a class named so."""
        above = self._above
        if self._left <= 0 or len(above) >= self._bounds.depth or id(value) in above:
            return self._refused(value)
        plain: dict[str, object] = {}
        above.append(id(value))
        try:
            if kind is not dict and self._redactor.decide(kind.__name__) in OF_PERSON:
                decision = PERSON
            found: Collection[tuple[object, object]]
            if kind is dict and VALUES.isdisjoint(value):  # type: ignore[arg-type]
                found = pairs  # type: ignore[assignment]  # a view of them
            else:
                found = self._named(list(islice(pairs, self._bounds.items + 1)))
            self._redactor.put(found, plain, self._bounds, self, decision in OF_PERSON)
        finally:
            above.pop()
        self._left -= len(plain)
        return plain

    def _named(self, pairs: list[tuple[object, object]]) -> list[tuple[object, object]]:
        """The members of an object; where they are a name whose value is redacted, and that value: so redacted."""
        for key, value in pairs[:8]:
            named = isinstance(key, str) and key in _NAMES and isinstance(value, str)
            if named and self._redactor.decide(str(value)) in HIDDEN:
                return [(name, REDACTED if name in VALUES else part) for name, part in pairs]
        return pairs

    def _sequence(self, values: Iterable[object], decision: Decision) -> object:
        """Members in their order. A pair of a name and a value (a header) goes by its name."""
        above = self._above
        if self._left <= 0 or len(above) >= self._bounds.depth or id(values) in above:
            return self._refused(values)
        room = self._bounds.items
        above.append(id(values))
        try:
            found = values if type(values) in _SIZED and len(values) <= room else list(islice(values, room + 1))  # type: ignore[arg-type]
            self._left -= len(found)  # type: ignore[arg-type]
            if len(found) == 2:  # type: ignore[arg-type]
                name, value = found
                if isinstance(name, str | bytes):
                    judged = self._redactor.decide(self._redactor.key(name))
                    if judged in HIDDEN:
                        return [self.value(name, KEEP), self.value(value, judged)]
            longest = self._bounds.text if decision is not REDACT_TEXT else -1
            plain: list[object] = []
            for value in found:
                if len(plain) == room:
                    plain.append("… there is more")
                elif type(value) is str and len(value) <= longest and value.isidentifier() and value.isascii():
                    plain.append(value)  # a word: the commonest member, and nothing is to be masked in it
                else:
                    plain.append(self.value(value, decision))
            return plain
        finally:
            above.pop()

    def _refused(self, value: object) -> str:
        """Instead of a container that was met on the way here, or when enough is shown."""
        return "[itself]" if id(value) in self._above else f"[{type(value).__name__}: there is more]"


def _number(number: float) -> object:
    """An integer or float without its class; as text where JSON has no such number or nobody could read it."""
    if isinstance(number, int):
        bits = number.bit_length()
        return int(number) if bits <= _LONGEST_INTEGER else f"[integer of {bits} bits]"
    return float(number) if number - number == 0 else repr(float(number))
