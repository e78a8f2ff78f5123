"""What passes a gate as it is, and which commands are logins."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soa_db.local.resp import Login, Requests, encode

words = st.binary(max_size=20)
commands = st.one_of(
    st.lists(words, min_size=1, max_size=4).map(tuple),
    st.tuples(st.sampled_from([b"AUTH", b"auth", b"Hello"]), words, words),
    st.tuples(st.just(b"HELLO"), st.just(b"3"), st.just(b"AUTH"), words, words),
)


def fed(stream: bytes, cuts: list[int]) -> list[bytes | Login]:
    """Feed a stream in pieces."""
    requests = Requests()
    found: list[bytes | Login] = []
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        found += requests.feed(stream[start:end])
    return found


@given(st.lists(commands, min_size=1, max_size=6), st.lists(st.integers(min_value=0, max_value=10_000), max_size=8))
def test_nothing_is_lost_or_changed_however_it_is_cut(sent: list[tuple[bytes, ...]], cuts: list[int]) -> None:
    """Logins come out whole, all else byte for byte, in order."""
    stream = b"".join(encode(command) for command in sent)
    found = fed(stream, cuts)
    assert b"".join(encode(item.words) if isinstance(item, Login) else item for item in found) == stream
    logins = [command for command in sent if command[0].upper() in {b"AUTH", b"HELLO"}]
    assert [item.words for item in found if isinstance(item, Login)] == logins


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0, max_value=200), max_size=4))
def test_what_is_not_the_protocol_is_the_servers_to_judge(garbage: bytes, cuts: list[int]) -> None:
    """It passes as far as it can be told what it is; nothing is made up."""
    found = fed(garbage, cuts)
    if not any(isinstance(item, Login) for item in found):
        assert garbage.startswith(b"".join(item for item in found if isinstance(item, bytes)))


def test_a_long_word_is_not_held_back() -> None:
    """Only logins wait until they are whole."""
    requests = Requests()
    begin = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nxxxx"
    assert b"".join(item for item in requests.feed(begin) if isinstance(item, bytes)) == begin
    assert requests.feed(b"x" * 999_996 + b"\r\n*1\r\n$4\r\nPI") == [b"x" * 999_996 + b"\r\n"]
    assert requests.feed(b"NG\r\n") == [b"*1\r\n$4\r\nPING\r\n"]


@pytest.mark.parametrize(
    "hostile",
    [
        # A login that never ends: neither many words nor a long one are waited for.
        b"*1000000\r\n$4\r\nAUTH\r\n" + b"$1\r\nx\r\n" * 50_000,
        b"*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$9999999999\r\n" + b"x" * 300_000,
        b"*" + b"9" * 30 + b"\r\n$5\r\nHELLO\r\n" + b"$1\r\nx\r\n" * 50_000,
    ],
)
def test_a_login_without_end_fills_no_memory(hostile: bytes) -> None:
    """It passes as it comes, in pieces of any size."""
    requests = Requests()
    passed = b"".join(
        item
        for start in range(0, len(hostile), 4096)
        for item in requests.feed(hostile[start : start + 4096])
        if isinstance(item, bytes)
    )
    assert passed == hostile


def test_a_password_that_is_too_long_is_not_taken_for_commands() -> None:
    """What is in it stays in it, and what comes after it is read as usual."""
    inside = encode((b"AUTH", b"u", b"p")) * 10_000
    long = encode((b"AUTH", b"u", inside))
    found = Requests().feed(long + encode((b"AUTH", b"u", b"q")))
    assert b"".join(item for item in found if isinstance(item, bytes)) == long
    assert [item.words for item in found if isinstance(item, Login)] == [(b"AUTH", b"u", b"q")]


@pytest.mark.parametrize(
    "garbage", [b"*x\r\n", b"*1\r\n:5\r\n", b"*2\r\n$3\r\nGET\r\n+x\r\n", b"*" + b"1" * 40, b"*-1\r\n"]
)
def test_after_garbage_everything_passes(garbage: bytes) -> None:
    """The server ends such a connection; the gate does not try to understand it again."""
    requests = Requests()
    auth = encode((b"AUTH", b"u", b"p"))
    assert b"".join(item for item in [*requests.feed(garbage), *requests.feed(auth)] if isinstance(item, bytes)) == (
        garbage + auth
    )


@pytest.mark.parametrize(
    ("login", "user", "secret"),
    [
        ((b"AUTH", b"u", b"p"), "u", b"p"),
        ((b"AUTH", b"p"), "", b""),
        ((b"AUTH",), "", b""),
        ((b"HELLO",), "", b""),
        ((b"HELLO", b"3"), "", b""),
        ((b"HELLO", b"3", b"auth", b"u", b"p", b"SETNAME", b"x"), "u", b"p"),
        ((b"HELLO", b"3", b"SETNAME", b"AUTH", b"AUTH", b"u", b"p"), "u", b"p"),
        ((b"HELLO", b"3", b"AUTH", b"u"), "", b""),
    ],
)
def test_who_wants_in(login: tuple[bytes, ...], user: str, secret: bytes) -> None:
    """In each of the forms there are; the secret can be exchanged and is in no repr."""
    found = Login(login)
    assert (found.user, found.secret) == (user, secret)
    if user:
        assert found.with_secret(b"other").words == tuple(b"other" if word == secret else word for word in login)
    assert "sesame" not in repr(Login((b"AUTH", b"u", b"sesame")))


def test_a_line_is_a_command_too() -> None:
    """As a human types it."""
    requests = Requests()
    (login,) = requests.feed(b"auth u p\r\n")
    assert isinstance(login, Login)
    assert login.words == (b"auth", b"u", b"p")
    assert requests.feed(b"PING\r\n\r\nGET ") == [b"PING\r\n\r\n"]
    assert requests.feed(b"a\n") == [b"GET a\n"]
