"""What results look like: plans as sentences, the matrix, spinners and bars on a terminal only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from soa_db.access.plan import Change, Notice, Plan, ServerPlan
from soa_db.access.report import Check, Outcome, Probe, VerifyReport
from soa_db.cli.matrix import show_report
from soa_db.cli.sentences import show_changes, show_notices
from soa_db.cli.terminal import Terminal, counted

if TYPE_CHECKING:
    from soa_db.access.report import Aspect


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal, and no variable that pretends there is one."""
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rich takes for a terminal of 100 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.usefixtures("plain")
def test_plan_reads_as_sentences_with_the_destructive_ones_marked(capsys: pytest.CaptureFixture[str]) -> None:
    """Changes stand under their headings; names from a server are taken literally, control characters spelled out."""
    changes = (Change("create role [red]a\x1b[0m", "roles"), Change("drop role b", "roles", destructive=True))
    notices = (
        Notice("note", "role x is not managed"),
        Notice("error", "the owner is a superuser", remedy="ALTER ROLE o NOSUPERUSER", database="d"),
    )
    plan = Plan("dev", servers=(ServerPlan("dev", "postgres", "h:1", changes=changes, notices=notices),))
    show_changes(Terminal(), plan)
    show_notices(Terminal(), plan.notices)
    assert capsys.readouterr().out == (
        "dev: postgres at h:1: 2 changes, 1 destructive (marked !)\n\nroles\n"
        "  + create role [red]a\\x1b[0m\n  ! drop role b\n\n"
        "Cannot be applied\n  d: the owner is a superuser\n    → ALTER ROLE o NOSUPERUSER\n\n"
        "Seen, not managed here\n  role x is not managed\n"
    )


@pytest.mark.usefixtures("plain")
def test_empty_plan_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to do is said in so many words."""
    show_changes(Terminal(), Plan("mirror", servers=(ServerPlan("mirror", "postgres", "h:1"),)))
    assert capsys.readouterr().out == "mirror: postgres at h:1: nothing to do\n"


def _check(identity: str, aspect: Aspect, outcome: Outcome, mend: str = "") -> Check:
    return Check(Probe(identity, "chat_api", aspect, "INSERT", "cannot", "attempt"), outcome, "seen", mend)


@pytest.mark.usefixtures("plain")
def test_matrix_tells_outcomes_apart_without_colour(capsys: pytest.CaptureFixture[str]) -> None:
    """ok, FAIL and ? are words; what is wrong is listed under what mends it; a line fits 100 columns."""
    checks = (
        _check("chat_api_app", "connect", Outcome.OK),
        _check("chat_api_ro", "connect", Outcome.VIOLATED, mend="soa-db provision --env dev"),
        _check("chat_api_ro", "tls", Outcome.INCONCLUSIVE, mend="run it again"),
        _check("x" * 90, "auth", Outcome.NOT_APPLICABLE),
        _check("chat_api_app", "rights", Outcome.NOTED),
    )
    home = (("chat_api_app", ("chat_api",)), ("chat_api_ro", ("chat_api",)))
    show_report(Terminal(), VerifyReport("dev", checks, home))
    out = capsys.readouterr().out
    matrix = out.split("\n\n")[0].splitlines()
    assert matrix[0].split() == ["identity", "database", "connect", "rights", "auth", "tls"]
    assert matrix[1].split() == ["chat_api_app", "chat_api", "ok", "ok", ".", "."]
    assert matrix[2].split() == ["chat_api_ro", "chat_api", "FAIL", ".", ".", "?"]
    assert all(len(line) <= 100 for line in matrix)
    assert "…" in matrix[3]
    violated = "Violated\n  chat_api_ro in chat_api: cannot INSERT: seen\n    → soa-db provision --env dev\n"
    assert violated in out
    assert "Inconclusive\n" in out
    assert "Noted" in out
    assert out.rstrip().splitlines()[-1].startswith("dev: 5 checks")


@pytest.mark.usefixtures("plain")
def test_report_of_nothing_is_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """Specs without PostgreSQL give an empty matrix, not an error."""
    show_report(Terminal(), VerifyReport("dev", ()))
    assert capsys.readouterr().out.endswith("dev: 0 checks of 0 identities: 0 ok\n")


@pytest.mark.usefixtures("on_terminal")
def test_on_a_terminal_work_under_way_moves_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A spinner says what is done now and can be held still for a question; a bar counts."""
    terminal = Terminal()
    with terminal.busy("working") as now:
        now("half way")
        with terminal.paused():
            terminal.err.print("sure?")
    with terminal.counting("checking") as count:
        count(1, 2, "one")
        count(2, 2, "two")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "working" in captured.err
    assert "sure?" in captured.err
    assert "\x1b[" in captured.err


@pytest.mark.usefixtures("on_terminal")
def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """NO_COLOR wins over a terminal."""
    Terminal().line("red", style="red")
    assert "\x1b[31m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    Terminal().line("plain", style="red")
    assert "\x1b[31m" not in capsys.readouterr().out


@pytest.mark.usefixtures("plain")
def test_counting_away_from_a_terminal_is_a_line_per_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    """A CI log gets four lines, however many parts there are."""
    with Terminal().counting("checking") as count:
        for done in range(1, 101):
            count(done, 100, "x")
    assert capsys.readouterr().err == (
        "checking ...\nchecking: 25 of 100\nchecking: 50 of 100\nchecking: 75 of 100\nchecking: 100 of 100\n"
    )


@pytest.mark.usefixtures("plain")
def test_width_follows_columns_away_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """COLUMNS is taken when it is a number above zero."""
    for given, width in (("160", 160), ("0", 100), ("wide", 100)):
        monkeypatch.setenv("COLUMNS", given)
        assert Terminal().out.width == width


def test_counted_knows_the_plural() -> None:
    """One change, two changes."""
    assert [counted(number, "change") for number in (0, 1, 2)] == ["0 changes", "1 change", "2 changes"]
