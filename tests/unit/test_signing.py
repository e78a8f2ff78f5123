"""Tokens of RDS and ElastiCache: pure, good for one host, port, user and time; checked against an independent SigV4."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from botocore.credentials import RefreshableCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from soa_db._aws.signing import TOKEN_SECONDS, elasticache_token, rds_token
from soa_db.credentials import AwsCredentials, Credentials
from soa_db.local.sigv4 import Fault, Keys, verify_presigned

NOW = 1_800_000_000.0
CREDENTIALS = AwsCredentials("AKIAIOSFODNN7EXAMPLE", "secret/key+canary", "token/canary==")


def token(**changes: object) -> str:
    """A token of the usual kind, with changes."""
    arguments = {"host": "db.example", "port": 5432, "user": "chat_api_app", "region": "us-west-2", "now": NOW}
    return rds_token(CREDENTIALS, **{**arguments, **changes})  # type: ignore[arg-type]  # a table of keywords


def verify(text: str, *, user: str = "chat_api_app", port: int = 5432, now: float = NOW) -> None:
    """Check it as the gate of the local environment does."""
    keys = Keys(CREDENTIALS.secret_key, CREDENTIALS.token)
    expected = {"Action": "connect", "DBUser": user}
    verify_presigned(text, host=f"db.example:{port}", lookup=lambda _: keys, now=now, expected=expected)


def test_a_token_is_what_rds_documents() -> None:
    """Action, user, 900 seconds, scope, session token; no scheme in front."""
    parts = urlsplit("//" + token())
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (parts.netloc, parts.path) == ("db.example:5432", "/")
    assert query["Action"] == "connect"
    assert query["DBUser"] == "chat_api_app"
    assert query["X-Amz-Expires"] == str(TOKEN_SECONDS) == "900"
    assert query["X-Amz-Credential"] == "AKIAIOSFODNN7EXAMPLE/20270115/us-west-2/rds-db/aws4_request"
    assert query["X-Amz-Date"] == "20270115T080000Z"
    assert query["X-Amz-Security-Token"] == CREDENTIALS.token


def test_a_token_verifies_from_first_principles_until_its_end() -> None:
    """The verifier is written against the IAM guide, not against botocore."""
    verify(token())
    verify(token(), now=NOW + 890)
    with pytest.raises(Fault) as caught:
        verify(token(), now=NOW + 901)
    assert caught.value.kind == "expired"


@settings(max_examples=60)
@given(
    user=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40),
    port=st.integers(min_value=1, max_value=65535),
)
def test_any_user_and_port_is_signed_exactly(user: str, port: int) -> None:
    """Spaces, percent signs, plus signs and letters of any script survive the query string."""
    text = token(user=user, port=port)
    verify(text, user=user, port=port)
    assert parse_qs(urlsplit("//" + text).query, keep_blank_values=True)["DBUser"] == [user]


def test_an_empty_session_token_is_none() -> None:
    """AWS_SESSION_TOKEN set to nothing is common in CI."""
    plain = AwsCredentials("AKIAIOSFODNN7EXAMPLE", "key", "")
    text = rds_token(plain, host="h", port=1, user="u", region="r", now=NOW)
    assert "Security-Token" not in text


def test_an_ipv6_address_stands_in_brackets() -> None:
    """Otherwise its last group would be taken for the port."""
    assert token(host="fd00::1").startswith("[fd00::1]:5432/?")


def test_signing_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """botocore's own signing writes canonical request and signature, the whole token, at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        signature = token().rpartition("=")[2]
    assert signature not in caplog.text
    assert "canary" not in caplog.text


def test_credentials_never_show_their_secrets() -> None:
    """Neither kind, in repr or str."""
    for shown in (repr(CREDENTIALS), str(CREDENTIALS), repr(Credentials("u", "canary"))):
        assert "canary" not in shown


def test_botocore_still_keeps_the_end_of_temporary_credentials_where_we_read_it() -> None:
    """There is no public reading of it; a botocore that renames it must be noticed."""
    end = "2030-01-01T00:00:00+00:00"
    metadata = {"access_key": "a", "secret_key": "b", "token": "c", "expiry_time": end}
    found = RefreshableCredentials.create_from_metadata(metadata, lambda: metadata, "test")
    assert getattr(found, "_expiry_time").isoformat() == end  # noqa: B009 - private, so unknown to mypy


@pytest.mark.parametrize("serverless", [False, True])
def test_an_elasticache_token_is_what_elasticache_documents(serverless: bool) -> None:
    """The cache's name in lower case for a host, no port; a serverless cache is said to be one."""
    text = elasticache_token(
        CREDENTIALS, cache_name="My-Cache", serverless=serverless, user="chat-api-prod", region="us-west-2", now=NOW
    )
    parts = urlsplit("//" + text)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (parts.netloc, parts.path) == ("my-cache", "/")
    assert (query["Action"], query["User"]) == ("connect", "chat-api-prod")
    assert query.get("ResourceType") == ("ServerlessCache" if serverless else None)
    assert query["X-Amz-Expires"] == "900"
    assert query["X-Amz-Credential"] == "AKIAIOSFODNN7EXAMPLE/20270115/us-west-2/elasticache/aws4_request"
    assert query["X-Amz-Security-Token"] == CREDENTIALS.token


def test_an_elasticache_token_is_signed_as_botocore_signs() -> None:
    """The documented recipe: botocore's RequestSigner for the service elasticache, the scheme cut off."""
    made = elasticache_token(CREDENTIALS, cache_name="c", serverless=True, user="u", region="us-west-2", now=NOW)
    request = AWSRequest(
        "GET", "https://c/", params={"Action": "connect", "User": "u", "ResourceType": "ServerlessCache"}
    )
    keys = BotoCredentials(CREDENTIALS.access_key, CREDENTIALS.secret_key, CREDENTIALS.token)
    signer = SigV4QueryAuth(keys, "elasticache", "us-west-2", expires=900)
    with mock.patch("botocore.auth.get_current_datetime", return_value=datetime.fromtimestamp(NOW, UTC)):
        signer.add_auth(request)
    assert request.url == f"https://{made}"
