"""Verification of signatures: what botocore signs holds, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st

from soa_db.local.sigv4 import Fault, Keys, Scope, SignedRequest, verify_presigned, verify_request

KEY, SECRET = "AKIAXXXXXXXXXXXXXXXX", "secret/with+signs"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def lookup(token: str | None = None) -> Callable[[str], Keys | None]:
    """One key is known."""
    return lambda key: Keys(SECRET, token) if key == KEY else None


def signed(body: bytes = b"{}", token: str | None = None, headers: dict[str, str] | None = None) -> SignedRequest:
    """A request signed by botocore at NOW."""
    request = AWSRequest("POST", "http://localhost:1234/", headers=headers or {}, data=body)
    with mock.patch.object(auth, "get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        auth.SigV4Auth(Credentials(KEY, SECRET, token), "ssm", "us-west-2").add_auth(request)
    prepared = request.prepare()
    found = {str(name).lower(): _text(value) for name, value in prepared.headers.items()}
    found.setdefault("host", "localhost:1234")
    return SignedRequest("POST", "/", "", found, body)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def presigned(user: str = "chat_app", token: str | None = None, expires: int = 900, host: str = "db:5432") -> str:
    """An RDS token, made as boto3 makes it."""
    request = AWSRequest("GET", f"https://{host}/", params={"Action": "connect", "DBUser": user})
    with mock.patch.object(auth, "get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        auth.SigV4QueryAuth(Credentials(KEY, SECRET, token), "rds-db", "us-west-2", expires=expires).add_auth(request)
    return str(request.url).removeprefix("https://")


def check(
    text: str, *, user: str = "chat_app", token: str | None = None, later: float = 0, host: str = "db:5432"
) -> Scope:
    """Verify a token for db:5432."""
    now = NOW.timestamp() + later
    expected = {"Action": "connect", "DBUser": user}
    return verify_presigned(text, host=host, lookup=lookup(token), now=now, expected=expected)


@given(
    body=st.binary(max_size=50),
    token=st.none() | st.text("abc/+=", min_size=1, max_size=20),
    header=st.text("ab  c", max_size=8),
)
@example(body=b"", token=None, header="  a   b ")
def test_what_botocore_signs_holds(body: bytes, token: str | None, header: str) -> None:
    """Any body, any headers, with and without a session token."""
    request = signed(body, token=token, headers={"X-Amz-Target": "AmazonSSM.GetParameter", "X-Extra": header})
    scope = verify_request(request, lookup(token), NOW.timestamp())
    assert scope == Scope(KEY, "20260301", "us-west-2", "ssm")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda _: {"body": b"{} "}, "signature"),
        (lambda _: {"method": "GET"}, "signature"),
        (lambda _: {"path": "/x"}, "signature"),
        (lambda _: {"query": "a=b"}, "signature"),
        (lambda r: {"headers": {**r.headers, "host": "other"}}, "signature"),
        (lambda r: {"headers": {**r.headers, "x-amz-target": "Other"}}, "signature"),
        (lambda r: {"headers": {**r.headers, "x-amz-security-token": "t"}}, "token"),
        (lambda r: {"headers": {**r.headers, "authorization": ""}}, "malformed"),
        (lambda r: {"headers": {**r.headers, "authorization": r.headers["authorization"].replace("host;", "")}},
         "malformed"),
        (lambda r: {"headers": {**r.headers, "authorization": r.headers["authorization"].replace(KEY, "A" * 20)}},
         "unknown key"),
        (lambda r: {"headers": {**r.headers, "authorization": r.headers["authorization"].replace("/ssm/", "/s m/")}},
         "malformed"),
        (lambda r: {"headers": {**r.headers, "authorization": r.headers["authorization"].replace("0301", "0302")}},
         "malformed"),
        (lambda r: {"headers": {**r.headers, "x-amz-date": "20260301"}}, "signature"),
    ],
)  # fmt: skip
def test_any_change_breaks_it(change: Callable[[SignedRequest], dict[str, object]], kind: str) -> None:
    """Body, method, path, query, signed headers, key, token, scope."""
    request = signed(headers={"X-Amz-Target": "AmazonSSM.GetParameter"})
    parts = {name: getattr(request, name) for name in ("method", "path", "query", "headers", "body")}
    with pytest.raises(Fault) as caught:
        verify_request(SignedRequest(**{**parts, **change(request)}), lookup(), NOW.timestamp())
    assert caught.value.kind == kind


@pytest.mark.parametrize("off", [301, -301])
def test_a_request_five_minutes_off_is_refused(off: int) -> None:
    """Either way; just within is fine."""
    with pytest.raises(Fault) as caught:
        verify_request(signed(), lookup(), NOW.timestamp() + off)
    assert caught.value.kind == "clock"
    assert verify_request(signed(), lookup(), NOW.timestamp() + off * 299 / 301).access_key == KEY


@given(user=st.text("a_'%&=+ é", min_size=1, max_size=10), token=st.none() | st.text("aé/+=&", min_size=1))
def test_a_token_holds_for_its_user(user: str, token: str | None) -> None:
    """Whatever characters the name holds."""
    assert check(presigned(user, token), user=user, token=token).service == "rds-db"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (lambda: presigned(host="db:5433"), "malformed"),
        (lambda: presigned(user="other"), "malformed"),
        (lambda: presigned(token="t"), "token"),
        (lambda: presigned().replace("connect", "Connect"), "malformed"),
        (lambda: presigned() + "&DBUser=chat_app", "malformed"),
        (lambda: presigned().replace("X-Amz-Expires=900", "X-Amz-Expires=901"), "signature"),
        (lambda: presigned() + "&X-Amz-More=1", "signature"),
        (lambda: presigned().replace("SignedHeaders=host", "SignedHeaders=host%3Bx"), "malformed"),
        (lambda: presigned().replace(KEY, "B" * 20), "unknown key"),
        (lambda: presigned().replace("HMAC-SHA256", "HMAC-SHA1"), "malformed"),
        (lambda: presigned().split("&X-Amz-Signature")[0], "signature"),
        (lambda: presigned().replace("/?", "?"), "malformed"),
        (lambda: "password", "malformed"),
        (lambda: "", "malformed"),
    ],
)
def test_a_token_for_something_else_does_not(text: Callable[[], str], kind: str) -> None:
    """The reason is told to our log, by kind."""
    with pytest.raises(Fault) as caught:
        check(text())
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("expires", "later", "holds"),
    [(900, 0, True), (900, 899, True), (900, 900, False), (90_000, 900, False), (60, 60, False), (60, 59, True),
     (900, -299, True), (900, -301, False)],
)  # fmt: skip
def test_a_token_lives_fifteen_minutes_at_most(expires: int, later: float, holds: bool) -> None:
    """Less if it says so; not before its time."""
    if holds:
        assert check(presigned(expires=expires), later=later).access_key == KEY
        return
    with pytest.raises(Fault) as caught:
        check(presigned(expires=expires), later=later)
    assert caught.value.kind == ("clock" if later < 0 else "expired")


@given(st.text() | st.text(max_size=20).map(lambda text: presigned().replace("900", text)))
def test_no_text_breaks_the_verification(text: str) -> None:
    """Garbage is refused, never a crash."""
    with suppress(Fault):
        check(text)


def test_the_secret_key_is_in_no_repr() -> None:
    """Keys end up in tracebacks."""
    assert SECRET not in repr(Keys(SECRET, "token"))
