"""The chain of ``doctor``: dependencies, deadlines, errors, what is shared; no socket."""

from __future__ import annotations

import errno
import math
import socket
import subprocess
import sys
import threading
from typing import Any

import psycopg
import pytest

from soa_db.access.settings import Settings
from soa_db.access.spec import Spec, SpecSet
from soa_db.credentials import AwsCredentials
from soa_db.doctor import network, run
from soa_db.doctor.chain import Broken, Memo, Overdue, Step, bounded, walk
from soa_db.doctor.network import Place
from soa_db.doctor.report import Finding, Report, Status, Target, TargetReport
from soa_db.doctor.surroundings import judge_clock
from soa_db.errors import SecretNotFound

CANARY = "c4nary-Password"


def good(name: str, *needs: str) -> Step:
    """A step that works."""
    return Step(name, lambda: [Finding(name, Status.OK, "good")], needs)


def bad(name: str, error: Exception, *needs: str) -> Step:
    """A step that raises."""

    def look() -> list[Finding]:
        raise error

    return Step(name, look, needs)


def test_a_failure_holds_up_what_depends_on_it_and_nothing_else() -> None:
    """Dependents of dependents too, all of them naming the one that failed."""
    steps = [bad("a", Broken("it is", "mend it")), good("b", "a"), good("c", "b"), good("d")]
    found = walk(steps, timeout=5)
    assert [(one.step, one.status, one.reason) for one in found] == [
        ("a", Status.FAILED, ""),
        ("b", Status.SKIPPED, "a"),
        ("c", Status.SKIPPED, "a"),
        ("d", Status.OK, ""),
    ]


def test_warnings_and_what_does_not_apply_hold_up_nothing() -> None:
    """Only failures do."""
    steps = [
        Step("a", lambda: [Finding("a", Status.WARNING, "w")]),
        Step("b", lambda: [Finding("b", Status.NOT_APPLICABLE, "n")], ("a",)),
        good("c", "b"),
    ]
    assert [one.status for one in walk(steps, timeout=5)] == [Status.WARNING, Status.NOT_APPLICABLE, Status.OK]


def test_what_failed_before_counts() -> None:
    """Findings that all targets share."""
    before = (Finding("identity", Status.FAILED, "no"),)
    (found,) = walk([good("a", "identity")], timeout=5, before=before)
    assert (found.status, found.reason) == (Status.SKIPPED, "identity")


def test_our_errors_are_told_and_others_are_not_quoted() -> None:
    """Message, hint and context of ours; of a stranger's only its kind, and whose: psycopg has a SystemError too."""
    ours = SecretNotFound("there is no secret x", hint="make it", region="us-west-2")
    strangers = [ValueError(CANARY), SystemError(CANARY), psycopg.errors.SystemError(CANARY)]
    found = walk([bad("a", ours), *(bad("b", error) for error in strangers)], timeout=5)
    assert (found[0].summary, found[0].hint, found[0].details) == (
        "there is no secret x",
        "make it",
        ("region: us-west-2",),
    )
    assert [one.summary for one in found[1:]] == [
        "unexpected ValueError",
        "unexpected SystemError",
        "unexpected psycopg.errors.SystemError",
    ]
    assert CANARY not in str(found)


class PanicException(BaseException):
    """As pyo3 has it: no Exception."""


def test_what_is_no_exception_is_a_finding_too() -> None:
    """A library in Rust that panics, or a sys.exit somewhere, ends its step and not the thread that waits for it."""

    def panic() -> list[Finding]:
        raise PanicException(CANARY)

    found = walk([Step("a", panic), good("b", "a"), good("c")], timeout=5)
    assert [one.status for one in found] == [Status.FAILED, Status.SKIPPED, Status.OK]
    assert found[0].summary == f"unexpected {__name__}.PanicException"
    assert "in panic" in " ".join(found[0].details)
    assert CANARY not in repr(found)


def test_a_target_whose_examination_breaks_does_not_hang_the_run() -> None:
    """Whatever ends a worker is raised where the run waits for it."""
    target = Target("chat-api", "redis", "redis", "app", "chat-api-dev")

    def examine(target: Target, how: object) -> TargetReport:
        raise PanicException(target.service)

    raised: list[BaseException] = []

    def examine_all() -> None:
        try:
            run._together(examine, [(target, lambda _: pytest.fail("not examined"))], 1, None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=examine_all, daemon=True)
    thread.start()
    thread.join(5)
    assert [type(error) for error in raised] == [PanicException]


class HangingAws:
    """An AWS that knows who is asking at first, and never answers that again."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.freed = threading.Event()

    def credentials(self) -> AwsCredentials:
        """Static ones."""
        return AwsCredentials("AKIA", CANARY, None, math.inf, "env")

    def region(self) -> str:
        """A region."""
        return "us-west-2"

    def client(self, service: str) -> HangingAws:
        """Of STS."""
        del service
        return self

    def get_caller_identity(self) -> dict[str, str]:
        """As botocore's client answers."""
        return {"Account": "1" * 12, "Arn": "arn:aws:iam::111111111111:user/who"}

    def caller_identity(self) -> None:
        """Hang."""
        self.asked.set()
        self.freed.wait(30)


def test_a_step_that_hangs_with_the_rights_locked_holds_up_no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends all the same, and says which step it was."""
    monkeypatch.setattr(run, "_CLOSE_SECONDS", 0.1)
    specs = SpecSet((Spec.model_validate({"version": 1, "service": "chat-api", "redis": {}}),))
    aws = HangingAws()
    reports: list[Report] = []

    def examine() -> None:
        template = "arn:aws:iam::{account}:role/{service}"
        more: Any = {"aws": aws, "settings": Settings(), "assume_role": template, "timeout": 0.3}
        reports.append(run.diagnose(specs, env="dev", **more))

    thread = threading.Thread(target=examine, daemon=True)
    thread.start()
    try:
        thread.join(15)
        assert aws.asked.is_set()
        assert not thread.is_alive()
    finally:
        aws.freed.set()
    (report,) = reports
    (role,) = [one for one in report.targets[0].findings if one.step == "role"]
    assert role.summary == "no answer within 0.3 s"


def test_the_drivers_are_loaded_before_the_steps() -> None:
    """Loading one takes a second and more under load: that is not the server's, whose deadline a step has."""
    code = """if True:
        import sys
        from soa_db.access.settings import Settings
        from soa_db.access.spec import Spec, SpecSet
        from soa_db.doctor import run
        specs = SpecSet((Spec.model_validate({"version": 1, "service": "chat-api", "redis": {}, "mongo": {}}),))
        def walk(*_, **__):
            print(*sorted({"psycopg", "redis", "pymongo"} & set(sys.modules)))
            raise SystemExit
        run.walk = walk
        run.diagnose(specs, env="dev", settings=Settings())
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pymongo", "redis"]


def test_an_error_that_many_ask_for_is_each_ones_own() -> None:
    """One object raised in many threads at once would get the frames of all of them."""
    memo = Memo()
    seen: list[BaseException] = []

    def ask() -> None:
        raise SecretNotFound("gone")

    for _ in range(2):
        try:
            memo.once("key", ask)
        except SecretNotFound as error:
            seen.append(error)
    assert seen[0] is not seen[1]
    assert [str(error) for error in seen] == ["gone", "gone"]


def test_a_step_that_hangs_fails_at_its_deadline() -> None:
    """With its own next step, and the run goes on."""
    forever = threading.Event()
    steps = [Step("a", lambda: forever.wait() and [], late="wake it"), good("b")]  # type: ignore[arg-type, return-value]  # it never returns
    try:
        slow, after = walk(steps, timeout=0.05)
    finally:
        forever.set()
    assert (slow.status, slow.summary, slow.hint) == (Status.FAILED, "no answer within 0.05 s", "wake it")
    assert after.status is Status.OK


def test_a_timeout_of_the_call_itself_is_no_deadline() -> None:
    """A socket's TimeoutError is what the call found out."""

    def times_out() -> None:
        raise TimeoutError("a socket's")

    with pytest.raises(TimeoutError, match="a socket's"):
        bounded(times_out, 5)
    with pytest.raises(Overdue):
        bounded(threading.Event().wait, 0.02)


def test_what_is_shared_is_asked_once_also_by_many_at_once() -> None:
    """An error is everybody's too."""
    memo, asked, gate = Memo(), [], threading.Event()

    def ask() -> int:
        asked.append(1)
        gate.wait(5)
        return 7

    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(memo.once("k", ask))) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert (got, asked) == ([7] * 8, [1])

    def fail() -> int:
        asked.append(2)
        raise Broken("no", "yes")

    for _ in range(2):
        with pytest.raises(Broken):
            memo.once("other", fail)
    assert asked == [1, 2]


@pytest.mark.parametrize(
    ("ahead", "status"),
    [
        (0, Status.OK),
        (60, Status.OK),
        (61, Status.WARNING),
        (-61, Status.WARNING),
        (300, Status.WARNING),
        (301, Status.FAILED),
    ],
)
def test_clocks_are_judged_at_a_minute_and_at_five(ahead: float, status: Status) -> None:
    """AWS accepts five minutes."""
    found = judge_clock("the server", 1000.0, 1000.0 + ahead)
    assert found.status is status
    assert bool(found.hint) is (status is not Status.OK)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "again"), "the resolver does not answer"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "does not resolve: Name or service"),
        (UnicodeError("label too long"), "cannot be a host's name"),
    ],
)
def test_names_that_do_not_resolve_are_told_apart(monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
    """The resolver is away, it says no, it cannot even be asked."""

    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(Broken, match=says) as caught:
        network.resolve("db.example")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionRefusedError(), "nothing listens"),
        (TimeoutError(), "does not answer within 3 s"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "there is no way to db:1: No route to host"),
        (OSError(errno.EACCES, "Permission denied"), "cannot be reached: Permission denied"),
        (UnicodeError("x"), "cannot be reached: UnicodeError"),
    ],
)
def test_ports_that_are_not_reached_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    """Refused, swallowed, no route, anything else."""

    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", fails)
    with pytest.raises(Broken, match=says) as caught:
        network.dial(Place("db", 1), 3)
    assert caught.value.hint


def test_public_addresses_are_known() -> None:
    """Private, loopback and link-local ones are not of the internet."""
    assert network.is_public("8.8.8.8")
    assert not any(map(network.is_public, ("10.1.2.3", "127.0.0.1", "::1", "fe80::1%eth0", "192.168.0.1")))
    assert str(Place("::1", 5)) == "[::1]:5"


def report(*statuses: Status, aws: Status = Status.OK) -> Report:
    """A report with one finding per target."""
    targets = tuple(
        TargetReport(Target(f"s{number}", "redis", "redis", "app", "u"), (Finding("tcp", status, "t", "h"),))
        for number, status in enumerate(statuses)
    )
    return Report("dev", (Finding("identity", aws, "i"),), targets)


def test_a_report_sums_up_and_folds_what_is_to_do() -> None:
    """What fails alike is one thing to do; warnings are no failure."""
    assert report(Status.OK).summary() == "dev: 1 target works"
    assert report(Status.OK, Status.WARNING).summary() == "dev: 2 targets work, 1 warning"
    assert report(Status.WARNING, Status.WARNING).exit_code == 0
    many = report(Status.FAILED, Status.FAILED, Status.OK)
    assert many.summary() == "dev: 2 of 3 targets do not work"
    assert many.exit_code == 1
    (step,) = many.next_steps()
    assert step.where == ("s0: redis as u (app)", "s1: redis as u (app)")
    assert report(Status.FAILED).summary() == "dev: 1 of 1 target does not work"
    broken = report(Status.OK, aws=Status.FAILED)
    assert (broken.exit_code, broken.summary()) == (1, "dev: 1 target works, AWS does not")
