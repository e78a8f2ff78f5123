"""What is masked in text that others wrote."""

import pytest

from soa_db._core.masking import mask_secrets
from soa_db._core.printable import printable

SECRET = "c4nary"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://u:c4nary@db/x", "postgresql://u:***@db/x"),
        ("postgresql://u:c4n/ary@c4nary@db/x?a=1", "postgresql://u:***@db/x?a=1"),
        ("redis://:c4nary@h:6379/0 and mongodb://a:c4nary@b", "redis://:***@h:6379/0 and mongodb://a:***@b"),
        ("a://u:c4nary@h,b://v:c4nary@i", "a://u:***@h,b://v:***@i"),
        ("host=db password=c4nary user=u", "host=db password=*** user=u"),
        (r"password='it\'s c4nary' x", "password=*** x"),
        ('{"db_password": "two c4nary words", "n": 1}', '{"db_password": ***, "n": 1}'),
        (r"{\"token\": \"two c4nary words\"}", r"{\"token\": ***}"),
        ("{b'secret': b'two c4nary'}", "{b'secret': ***}"),
        ("password='cut off c4nary", "password=***"),
        ("X-Amz-Security-Token=c4nary&X-Amz-Signature=c4nary&a=1", "X-Amz-Security-Token=***&X-Amz-Signature=***&a=1"),
        ("AWS_SECRET_ACCESS_KEY=c4nary", "AWS_SECRET_ACCESS_KEY=***"),
        ("api-key: c4nary", "api-key: ***"),
        ("ALTER ROLE x PASSWORD 'c4nary' LOGIN", "ALTER ROLE x PASSWORD *** LOGIN"),
        ("Authorization: Bearer c4nary", "Authorization: Bearer ***"),
        ("{'authorization': 'Basic c4nary=='}", "{'authorization': 'Basic ***'}"),
        ("Cookie: a=c4nary; b=c4nary\nHost: x", "Cookie: ***\nHost: x"),
        ("sent bearer c4nary123 to x", "sent bearer *** to x"),
        ("PASSWORD 'it''s c4nary' LOGIN", "PASSWORD *** LOGIN"),
        (r"PASSWORD  E'c4n\\c4nary' LOGIN", "PASSWORD  *** LOGIN"),
        ("{'password': '', 'user': 'u'}", "{'password': ***, 'user': 'u'}"),
        ("mongodb://ada@example.org:c4nary@h/d", "mongodb://ada@example.org:***@h/d"),
        ("password=a,c4nary;c4nary)c4nary&c4nary host=db", "password=*** host=db"),
        ("Login(user=u, token=c4nary), Pool(n=1)", "Login(user=u, token=***), Pool(n=1)"),
        ("password=c4nary;user=u,token=c4nary,n=1", "password=***;user=u,token=***,n=1"),
        ("{'secret': {'a': ['c4nary'], 'b': 'c4nary'}, 'n': 1}", "{'secret': ***, 'n': 1}"),
        ('{"password": ["a", "c4nary"], "n": 1}', '{"password": ***, "n": 1}'),
        ("Authorization: AWS4-HMAC-SHA256 Credential=A/b, Signature=c4nary", "Authorization: AWS4-HMAC-SHA256 ***"),
        ('Authorization: Digest username="u", response="c4nary"', "Authorization: Digest ***"),
        ("Authorization: ApiKey c4nary", "Authorization: ***"),
        ('Cookie: a="c4nary"; b=c4nary\r\nHost: x', "Cookie: ***\r\nHost: x"),
        ("""{'Cookie': 'a="c4nary"; b=c4nary', 'n': 1}""", "{'Cookie': ***, 'n': 1}"),
        (
            "a -----BEGIN RSA PRIVATE KEY-----\nc4nary\n-----END RSA PRIVATE KEY----- b",
            "a -----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY----- b",
        ),
    ],
)
def test_secrets_in_text_are_masked_and_the_rest_stays(text: str, masked: str) -> None:
    """URLs, conninfos, JSON within text, headers and SQL."""
    assert mask_secrets(text) == masked
    assert SECRET not in mask_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8080/path is up",
        "password authentication failed for user chat",
        "bearer authentication is required",
        "postgresql://chat_app@db/chat",
        "cache_key=rooms:1 rows=3",
        "token refreshed",
        "",
    ],
)
def test_text_without_a_secret_stays(text: str) -> None:
    """Words that speak of secrets hide nothing."""
    assert mask_secrets(text) == text


def test_masking_twice_changes_nothing_more() -> None:
    """What was masked where it was written may be masked where it is read."""
    once = mask_secrets("a://u:c4nary@h password=c4nary Authorization: Bearer c4nary")
    assert mask_secrets(once) == once


@pytest.mark.parametrize(
    "piece",
    [
        "://a:", "password='", 'token=\\"', "authorization: ", "bearer ", "=a, b", "\\'", "token=[", "token=[[]",
        "token=,", "password ''", "authorization: a=,", "cookie=", "://@", "-----BEGIN PRIVATE KEY-----", "token=[(a)",
        ",a",
    ],
)  # fmt: skip
def test_hostile_text_of_any_length_is_answered(piece: str) -> None:
    """No alternative backtracks without bound: a quadratic one would take minutes here."""
    assert mask_secrets(piece * (200_000 // len(piece))) is not None


def test_control_characters_are_spelled_out() -> None:
    """They would drive the terminal."""
    assert printable("a\x1b[2J\x9b\u2028b\n\t") == "a\\x1b[2J\\x9b\\u2028b\n\t"
    assert printable("a\nb", "") == "a\\nb"
