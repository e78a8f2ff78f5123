"""What Django's cache takes for a timeout, and what pickled values are; without a server."""

from __future__ import annotations

import pickle
import threading
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from soa_db import ConfigurationError, ValueMalformed
from soa_db._core.redis import values
from soa_db.django.serializers import PickleSerializer
from soa_db.django.timeouts import milliseconds_of

KEY = b"s:1:k"
HUGE, NEGATIVE = pytest.param(10**5000, id="huge"), pytest.param(-(10**5000), id="huge and negative")


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, None),
        (0, 0),
        (-0.0, 0),
        (-1, 0),
        (-1e300, 0),
        (float("-inf"), 0),
        pytest.param(-(10**5000), 0, id="huge and negative"),
        (1, 1000),
        (0.25, 250),
        (0.0001, 1),
        (5e-324, 1),
        (Decimal("0.0015"), 2),
        (Fraction(1, 3), 334),
        ("60", 60_000),
        (10**12, 10**15),
    ],
)
def test_a_timeout_is_milliseconds_rounded_up(timeout: Any, expected: int | None) -> None:
    """0 for what is over, None for what never is; whole numbers also as text, as Django's own back end has it."""
    assert milliseconds_of(timeout) == expected


@pytest.mark.parametrize(
    ("timeout", "said"),
    [
        (float("nan"), "number of seconds"),
        (Decimal("nan"), "number of seconds"),
        (Decimal("snan"), "number of seconds"),
        (float("inf"), "longer"),
        (Decimal("inf"), "longer"),
        (1e300, "longer"),
        (10**12 + 1, "longer"),
        pytest.param(10**5000, "longer", id="huge"),
        (True, "number of seconds"),
        (False, "number of seconds"),
        ("hunter2", "number of seconds"),
        ("0.5", "number of seconds"),
        ("9" * 5000, "number of seconds"),
        (b"5", "number of seconds"),
        ([], "number of seconds"),
        (1j, "number of seconds"),
        (timedelta(seconds=5), "number of seconds"),
        (object(), "number of seconds"),
    ],
)
def test_what_is_no_timeout_is_a_typed_error_that_quotes_nothing(timeout: Any, said: str) -> None:
    """Neither is what the server could not keep; the cause is not shown either, which would quote it."""
    with pytest.raises(ConfigurationError, match=said) as info:
        milliseconds_of(timeout)
    assert "hunter2" not in str(info.value)
    assert info.value.__context__ is None


@pytest.mark.parametrize("value", [0, -1, 2**63 - 1, -(2**63)])
def test_integers_the_server_can_count_in_are_their_digits(value: int) -> None:
    """So that `incr` works."""
    data = PickleSerializer().dumps(value, KEY)
    assert data == str(value).encode()
    assert PickleSerializer().loads(data, KEY) == value


@pytest.mark.parametrize("value", [True, False, 2**63, -(2**63) - 1, HUGE, NEGATIVE, 1.5, None, "1", b"1"])
def test_everything_else_comes_back_as_it_was(value: object) -> None:
    """Integers that Python would not even write as digits, and what would come back as an integer."""
    found = PickleSerializer().loads(PickleSerializer().dumps(value, KEY), KEY)
    assert found == value
    assert type(found) is type(value)


class Refuses:
    """It cannot be pickled, and says what it holds."""

    def __reduce__(self) -> str:
        raise RuntimeError("hunter2")


@pytest.mark.parametrize("value", [lambda: 1, threading.Lock(), Refuses(), [Refuses()]])
def test_what_cannot_be_pickled_is_a_typed_error_that_quotes_nothing(value: object) -> None:
    """It names the key and the type."""
    with pytest.raises(ConfigurationError, match=r"s:1:k.*cannot be pickled") as info:
        PickleSerializer().dumps(value, KEY)
    assert "hunter2" not in str(info.value)
    assert info.value.__context__ is None


def test_a_pickle_that_is_too_long_is_refused_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis would end the connection, which looks like an outage."""
    monkeypatch.setattr(values, "_LARGEST", 100)
    with pytest.raises(ConfigurationError, match="bytes long"):
        PickleSerializer().dumps("x" * 100, KEY)


@pytest.mark.parametrize("data", [b"", b"{}", b" 5 ", b"1_0", b"+5", b"9" * 5000, pickle.dumps(1)[:-1]])
def test_what_another_writes_is_malformed(data: bytes) -> None:
    """Also what Python would take for an integer, and digits without end."""
    with pytest.raises(ValueMalformed, match="s:1:k"):
        PickleSerializer().loads(data, KEY)
