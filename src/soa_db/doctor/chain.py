"""Steps that depend on one another, each with a deadline: what fails holds up what depends on it and nothing else."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar, cast

from soa_db._runtime.thread import result_of
from soa_db.doctor.report import Finding, Status, worst
from soa_db.errors import SoaDbError

__all__ = ["Broken", "Memo", "Overdue", "Step", "begin", "bounded", "failure", "walk"]

T = TypeVar("T")
_BROKEN = frozenset({Status.FAILED, Status.SKIPPED})


class Broken(Exception):
    """A step found out what is wrong: its finding says it.

    Args:
        summary: what is wrong.
        hint: the next step.
        details: more for whoever asks for it.
    """

    def __init__(self, summary: str, hint: str, *details: str) -> None:
        super().__init__(summary)
        self.summary = summary
        self.hint = hint
        self.details = details

    @classmethod
    def by(cls, error: SoaDbError, hint: str) -> Self:
        """What an error of ours says, with another next step."""
        return cls(error.message, hint, *_context(error))


class Overdue(Exception):
    """A call did not come back in time."""


class Escaped(Exception):
    """A step's thread was to end by what is no Exception.

    Args:
        name: the kind of that.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Step:
    """One link of a chain.

    Attributes:
        name: what it is called in the report.
        look: looks, and gives findings; a SoaDbError or Broken it raises is a finding too.
        needs: names of steps before it that must have worked.
        late: the next step when there is no answer in time.
    """

    name: str
    look: Callable[[], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    late: str = "see whether something on the way swallows packets, or give more time with --timeout"


def begin(call: Callable[[], T]) -> Future[T]:
    """Start a call in a daemon thread of its own: what cannot be interrupted, looking up a name, holds up no exit."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            answer.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - a panic of a library in Rust, or sys.exit, is no end of the run
            answer.set_exception(Escaped(_kind(error)).with_traceback(error.__traceback__))

    threading.Thread(target=run, name="soa-db-doctor-step", daemon=True).start()
    return answer


def bounded(call: Callable[[], T], seconds: float) -> T:
    """Return what ``call`` returns within ``seconds``; after that nobody waits for it.

    Raises:
        Overdue: it did not come back in time.
    """
    answer = begin(call)
    try:
        return answer.result(seconds)
    except TimeoutError:
        # The call itself may have ended so.
        if answer.done():
            raise
        raise Overdue from None


def failure(error: Exception, step: str, *, subject: str = "") -> Finding:
    """Return what an error of a step says."""
    match error:
        case Broken():
            return Finding(step, Status.FAILED, error.summary, error.hint, subject, error.details)
        case SoaDbError():
            return Finding(step, Status.FAILED, error.message, error.hint, subject, _context(error))
        case _:
            # Not one of ours: its text may quote anything, a secret too. Where it was raised says enough to begin with.
            frames = traceback.extract_tb(error.__traceback__)
            places = tuple(f"at {frame.filename}:{frame.lineno}, in {frame.name}" for frame in frames[-3:])
            hint = "try again; if it stays, report it with what -v shows"
            name = error.name if isinstance(error, Escaped) else _kind(error)
            return Finding(step, Status.FAILED, f"unexpected {name}", hint, subject, places)


def _context(error: SoaDbError) -> tuple[str, ...]:
    return tuple(f"{name}: {text}" for name, text in error.context.items())


def _kind(error: BaseException) -> str:
    """The class of an error, and whose it is: psycopg has a SystemError too."""
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def walk(steps: Iterable[Step], *, timeout: float, before: Iterable[Finding] = ()) -> tuple[Finding, ...]:
    """Take the steps in their order and return what each found.

    Args:
        steps: the chain.
        timeout: seconds a step may take.
        before: findings of steps that were taken before, which some of these need.
    """
    # Why a step did not come to its end, in one word for whatever depends on it.
    broken: dict[str, str] = {}
    for finding in before:
        if finding.status in _BROKEN:
            broken[finding.step] = finding.reason or finding.step
    found: list[Finding] = []
    for step in steps:
        lacking = next((need for need in step.needs if need in broken), None)
        if lacking is not None:
            cause = broken[lacking]
            findings = [Finding(step.name, Status.SKIPPED, f"not tried, since {cause} failed", reason=cause)]
        else:
            # A step that finds out by itself that it has nothing to go by names the step that failed to give it.
            taken = _take(step, timeout)
            findings = [replace(one, reason=broken.get(one.reason, one.reason)) if one.reason else one for one in taken]
        if worst(findings) in _BROKEN:
            broken[step.name] = next((one.reason for one in findings if one.reason), step.name)
        found += findings
    return tuple(found)


def _take(step: Step, timeout: float) -> list[Finding]:
    begun = time.monotonic()
    try:
        findings = bounded(lambda: list(step.look()), timeout)
    except Overdue:
        findings = [Finding(step.name, Status.FAILED, f"no answer within {timeout:g} s", step.late)]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what this step found
        findings = [failure(error, step.name)]
    took = time.monotonic() - begun
    return [finding if finding.seconds is not None else replace(finding, seconds=took) for finding in findings]


class Memo:
    """What was asked once and is the same for all that ask, however many ask at once; errors too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[Hashable, Future[Any]] = {}

    def once(self, key: Hashable, ask: Callable[[], T]) -> T:
        """Return what ``ask`` gave, or raise what it raised, for whoever came first with ``key``."""
        with self._lock:
            answer = self._asked.get(key)
            first = answer is None
            if answer is None:
                answer = self._asked[key] = Future()
        if first:
            try:
                answer.set_result(ask())
            except BaseException as error:  # noqa: BLE001 - raised again, here and to the others
                answer.set_exception(error)
        # To each its own copy of an error: one that many threads raise at once gets frames of all of them.
        wait((answer,))
        return cast("T", result_of(answer))
