"""What ``doctor`` shows on a terminal: nothing twice, each thing to do once, names whole on a narrow one."""

from __future__ import annotations

import pytest

from soa_db.cli.prescription import show_report
from soa_db.cli.terminal import Terminal
from soa_db.doctor import Finding, Report, Status, Target, TargetReport

ARN = "arn:aws:iam::111111111111:user/developer"


def failed(summary: str, hint: str = "mend it") -> Finding:
    """A secret that is not all right."""
    return Finding("secret", Status.FAILED, summary, hint, details=("region: us-west-2",), seconds=0.012)


def shown(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *targets: tuple[Finding, ...],
    width: int = 100,
    everything: bool = False,
) -> str:
    """What is printed of some targets."""
    monkeypatch.setenv("COLUMNS", str(width))
    reports = tuple(
        TargetReport(Target(f"s{number}", "redis", "redis", "app", "u"), findings)
        for number, findings in enumerate(targets)
    )
    aws = (Finding("identity", Status.OK, f"{ARN}, account 111111111111"),)
    show_report(Terminal(), Report("dev", aws, reports), everything=everything)
    return capsys.readouterr().out


def test_what_to_do_does_not_repeat_what_stands_above(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few targets with a thing of its own to do each; at the end of many, and for several, it is told once more."""
    of_each = [(failed(f"no {name}", f"make {name}"),) for name in "abcd"]
    out = shown(capsys, monkeypatch, *of_each[:3])
    assert "What to do" not in out
    assert out.count("→ make a") == 1
    assert shown(capsys, monkeypatch, *of_each).partition("What to do")[2].count("→ make a") == 1
    out = shown(capsys, monkeypatch, of_each[0], of_each[0])
    assert "for s0: redis as u (app); s1: redis as u (app)" in out.partition("What to do")[2]


def test_what_is_done_by_one_thing_stands_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five secrets that one provision makes: three are named, the others counted; -v names all."""
    targets = [(failed(f"there is no secret {name}", "provision"),) for name in "abcde"]
    out = shown(capsys, monkeypatch, *targets).partition("What to do")[2]
    assert [f"no secret {name}" in out for name in "abcde"] == [True, True, True, False, False]
    assert "and 2 more like these" in out
    assert out.count("→ provision") == 1
    assert "for s0: redis as u (app); s1: redis as u (app); s2: redis as u (app); and 2 more" in out
    out = shown(capsys, monkeypatch, *targets, everything=True).partition("What to do")[2]
    assert all(f"no secret {name}" in out for name in "abcde")
    assert "more" not in out


def test_of_many_targets_those_that_are_all_right_take_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how much of each was looked at; a warning is shown in full, and is nothing to do."""
    good = (Finding("dns", Status.OK, "db is 10.0.0.1"), Finding("tls", Status.NOT_APPLICABLE, "off in dev"))
    warned = (Finding("pool", Status.WARNING, "0 pools of 10", "lower max_size"),)
    out = shown(capsys, monkeypatch, good, good, good, good, warned)
    assert out.count("redis as u (app): 1 checks") == 4
    assert "db is 10.0.0.1" not in out
    assert "warn pool           0 pools of 10" in out
    assert "What to do" not in out
    assert "dev: 5 targets work, 1 warning" in out
    out = shown(capsys, monkeypatch, good, good, good, good, warned, everything=True)
    assert out.count(".    tls            off in dev") == 4


def test_what_was_not_looked_at_is_one_line_that_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of the step, failed or hung; also where the first of them says something else."""
    hung = (
        Finding("authorisation", Status.FAILED, "no answer within 10 s", "look at its load"),
        Finding("clock", Status.SKIPPED, "not looked at, since authorisation hung", reason="authorisation"),
        Finding("pool", Status.SKIPPED, "not looked at, since authorisation hung", reason="authorisation"),
    )
    assert "not looked at, since authorisation hung: clock, pool" in shown(capsys, monkeypatch, hung)
    unknown = (
        failed("there is no secret"),
        Finding("dns", Status.SKIPPED, "not tried: where the server is, is not known", reason="secret"),
        Finding("tcp", Status.SKIPPED, "not tried, since secret failed", reason="secret"),
    )
    assert "not tried, since secret failed: dns, tcp" in shown(capsys, monkeypatch, unknown)
    alone = shown(capsys, monkeypatch, unknown[:2])
    assert "not tried, since secret failed: dns" in alone


@pytest.mark.parametrize("width", [60, 45, 20])
def test_a_name_is_whole_wherever_the_terminal_has_room_for_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """It leaves its column then, and comes below; on one that is narrower still it stands alone, uncut."""
    out = shown(capsys, monkeypatch, (failed("there is no secret"),), width=width)
    lines = out.splitlines()
    (line,) = [line for line in lines if ARN in line]
    assert len(line) <= max(width, len(f"  {ARN},"))
    assert [line for line in lines if len(line) > width and " " in line.strip()] == []
    assert "ok   identity" in lines


def test_everything_has_details_and_times(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """-v; without it a line has neither."""
    out = shown(capsys, monkeypatch, (failed("there is no secret"),), everything=True)
    assert "there is no secret  [12 ms]" in out
    assert "region: us-west-2" in out
    out = shown(capsys, monkeypatch, (failed("there is no secret", ""),))
    assert " ms]" not in out
    assert "→" not in out
