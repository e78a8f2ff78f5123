"""Any value becomes plain data without secrets, and nothing is raised."""

from __future__ import annotations

import argparse
import json
import uuid
from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from soa_db.logging.keys import KeyRules
from soa_db.logging.redaction import NORMAL, REDACTED, TIGHT, Redactor

CANARY = "c4nary"


def clean(value: object, **rules: Any) -> Any:
    """The value as plain data, that JSON can really hold."""
    found = Redactor(KeyRules(**rules)).value(value)
    json.dumps(found, allow_nan=False).encode("ascii")
    json.dumps(found, ensure_ascii=False).encode()
    return found


@dataclass
class Login:
    user: str
    password: str
    note: str = field(default=CANARY, repr=False)


class Account(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: int
    email: str
    key: SecretStr
    hidden: str = Field(default=CANARY, repr=False)


class Student(BaseModel):
    name: str
    grade: int


Pair = namedtuple("Pair", "token rows")  # noqa: PYI024  # what is tested is the untyped one


@attrs.define
class Attrs:
    token: str
    rows: int
    hidden: str = attrs.field(default=CANARY, repr=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [{"b": ({"dbPassword": CANARY},)}]}, {"a": [{"b": [{"dbPassword": REDACTED}]}]}),
        (Login("u", CANARY), {"user": "u", "password": REDACTED}),
        (Account(id=1, email=CANARY, key=SecretStr(CANARY)), {"id": 1, "email": REDACTED, "key": REDACTED}),
        (Account(id=1, email=CANARY, key=SecretStr("x"), token=CANARY), None),
        ([SecretStr(CANARY)], [REDACTED]),
        (Pair(CANARY, 3), {"token": REDACTED, "rows": 3}),
        (Attrs(CANARY, 3), {"token": REDACTED, "rows": 3}),
        (argparse.Namespace(api_key=CANARY, n=1), {"api_key": REDACTED, "n": 1}),
        (SimpleNamespace(email=CANARY), {"email": REDACTED}),
        (MappingProxyType({"cookie": CANARY}), {"cookie": REDACTED}),
        (OrderedDict(secret=CANARY), {"secret": REDACTED}),
        (UserDict({"secret": {"deep": CANARY}}), {"secret": REDACTED}),
        (deque([{"token": CANARY}]), [{"token": REDACTED}]),
        ({b"authorization": CANARY}, {"authorization": REDACTED}),
        ([(b"authorization", CANARY.encode()), (b"host", b"x")], [["authorization", REDACTED], ["host", "x"]]),
        ([{"name": "DB_PASSWORD", "value": CANARY}], [{"name": "DB_PASSWORD", "value": REDACTED}]),
        ([{"name": "REGION", "value": "us-west-2"}], [{"name": "REGION", "value": "us-west-2"}]),
        ({"user": {"name": CANARY, "id": 3}}, {"user": {"name": REDACTED, "id": 3}}),
        ({"students": [{"name": CANARY}]}, {"students": [{"name": REDACTED}]}),
        (Student(name=CANARY, grade=3), {"name": REDACTED, "grade": 3}),
        ({"pool": {"name": "chat"}}, {"pool": {"name": "chat"}}),
        ({"payload": {"anything": CANARY}, "input": [CANARY], "body": b"c4nary"}, None),
        ({"password": 1234, "pin": 0}, {"password": REDACTED, "pin": REDACTED}),
        (
            {"password": None, "has_token": True, "cookie": False},
            {"password": None, "has_token": True, "cookie": False},
        ),
        ({"max_tokens": 100, "rate_tokens": 1.5}, {"max_tokens": 100, "rate_tokens": 1.5}),
        ({"tokens": CANARY}, {"tokens": REDACTED}),
        ({"tokens": [CANARY, 3]}, {"tokens": [REDACTED, 3]}),
        ({"tokens": {"id": Path(CANARY)}, "ids": 3}, None),
        ({"tokens": b"c4nary"}, {"tokens": REDACTED}),
        ({"tokens": Path(CANARY)}, {"tokens": REDACTED}),
        ("see a://u:c4nary@h", "see a://u:***@h"),
        ("<User id=3 email='c4nary \\'x' birthDate=c4nary>", "<User id=3 email=*** birthDate=***"),
        ("user[email]=c4nary&token=c4nary, email=None", "user[email]=***&token=***, email=None"),
        ("pool_size=10 name=chat user=chat_app", "pool_size=10 name=chat user=chat_app"),
        ("GET /reset?email=c4nary&page=2&code=1", "GET /reset?email=***&page=2&code=1"),
        ({"postgres://u:c4nary@h": 1}, {"postgres://u:***@h": 1}),
        ("got {'email': 'c4nary', 'id': 3}", "got {'email': ***, 'id': 3}"),
        ('{"user": {"first_name": "c4nary two", "n": 1}}', '{"user": {"first_name": ***, "n": 1}}'),
        (r'{"text": "{\"dob\": \"c4nary\", \"n\": 1}"}', r'{"text": "{\"dob\": ***, \"n\": 1}"}'),
        ("{'dob': datetime.date(2001, 2, 3), 'n': 1}", "{'dob': ***, 'n': 1}"),
        ("Event(text='GET /?email=c4nary&n=1', id=3)", "Event(text='GET /?email=***&n=1', id=3)"),
        ("email='cut off c4nary", "email=***"),
        ("[type=string_type, input_value={'zip': 'c4nary'}, n=1]", "[type=string_type, input_value=***, n=1]"),
        ("DETAIL:  Key (email)=(c4nary@x) already exists.", "DETAIL:  Key (email)=*** already exists."),
        (
            "Key (school, lower((dob)::text))=(1, c4nary) already exists.",
            "Key (school, lower((dob)::text))=*** already exists.",
        ),
        ("Key (a)=(1) or Key (dob)=(c4nary\nKey (email)=(c4nary) x", "Key (a)=(1) or Key (dob)=***\nKey (email)=*** x"),
        ("Key (room_id)=(7) is not present in table", "Key (room_id)=(7) is not present in table"),
        ("DETAIL:  Failing row contains (1, c4nary, (a)).\nX: y", "DETAIL:  Failing row contains ***\nX: y"),
    ],
)
def test_secrets_are_redacted_wherever_they_stand(value: object, expected: object) -> None:
    """Containers, objects, pairs and text; what stands beside them stays."""
    found = clean(value)
    if expected is not None:
        assert found == expected
    else:
        expected = {"id": 1} if isinstance(value, Account) else {}
        assert expected.items() <= found.items()
    if "ids" not in str(value):
        assert CANARY not in str(found)


class Colour(Enum):
    RED = 1


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    YES = "yes"


@pytest.mark.parametrize(
    "piece",
    [
        "a=",
        "a",
        "=",
        "email='",
        'email="\\',
        "a.",
        "email=",
        "'a':",
        "\\",
        "\\'",
        "email=[",
        "(a)=(",
        "(",
        "'email': a(",
        "'",
    ],
)
def test_hostile_text_is_answered(piece: str) -> None:
    """The pattern does not backtrack without bound: a quadratic one would take minutes here."""
    Redactor(KeyRules()).text(f"= {piece * (200_000 // len(piece))})=(", 1_000_000)
    Redactor(KeyRules()).text(f"= ': {piece * (200_000 // len(piece))}", 1_000_000)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (timedelta(seconds=90), "0:01:30"),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (Decimal("1.50"), "1.50"),
        (Path("/a/b"), "/a/b"),
        (Number.ONE, 1),
        (Word.YES, "yes"),
        (Colour.RED, "<Colour.RED: 1>"),
        (1 << 70, 1 << 70),
        (10**6000, "[integer of 19932 bits]"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1.5, 1.5),
        (b"a\xff", "a\\xff"),
        (memoryview(b"abc"), "abc"),
        ("half \ud800 pair", "half \\ud800 pair"),
        ("gruß 🙂", "gruß 🙂"),
        ({1}, [1]),
        (range(3), [0, 1, 2]),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        ({"a": 1, b"a": 2}, {"a": 1, "a_": 2}),
        (ValueError("x"), "ValueError('x')"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_json_has_not_become_text(value: object, expected: object) -> None:
    """As a person would write them."""
    assert clean(value) == expected


class Hostile:
    """Raises wherever it is touched."""

    def __repr__(self) -> str:
        raise RuntimeError(CANARY)


class HostileMapping(UserDict[str, object]):
    def items(self) -> Any:
        raise RuntimeError(CANARY)


class EndlessMapping(UserDict[str, object]):
    def items(self) -> Any:
        def endless() -> Iterator[tuple[str, object]]:
            number = 0
            while True:
                yield f"k{number}", number
                number += 1

        return endless()


class HostileKey:
    def __str__(self) -> str:
        raise RuntimeError(CANARY)


def test_objects_that_raise_are_told_and_not_raised() -> None:
    """Their error's text is not ours to show either."""
    assert clean([Hostile(), 1]) == ["[Hostile: RuntimeError while it was read]", 1]
    assert clean({"a": HostileMapping()}) == {"a": "[HostileMapping: RuntimeError while it was read]"}
    assert clean({HostileKey(): 1}) == {"[HostileKey]": 1}


def test_cycles_and_depth_end() -> None:
    """What contains itself, and what is nested a thousand times."""
    one: list[object] = []
    one.append({"me": one, "twice": (shared := [1]), "again": shared})
    assert clean(one) == [{"me": "[itself]", "twice": [1], "again": [1]}]
    two: dict[str, object] = {}
    two["me"] = [two]
    assert clean(two) == {"me": ["[itself]"]}
    deep: dict[str, Any] = {"password": CANARY}
    for _ in range(5000):
        deep = {"a": deep}
    text = json.dumps(clean(deep))
    assert "there is more" in text
    assert CANARY not in text


def test_huge_values_are_cut() -> None:
    """In length, in members, and in all members together."""
    assert len(clean("x" * 1_000_000)) < NORMAL.text + 100
    assert clean("x" * 1_000_000).endswith("(1000000 characters)")
    assert len(clean(b"x" * 1_000_000)) < NORMAL.text + 100
    assert len(clean(list(range(100_000)))) == NORMAL.items + 1
    assert len(clean({f"k{n}": n for n in range(1000)})) == NORMAL.items + 1
    assert len(clean(EndlessMapping())) == NORMAL.items + 1
    wide = [[list(range(200)) for _ in range(200)] for _ in range(200)]
    assert len(json.dumps(clean(wide))) < 100_000
    assert next(iter(clean({"k" * 1000: 1}))).startswith("k" * 256 + "…")


def test_a_text_that_is_cut_gives_no_half_a_password_away() -> None:
    """The @ by which a password in a URL is known may be beyond the cut."""
    for secret in ("c4nary-c4nary-c4nary", "a@c4nary-c4nary"):
        text = "x" * (NORMAL.text - 26) + f" postgres://u:{secret}@h"
        assert CANARY[:4] not in clean(text)
        assert "postgres://" in clean(text)


def test_tight_bounds_show_less() -> None:
    """For a record that would not fit into a line."""
    found: Any = Redactor(KeyRules()).value([["x" * 10_000] * 100], TIGHT)
    assert len(json.dumps(found)) < 20_000


_KEYS = st.sampled_from(["a", "rows", "user", "tokens", "name", "key", "value", "x y", "ключ", ""]) | st.text(
    max_size=5
)
_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20)
_SECRET_KEYS = st.sampled_from(["password", "apiToken", "X-Api-Key", "first_name", "e-mail", "payload", "old cookie"])


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(_KEYS, inner, max_size=4)
        | st.builds(lambda key, value: {key: [CANARY, value]}, _SECRET_KEYS, inner)
        | st.builds(lambda key, value: (key, {"x": CANARY, "y": value}), _SECRET_KEYS, inner)
    )


@given(st.recursive(_PLAIN, _nested, max_leaves=30))
def test_nothing_under_a_secret_key_is_ever_shown(value: object) -> None:
    """Whatever lies around it, and whatever the value is, it comes out as JSON."""
    assert CANARY not in json.dumps(clean(value))
