"""Small containers, which are seen to at a look, come out as those that are walked through."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soa_db.logging.keys import KeyRules
from soa_db.logging.redaction import NORMAL, REDACTED, TIGHT, Redactor

CANARY = "c4nary"


class Word(str):
    """Of a class of its own, which hides its value."""

    __slots__ = ()

    def get_secret_value(self) -> str:
        """As pydantic's."""
        return str(self)


class HostileKey:
    """Cannot be looked for once it is in a dict."""

    armed = False

    def __hash__(self) -> int:
        if self.armed:
            raise RuntimeError(CANARY)
        return 1


def field(value: object, key: str = "a", *, warm: bool = True, **rules: Any) -> Any:
    """How ``value`` comes out as a field of a record, whose keys were met before."""
    redactor = Redactor(KeyRules(**rules))
    for _ in range(2 if warm else 1):
        into: dict[str, Any] = {}
        redactor.fields({key: value}, into)
    json.dumps(into, allow_nan=False).encode("ascii")
    return into[key]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"size": 1, "ratio": 0.5, "on": True, "none": None, "word": "x"}, None),
        ({"email": CANARY, "id": 3}, {"email": REDACTED, "id": 3}),
        ({"email": None, "password": False}, None),
        ({"url": "a://u:c4nary@h", "text": "grüß"}, {"url": "a://u:***@h", "text": "grüß"}),
        ({"text": "half \ud800"}, {"text": "half \\ud800"}),
        ({"ratio": float("nan"), "big": 1 << 5000}, {"ratio": "nan", "big": "[integer of 5001 bits]"}),
        ({"name": "DB_PASSWORD", "value": CANARY}, {"name": "DB_PASSWORD", "value": REDACTED}),
        ({"value": CANARY, "key": "token"}, {"value": REDACTED, "key": "token"}),
        ({"value": 3, "key": "rows"}, None),
        ({"max_tokens": 100}, None),
        ({"tokens": CANARY}, {"tokens": REDACTED}),
        ({"http.method": "GET", "x-id": 3}, None),
        ({"a b": 1, "ключ": 2, 3: 4}, {"a b": 1, "ключ": 2, "3": 4}),
        ({Word("id"): 3}, {"id": 3}),
        ({"rows://u:c4nary@h": 1}, {"rows://u:***@h": 1}),
        ({"word": Word(CANARY)}, {"word": REDACTED}),
        ({"deep": {"deeper": {"password": CANARY}}}, {"deep": {"deeper": {"password": REDACTED}}}),
        (["chat", "v1", "rooms"], None),
        (("chat", "v1", "rooms"), ["chat", "v1", "rooms"]),
        (["chat", "a://u:c4nary@h", "v1"], ["chat", "a://u:***@h", "v1"]),
        (["chat", Word(CANARY), "v1"], ["chat", REDACTED, "v1"]),
        (["authorization", CANARY], ["authorization", REDACTED]),
        (["x" * NORMAL.text, "y", "z"], None),
        ([1, None, "x"], None),
        ({f"k{number}": number for number in range(17)}, None),
        (["x"] * 17, None),
        ({"said": "sent bearer c4nary123 to x"}, {"said": "sent bearer *** to x"}),
        ({"said": "-----BEGIN PRIVATE KEY-----c4nary"}, {"said": "-----BEGIN PRIVATE KEY-----***"}),
        ([], None),
        ({}, None),
    ],
)
def test_a_small_field_comes_out_as_it_would_deeper_down(value: object, shown: object) -> None:
    """The first time, when no key is known, and the next."""
    expected = value if shown is None else shown
    assert field(value, warm=False) == expected
    assert field(value) == expected
    assert field({"b": [value, 1, 2]}) == {"b": [expected, 1, 2]}
    assert CANARY not in str(field(value))


def test_names_in_persons_are_redacted_and_others_kept() -> None:
    """By the key of the field."""
    assert field({"name": CANARY, "id": 3}, "user") == {"name": REDACTED, "id": 3}
    assert field({"name": "chat", "id": 3}, "pool") == {"name": "chat", "id": 3}
    assert field(["a", "b", CANARY], "tokens") == [REDACTED] * 3


def test_what_was_logged_is_not_changed() -> None:
    """Members are looked at in a copy."""
    words = ["a", "b", "c"]
    value = {"email": CANARY, "url": "a://u:c4nary@h"}
    assert field(value)["email"] == REDACTED
    assert value == {"email": CANARY, "url": "a://u:c4nary@h"}
    assert field(words) == words
    assert field(words) is not words


def test_rules_for_values_win_only_where_nothing_is_named() -> None:
    """``keep`` is about the key ``value``; what stands beside it may still say that it is a secret."""
    named: Mapping[str, object] = {"name": "DB_PASSWORD", "value": CANARY}
    assert field(named, keep=["value"]) == {"name": "DB_PASSWORD", "value": REDACTED}
    assert field({"value": CANARY}, redact=["value"]) == {"value": REDACTED}
    assert field({"value": "x"}, keep=["value"], redact=["value"]) == {"value": "x"}


def test_keys_that_raise_are_told() -> None:
    """They do not cost the record."""
    key = HostileKey()
    value = {key: 1}
    key.armed = True
    assert field(value) == "[dict: RuntimeError while it was read]"


def test_bounds_hold_for_what_is_looked_at() -> None:
    """A text of a small object is cut as any other."""
    into: dict[str, Any] = {}
    Redactor(KeyRules()).fields({"a": {"b": "x" * 1000}, "c": ["x" * 1000] * 3}, into, TIGHT)
    assert into["a"]["b"].endswith("… (1000 characters)")
    assert into["c"][0].endswith("… (1000 characters)")


_MEMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(["a", "b=c"])
_KEYS = st.sampled_from(["a", "name", "value", "email", "tokens", "user", "a.b", "a b", "ключ"])
_SMALL = st.dictionaries(_KEYS, _MEMBERS, max_size=20) | st.lists(_MEMBERS | st.just("x"), max_size=20)


@given(st.sampled_from(["a", "user", "tokens"]), _SMALL)
def test_a_look_and_a_walk_agree(key: str, value: object) -> None:
    """Whatever the members are."""
    redactor = Redactor(KeyRules())
    redactor.fields({key: value}, {})
    looked: dict[str, Any] = {}
    redactor.fields({key: value}, looked)
    assert looked[key] == redactor.value(value, decision=redactor.decide(key))


def test_filters_of_the_handler_are_asked(tmp_path: Any) -> None:
    """The short way past them is taken only where there is none."""
    from soa_db.logging import JsonFormatter, LineHandler  # the rest needs none

    handler = LineHandler(log_file=tmp_path / "log")
    handler.setFormatter(JsonFormatter(attributes={}))
    record = logging.makeLogRecord({"msg": "said"})
    assert handler.handle(record)
    handler.addFilter(lambda _: False)
    assert not handler.handle(record)
    handler.close()
    assert (tmp_path / "log").read_text().count("said") == 1
