"""What `make suites` does when SQLAlchemy's suite does not come to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.suites import sqlalchemy_suite as suite

WHOLE = suite.Outcome(frozenset({"a"}), frozenset(), frozenset())


@pytest.mark.parametrize(("timeout", "said"), [(0.01, "was stopped after"), (60.0, "pytest ended with")])
def test_a_form_that_does_not_end_well_has_no_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], timeout: float, said: str
) -> None:
    """Stopped at its time, or refused by pytest, which has no `--dburi` here; the report of a form before is gone."""
    (tmp_path / "report.xml").write_text("<testsuites/>", "utf-8")
    assert suite._outcome(tmp_path, "soa_db+bare://nowhere", timeout) is None
    assert said in capsys.readouterr().out
    assert not (tmp_path / "report.xml").exists()


@pytest.mark.parametrize("missing", ["bare psycopg", "by URL"])
def test_a_run_without_an_outcome_has_failed(capsys: pytest.CaptureFixture[str], missing: str) -> None:
    """It is not taken for one in which nothing fails."""
    outcomes: dict[str, suite.Outcome | None] = {"bare psycopg": WHOLE, "by URL": WHOLE}
    assert suite._report(outcomes)
    assert not suite._report({**outcomes, missing: None})
    assert "came to no end" in capsys.readouterr().out
