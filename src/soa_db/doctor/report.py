"""What ``doctor`` found, as values: findings in the order of the chain, for each service, database and role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soa_db.names import Role

__all__ = ["Finding", "NextStep", "Report", "Status", "Target", "TargetReport", "worst"]


class Status(StrEnum):
    """What came of a step."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It was not tried, since a step it depends on failed, or hangs on the session that it needs."""
    NOT_APPLICABLE = "not_applicable"
    """There is nothing to look at: the environment or the engine has no such thing."""


# The gravest first.
_ORDER = (Status.FAILED, Status.SKIPPED, Status.WARNING, Status.OK, Status.NOT_APPLICABLE)


def worst(findings: Iterable[Finding]) -> Status:
    """The gravest status among some findings."""
    return min((finding.status for finding in findings), key=_ORDER.index, default=Status.NOT_APPLICABLE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        step: ``identity``, ``dns``, ``tls`` …
        status: what came of it.
        summary: one sentence.
        hint: the next step, where something is not as it should be.
        subject: what was looked at, where a step looks at several: a parameter, a secret, a host.
        details: more for whoever asks for it.
        seconds: how long the step took; None where nothing was done.
        reason: the step whose failure is why this one was not tried.
    """

    step: str
    status: Status
    summary: str
    hint: str = ""
    subject: str = ""
    details: tuple[str, ...] = ()
    seconds: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, object]:
        """As data for JSON."""
        return {
            "step": self.step,
            "subject": self.subject,
            "status": str(self.status),
            "summary": self.summary,
            "hint": self.hint,
            "details": list(self.details),
            "reason": self.reason,
            "seconds": None if self.seconds is None else round(self.seconds, 4),
        }


@dataclass(frozen=True, slots=True)
class Target:
    """One identity at one database of one service.

    Attributes:
        service: the service id.
        engine: ``postgres``, ``redis`` or ``mongo``.
        database: its name on the server; for Redis, which has none that matter, ``redis``.
        role: ``owner``, ``app`` or ``ro``.
        user: who logs in, as the contract and the spec have it.
    """

    service: str
    engine: str
    database: str
    role: Role
    user: str

    def __str__(self) -> str:
        place = self.engine if self.engine == self.database else f"{self.engine} {self.database}"
        return f"{self.service}: {place} as {self.user} ({self.role})"


@dataclass(frozen=True, slots=True)
class TargetReport:
    """What was found for one target, in the order of the chain."""

    target: Target
    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """The gravest of its findings; one that was skipped never stands without one that failed."""
        return worst(self.findings)

    def to_dict(self) -> dict[str, object]:
        """As data for JSON."""
        target = self.target
        return {
            "service": target.service,
            "engine": target.engine,
            "database": target.database,
            "role": target.role,
            "user": target.user,
            "status": str(self.status),
            "findings": [finding.to_dict() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class NextStep:
    """One thing to do, whatever number of targets it is for.

    Attributes:
        finding: what is wrong.
        where: the targets, as text; ``AWS`` for what all of them share.
    """

    finding: Finding
    where: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found in one environment.

    Attributes:
        env: the environment.
        aws: what all targets share: credentials, identity, clock.
        targets: the rest, target by target.
    """

    env: str
    aws: tuple[Finding, ...]
    targets: tuple[TargetReport, ...]

    @property
    def ok(self) -> bool:
        """Whether everything works; what is only warned of works."""
        return all(finding.status not in {Status.FAILED, Status.SKIPPED} for finding in self._all())

    @property
    def exit_code(self) -> int:
        """0 when everything works, else 1."""
        return 0 if self.ok else 1

    def summary(self) -> str:
        """One line."""
        failing = sum(1 for one in self.targets if one.status in {Status.FAILED, Status.SKIPPED})
        warnings = sum(1 for finding in self._all() if finding.status is Status.WARNING)
        number = len(self.targets)
        told = f", {warnings} warning{'' if warnings == 1 else 's'}" if warnings else ""
        many = f"{number} target{'' if number == 1 else 's'}"
        if failing:
            return f"{self.env}: {failing} of {many} {'does' if failing == 1 else 'do'} not work{told}"
        if not self.ok:
            return f"{self.env}: {many} {'works' if number == 1 else 'work'}, AWS does not{told}"
        return f"{self.env}: {many} {'works' if number == 1 else 'work'}{told}"

    def next_steps(self) -> tuple[NextStep, ...]:
        """What failed, each once, and where; most of what fails fails for every role of a database."""
        found: dict[tuple[str, str, str], tuple[Finding, list[str]]] = {}
        for where, findings in (("AWS", self.aws), *((str(one.target), one.findings) for one in self.targets)):
            for finding in findings:
                if finding.status is Status.FAILED:
                    key = (finding.step, finding.summary, finding.hint)
                    found.setdefault(key, (finding, []))[1].append(where)
        return tuple(NextStep(finding, tuple(dict.fromkeys(where))) for finding, where in found.values())

    def to_dict(self) -> dict[str, object]:
        """As data for JSON; the names of the fields are stable."""
        counts = {str(status): 0 for status in Status}
        for finding in self._all():
            counts[str(finding.status)] += 1
        return {
            "env": self.env,
            "ok": self.ok,
            "summary": self.summary(),
            "counts": counts,
            "aws": [finding.to_dict() for finding in self.aws],
            "targets": [one.to_dict() for one in self.targets],
        }

    def _all(self) -> Iterator[Finding]:
        yield from self.aws
        for one in self.targets:
            yield from one.findings
