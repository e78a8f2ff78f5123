"""JSON values, times to live, keys and prefixes: the wire contract, as laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soa_db import ConfigurationError, ValueMalformed
from soa_db._core.redis import values
from soa_db._core.redis.values import decode, encode, encode_key, milliseconds, prefix_pattern, shown, sibling

CHARACTERS = st.characters(codec="utf-8")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(CHARACTERS),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(CHARACTERS), inner),
    max_leaves=10,
)


@given(JSON)
def test_any_json_value_comes_back(value: Any) -> None:
    """What is written is what is read."""
    assert decode(encode(value, b"k"), b"k") == value


def test_values_are_bare_compact_json() -> None:
    """As JSON.stringify writes them: no spaces, no escapes, no envelope."""
    assert encode({"a": [1, None, True, "é"]}, b"k") == '{"a":[1,null,true,"é"]}'.encode()


@given(st.dictionaries(st.none() | st.booleans() | st.integers() | st.floats() | st.text(CHARACTERS), JSON, min_size=1))
def test_an_object_is_written_exactly_if_all_its_keys_are_text(value: dict[Any, Any]) -> None:
    """Text that looks like a number is text."""
    if all(isinstance(name, str) for name in value):
        assert decode(encode([value], b"k"), b"k") == [value]
    else:
        with pytest.raises(ConfigurationError):
            encode([value], b"k")


@pytest.mark.parametrize("name", ["1", "-1.5", "true", "null", '"', '"1":', "\\"])
def test_text_that_looks_like_a_number_may_be_a_key(name: str) -> None:
    """It is what it is."""
    assert decode(encode({name: {name: name}}, b"k"), b"k") == {name: {name: name}}


class Opaque:
    """What JSON cannot hold."""


DEEP: list[Any] = []
DEEP.append(DEEP)


REFUSED: list[object] = [
    Opaque(),
    b"canary",
    math.nan,
    math.inf,
    -math.inf,
    [1, {"a": math.nan}],
    {1, 2},
    {(1, 2): 3},
    "\ud800canary",
    {"\ud800canary": 1},
    [10**5000],
    DEEP,
    # What Python's json would write as another value.
    {1: "canary"},
    {True: "canary"},
    {None: "canary"},
    {1.5: "canary"},
    {math.nan: "canary"},
    {"1": "a", 1: "canary"},
    [{"a": ({"b": {2: "canary"}},)}],
]


@pytest.mark.parametrize("value", REFUSED)
def test_what_json_cannot_hold_is_refused_without_being_quoted(value: object) -> None:
    """NaN is no JSON either: JSON.parse would fail on it. Nor is there a trace of it in the error's context."""
    with pytest.raises(ConfigurationError, match="the-key") as caught:
        encode(value, b"the-key")
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, 2**53 + 1, 1e308, 5e-324, -0.0, True, None, "\x00\u2028\U0001f600"]
)
def test_what_json_holds_comes_back_to_the_last_digit(value: object) -> None:
    """Integers beyond 64 bits too; a tuple comes back as a list."""
    assert repr(decode(encode(value, b"k"), b"k")) == repr(value)
    assert decode(encode((value, (1,)), b"k"), b"k") == [value, [1]]


def test_what_is_longer_than_redis_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server would end the connection, which looks like an outage. Keys and values; the limit is 512 MB."""
    assert values._LARGEST == 512 * 2**20
    monkeypatch.setattr(values, "_LARGEST", 10)
    assert encode("x" * 8, b"k") == b'"xxxxxxxx"'
    with pytest.raises(ConfigurationError, match="11 bytes long"):
        encode("x" * 9, b"k")
    assert encode_key(b"k" * 10) == b"k" * 10
    for key in (b"k" * 11, "\u00e9" * 6):
        with pytest.raises(ConfigurationError, match="too long"):
            encode_key(key)


@pytest.mark.parametrize(
    "text", [b"", b"canary", b"{'canary':1}", b"NaN", b"[1,", b"\xff", b"Infinity", b"[" * 100_000]
)
def test_what_is_not_json_names_the_key_and_never_the_value(text: bytes) -> None:
    """The value may be anything, a session of another service for one."""
    with pytest.raises(ValueMalformed, match="the-key") as caught:
        decode(text, b"the-key")
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("seconds", [0, -1, 0.0, -0.0001, math.nan, math.inf, -math.inf, 1e13, True, "5", None])
def test_a_time_that_is_none_is_refused(seconds: Any) -> None:
    """0 and less would delete the key at once; True would be one second."""
    with pytest.raises(ConfigurationError, match="ttl"):
        milliseconds(seconds)


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_a_fraction_is_rounded_up(seconds: float) -> None:
    """Never to nothing, never below what was asked."""
    px = milliseconds(seconds)
    assert px >= 1
    assert px - 1 < seconds * 1000 <= px


@given(prefix=st.binary(min_size=1, max_size=12), rest=st.binary(max_size=5), other=st.binary(max_size=12))
def test_a_prefix_is_taken_literally(prefix: bytes, rest: bytes, other: bytes) -> None:
    """As Redis matches: a backslash takes the next byte for itself, a star at the end takes the rest."""
    pattern = prefix_pattern(prefix)
    assert pattern.endswith(b"*")
    literal, at = bytearray(), 0
    while at < len(pattern) - 1:
        assert pattern[at : at + 1] not in {b"*", b"?", b"["}, "nothing special stands unescaped"
        at += pattern[at : at + 1] == b"\\"
        literal.append(pattern[at])
        at += 1
    assert bytes(literal) == prefix


@given(st.text(CHARACTERS) | st.binary())
def test_any_key_is_sent_as_it_is_and_shown_on_one_line(key: str | bytes) -> None:
    """Spaces, newlines, every byte."""
    name = encode_key(key)
    assert name == (key if isinstance(key, bytes) else key.encode())
    assert sibling(name, "refresh") == name + b"_refresh"
    assert len(shown(name).splitlines()) == 1
    assert len(shown(name)) <= 120


@pytest.mark.parametrize("key", ["\ud800", 5, None])
def test_what_is_no_key_is_refused(key: Any) -> None:
    """With a typed error."""
    with pytest.raises(ConfigurationError):
        encode_key(key)


@pytest.mark.parametrize("text", [b' [1, "a"]', b'[1, "a"]\n', b'\t\r [ 1,"a" ] '])
def test_blanks_around_a_value_are_json_too(text: bytes) -> None:
    """Other writers may put them there."""
    assert decode(text, b"k") == [1, "a"]


@pytest.mark.parametrize("text", [b"1 2", b"[1]x", b' {"a":1}}', b"", b" ", b"\xff"])
def test_more_or_less_than_one_value_is_malformed(text: bytes) -> None:
    """None is taken for what it begins with."""
    with pytest.raises(ValueMalformed):
        decode(text, b"k")
