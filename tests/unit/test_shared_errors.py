"""An error that many wait for is each one's own, whatever its class."""

from __future__ import annotations

import asyncio
import errno
import traceback

import pytest

from soa_db._runtime import _async, _sync


class Formatted(Exception):
    """Made from another value than it hands on."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Keywords(Exception):
    """Made from keywords only."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class OfTheSystem(OSError):
    """Has a state that is not in its attributes."""

    def __init__(self, code: int) -> None:
        super().__init__(code, "away")


def _caused() -> Exception:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise Formatted(7) from error
    except Formatted as error:
        error.add_note("noted")
        return error


ERRORS = [
    _caused(),
    ValueError("a", 1),
    OSError(errno.ENOENT, "away", "file"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    ExceptionGroup("two", [ValueError(1), KeyError(2)]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_every_waiter_gets_an_equal_error_of_its_own(error: Exception) -> None:
    """Same class, text, cause and notes; a traceback that does not grow."""
    shared: _async.SharedCall[None] = _async.SharedCall()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    found = await asyncio.gather(*(shared.run("key", fail) for _ in range(30)), return_exceptions=True)
    assert len({id(one) for one in found}) == 30
    for one in found:
        assert isinstance(one, Exception)
        assert one is not error
        assert (type(one), str(one), one.args) == (type(error), str(error), error.args)
        assert one.__dict__ == error.__dict__
        assert one.__cause__ is error.__cause__
        assert one.__suppress_context__ == error.__suppress_context__
        assert len(list(traceback.walk_tb(one.__traceback__))) < 8


@pytest.mark.parametrize("error", [Keywords(code=7), OfTheSystem(errno.ENOENT)], ids=lambda error: type(error).__name__)
def test_a_class_that_allows_no_copy_is_raised_as_it_is(error: Exception) -> None:
    """Better the one object than another error."""
    shared: _sync.SharedCall[None] = _sync.SharedCall()

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        shared.run("key", fail)
    assert caught.value is error
