"""What URLs carry in their queries, and who is named in a text."""

from __future__ import annotations

import pytest

from soa_db.logging.keys import KeyRules
from soa_db.logging.redaction import REDACTED, Redactor

CANARY = "c4nary"


def text(given: str) -> str:
    """``given`` as it is shown."""
    return Redactor(KeyRules()).text(given)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("GET /x?pass%77ord=c4nary&page=2", "GET /x?pass%77ord=***&page=2"),
        ("/x?user%5Bemail%5D=c4nary&n=1", "/x?user%5Bemail%5D=***&n=1"),
        ("/x?%65%6D%61%69%6C=c4nary#top", "/x?%65%6D%61%69%6C=***#top"),
        ("/x?date+of+birth=c4nary&n=1", "/x?date+of+birth=***&n=1"),
        ("/x?token=%63%34nary&n=1", "/x?token=***&n=1"),
        ("/go?next=https%3A%2F%2Fh%2F%3Ftoken%3Dc4nary&n=1", "/go?next=***&n=1"),
        ("/go?next=https%3a%2f%2fh%2f%3ftoken%3dc4nary&n=1", "/go?next=***&n=1"),
        ("/go?next=https%253A%252F%252Fh%253Ftoken%253Dc4nary", "/go?next=***"),
        ("/go?db=postgres%3A%2F%2Fu%3Ac4nary%40h%2Fx&n=1", "/go?db=***&n=1"),
        ("/go?next=%2Fcb%3Fcode%3Dc4nary&n=1", "/go?next=***&n=1"),
        ("/cb?code=4%2Fc4nary&state=xyz", "/cb?code=***&state=xyz"),
        ("https://h/cb?state=xyz&code=c4nary", "https://h/cb?state=xyz&code=***"),
        ("https://h/cb#code=c4nary", "https://h/cb#code=***"),
        ("code=c4nary&state=xyz", "code=***&state=xyz"),
        (
            "/t?grant=x&code_verifier=c4nary&client_assertion=c4nary",
            "/t?grant=x&code_verifier=***&client_assertion=***",
        ),
    ],
)
def test_secrets_in_queries_are_masked_however_they_are_written(given: str, shown: str) -> None:
    """Percent-encoded keys and values, URLs within URLs, and OAuth's code."""
    assert text(given) == shown
    assert CANARY not in shown


@pytest.mark.parametrize(
    "given",
    [
        "/cb?code=1",
        "exit code=E1234567",
        "code=E1234567",
        "{'code': 'E1234567'}",
        "/go?next=https%3A%2F%2Fh%2Fcb%3Fpage%3D3&n=1",
        "/x?share=100%25&n=1",
        "/x?a%20b=1&c+d=2",
        "at %3d x=1",
    ],
)
def test_queries_without_a_secret_stay(given: str) -> None:
    """Codes that are none of OAuth's, and encoded URLs in which nothing is hidden."""
    assert text(given) == given


@pytest.mark.parametrize(
    "given",
    [
        "welcome, Ada",
        "user=ada",
        'author="Ada"',
        "students=['Ada']",
        "GET /reset/8d1f0c6e-5b6f",
        "https%3A%2F%2Fh%2F%3Ftoken%3Dx",
        "otc=1234567",
    ],
)
def test_what_the_page_says_is_not_hidden_is_not(given: str) -> None:
    """Whoever mends one of these takes it off docs/logging.md."""
    assert text(given) == given or "%" in given
    into: dict[str, object] = {}
    Redactor(KeyRules()).fields({"said": given, "students": ["Ada", "Bob", "Cy"]}, into)
    assert into == {"said": given, "students": ["Ada", "Bob", "Cy"]}


@pytest.mark.parametrize("piece", ["%3D", "%253D", "a%3d=", "?code=", "a+", "%25", "%3D%", "token%3D&"])
def test_hostile_queries_are_answered(piece: str) -> None:
    """Nothing is decoded without end, and no pattern backtracks without bound: a quadratic one would take minutes."""
    Redactor(KeyRules()).text(f"x= {piece * (200_000 // len(piece))}", 1_000_000)
    nested = "="
    for _ in range(60):
        nested = f"%3D{nested.replace('%', '%25')}"
    assert text(f"x={nested}")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ('moved student="Ada c4nary" to room=7', "moved student=*** to room=7"),
        ("got {'teacher': 'c4nary', 'id': 3}", "got {'teacher': ***, 'id': 3}"),
        ("guardian=c4nary student_id=7 user=chat_app", "guardian=*** student_id=7 user=chat_app"),
    ],
)
def test_who_is_named_in_text_by_a_word_for_pupils_is_masked(given: str, shown: str) -> None:
    """An id beside it stays, and so does the user of a database."""
    assert text(given) == shown


def test_pupils_as_fields_are_redacted_when_they_are_a_text() -> None:
    """What is a number or an object is told, without names in it."""
    fields = {"student": CANARY, "teacher": {"name": CANARY, "id": 3}, "pupil": 7, "tutor": [{"name": CANARY}, CANARY]}
    assert Redactor(KeyRules()).value(fields) == {
        "student": REDACTED,
        "teacher": {"name": REDACTED, "id": 3},
        "pupil": 7,
        "tutor": [{"name": REDACTED}, REDACTED],
    }
    assert Redactor(KeyRules(keep=["student"])).value({"student": "A"}) == {"student": "A"}
