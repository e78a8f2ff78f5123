"""What ``verify`` found, told in four ways."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from soa_db.access.report import ASPECTS, Aspect, Check, Outcome, Probe, VerifyReport


def _check(
    outcome: Outcome,
    *,
    user: str = "chat_api_app",
    database: str = "chat_api",
    aspect: Aspect = "read",
    detail: str = "seen",
    mend: str = "",
) -> Check:
    return Check(Probe(user, database, aspect, "do a thing", "cannot", "attempt"), outcome, detail, mend)


def _report(*checks: Check) -> VerifyReport:
    return VerifyReport("dev", checks, (("chat_api_app", ("chat_api",)),))


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((), 0),
        ((Outcome.OK, Outcome.NOTED, Outcome.NOT_APPLICABLE), 0),
        ((Outcome.OK, Outcome.INCONCLUSIVE), 5),
        ((Outcome.INCONCLUSIVE, Outcome.VIOLATED), 4),
    ],
)
def test_the_exit_code_is_that_of_the_worst_outcome(outcomes: tuple[Outcome, ...], code: int) -> None:
    """A violation is worse than an open question; notes and what does not apply change nothing."""
    assert _report(*map(_check, outcomes)).exit_code == code


def test_databases_that_are_none_of_an_identitys_business_fold_into_one_row_unless_something_is_wrong() -> None:
    """Its own databases, then the others together, then any other that it could enter by name."""
    report = _report(
        _check(Outcome.OK),
        _check(Outcome.OK, database="iam_db", aspect="connect"),
        _check(Outcome.OK, database="sds_api", aspect="connect"),
        _check(Outcome.VIOLATED, database="iam_pii_db", aspect="connect"),
        _check(Outcome.NOT_APPLICABLE, aspect="tls"),
        _check(Outcome.NOTED, user="", database=""),
        _check(Outcome.INCONCLUSIVE, user="PUBLIC", aspect="temp"),
    )
    columns, rows = report.matrix()
    assert columns == ("connect", "read", "temp", "tls")
    assert {(who, where): [str(cell) for cell in cells] for who, where, cells in rows} == {
        ("chat_api_app", "chat_api"): [".", "ok", ".", "-"],
        ("chat_api_app", "(others)"): ["ok", ".", ".", "."],
        ("chat_api_app", "iam_pii_db"): ["FAIL", ".", ".", "."],
        ("(no identity)", "(server)"): [".", "ok", ".", "."],
        ("PUBLIC", "chat_api"): [".", ".", "?", "."],
    }
    assert next(cells for _, where, cells in rows if where == "(others)")[0].count == 2


def test_the_matrix_stays_within_100_columns_however_long_the_names_are() -> None:
    """Names give way, marks do not."""
    checks = [
        _check(Outcome.VIOLATED, user=f"{'u' * 60}{number}", database="d" * 63, aspect=aspect)
        for number in range(2)
        for aspect in ASPECTS
    ]
    table = _report(*checks).to_text().split("\n\n")[0]
    assert max(map(len, table.splitlines())) <= 100
    assert table.count("FAIL") == 2 * len(ASPECTS)


def test_the_text_names_each_violation_with_how_to_mend_it_and_gathers_what_is_alike() -> None:
    """One cause with many effects reads as one; the full list is in the JSON."""
    report = _report(
        *(_check(Outcome.VIOLATED, user=f"u{number}", mend="revoke it") for number in range(5)),
        _check(Outcome.INCONCLUSIVE, mend="look again"),
        _check(Outcome.NOTED),
    )
    text = report.to_text()
    assert "  u0 in chat_api: cannot do a thing: seen\n" in text
    assert "  … and 2 more like it\n    → revoke it\n" in text
    assert "Inconclusive:\n  chat_api_app in chat_api: cannot do a thing: seen\n    → look again\n" in text
    assert "Noted (nothing for provision to change):" in text
    assert text.endswith("dev: 7 checks of 1 identities: 0 ok, 5 violated, 1 inconclusive, 1 noted\n")


def test_the_json_holds_every_check_and_the_counts() -> None:
    """It is what ``--json`` prints, umlauts unescaped."""
    report = _report(_check(Outcome.VIOLATED, detail="größer", mend="m"), _check(Outcome.OK, detail=""))
    assert "größer" in report.to_json()
    data = json.loads(report.to_json())
    assert data == report.to_dict()
    assert data["exit_code"] == 4
    assert data["summary"]["violated"] == 1
    assert data["identities"] == {"chat_api_app": ["chat_api"]}
    assert data["checks"][0] == {
        "identity": "chat_api_app",
        "database": "chat_api",
        "aspect": "read",
        "what": "do a thing",
        "expect": "cannot",
        "how": "attempt",
        "outcome": "violated",
        "detail": "größer",
        "mend": "m",
    }


def test_the_junit_file_has_a_failure_an_error_and_a_skipped_case_each_with_its_text() -> None:
    """Hostile names stay data: markup is escaped, characters XML cannot hold are replaced."""
    hostile = 'x"><evil>&\x00\x1b\ufffe'
    report = _report(
        _check(Outcome.VIOLATED, user=hostile, mend="revoke it"),
        _check(Outcome.INCONCLUSIVE, detail="\ud800"),
        _check(Outcome.NOT_APPLICABLE),
        _check(Outcome.OK, detail=""),
        _check(Outcome.NOTED),
    )
    suite = ET.fromstring(report.to_junit().encode())[0]
    assert suite.attrib == {
        "name": "soa-db verify dev",
        "tests": "5",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    assert [[child.tag for child in case] for case in suite] == [
        ["failure"],
        ["error"],
        ["skipped"],
        [],
        ["system-out"],
    ]
    assert suite[0][0].text == "seen\nmend: revoke it"
    assert 'x"><evil>&\ufffd' in suite[0].attrib["name"]


def test_a_probe_reads_as_a_sentence() -> None:
    """Who, where, whether it can, what."""
    assert str(Probe("a", "d", "read", "read t", "can", "attempt")) == "a in d: can read t"
    assert str(Probe("", "", "roles", "row_security is on", "is", "catalog")) == "the server: row_security is on"


def test_notes_that_are_alike_are_one_line_with_a_count() -> None:
    """Everybody may create large objects: that is one fact, however many identities and databases there are."""
    notes = [_check(Outcome.NOTED, user=f"user_{number}", mend="as a superuser") for number in range(30)]
    text = _report(*notes).to_text()
    assert "  cannot do a thing: seen (30 identities × databases)\n    → as a superuser" in text
    assert text.count("do a thing") == 1
