"""What ``verify`` found, as values, and as text, JSON and JUnit XML. Nothing here opens anything.

A *probe* is one question ("can chat_api_ro write in chat_api?") with the answer the specs ask for. A *check* is the
probe with the answer the server gave. Colours belong to the command line; the texts made here are plain.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

    from soa_db.names import Env

__all__ = ["ASPECTS", "Aspect", "Cell", "Check", "Outcome", "Probe", "VerifyReport", "grouped"]

Aspect = Literal["connect", "read", "write", "ddl", "temp", "rights", "later", "roles", "auth", "tls", "aws"]
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)


class Outcome(StrEnum):
    """What a probe came to.

    ``noted`` is a fact nobody but a superuser could change (everyone may create large objects, say): it is reported
    and changes no exit code. ``not_applicable`` says why a probe has no meaning here.
    """

    OK = "ok"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"
    NOTED = "noted"
    NOT_APPLICABLE = "n/a"


# XML 1.0 has no way to write these, not even escaped (https://www.w3.org/TR/xml/#charsets).
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Probe:
    """One question and the answer the specs ask for.

    Attributes:
        identity: the database user; ``PUBLIC`` or an unknown role where the question is about that one; empty for
            what belongs to no identity.
        database: its name on the server; empty for what is server-wide.
        aspect: the column of the matrix.
        what: the ability or state in question, e.g. ``INSERT in public``.
        expect: whether the identity must be able to, must not be able to, or (``is``) the state must be so.
        how: ``login``, ``attempt`` (really tried, without effect), ``catalog`` (read from the server), ``aws``.
    """

    identity: str
    database: str
    aspect: Aspect
    what: str
    expect: Literal["can", "cannot", "is"]
    how: Literal["login", "attempt", "catalog", "aws"]

    def __str__(self) -> str:
        who = self.identity or "the server"
        where = f" in {self.database}" if self.database else ""
        verb = {"can": "can ", "cannot": "cannot ", "is": ""}[self.expect]
        return f"{who}{where}: {verb}{self.what}"


@dataclass(frozen=True, slots=True)
class Check:
    """A probe and what came of it.

    Attributes:
        probe: the question.
        outcome: the answer.
        detail: what was seen (an SQLSTATE, the objects concerned), without any secret.
        mend: the next step for a person, for everything but ``ok``.
    """

    probe: Probe
    outcome: Outcome
    detail: str = ""
    mend: str = ""

    def __str__(self) -> str:
        text = str(self.probe)
        return f"{text}: {self.detail}" if self.detail else text


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the matrix: how many checks, and the worst outcome among them."""

    outcome: Outcome | None
    count: int

    def __str__(self) -> str:
        match self.outcome:
            case None:
                return "."
            case Outcome.OK | Outcome.NOTED:
                return "ok"
            case Outcome.VIOLATED:
                return "FAIL"
            case Outcome.INCONCLUSIVE:
                return "?"
            case Outcome.NOT_APPLICABLE:
                return "-"


_WORST_FIRST = (Outcome.VIOLATED, Outcome.INCONCLUSIVE, Outcome.NOTED, Outcome.OK, Outcome.NOT_APPLICABLE)


def _cell(checks: Iterable[Check]) -> Cell:
    outcomes = [check.outcome for check in checks]
    worst = next((outcome for outcome in _WORST_FIRST if outcome in outcomes), None)
    return Cell(worst, len(outcomes))


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Everything ``verify`` found in one environment.

    Attributes:
        env: the environment.
        checks: every check, in a stable order.
        home: user → the databases it is declared for; other databases are folded into one row of the matrix.
    """

    env: Env
    checks: tuple[Check, ...]
    home: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def violations(self) -> tuple[Check, ...]:
        """The checks whose answer is not what the specs ask for."""
        return self._of(Outcome.VIOLATED)

    @property
    def inconclusive(self) -> tuple[Check, ...]:
        """The checks that could not be decided."""
        return self._of(Outcome.INCONCLUSIVE)

    @property
    def notes(self) -> tuple[Check, ...]:
        """What nobody but a superuser, or another database's owner, could change."""
        return self._of(Outcome.NOTED)

    @property
    def exit_code(self) -> int:
        """0 all as declared, 4 something is violated, 5 something could not be decided (and nothing is violated)."""
        if self.violations:
            return 4
        return 5 if self.inconclusive else 0

    def _of(self, outcome: Outcome) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome is outcome)

    def matrix(self) -> tuple[tuple[Aspect, ...], tuple[tuple[str, str, tuple[Cell, ...]], ...]]:
        """The columns in use, and rows of (identity, database, cells).

        An identity has a row per database it is declared for, and one row ``(others)`` for the databases it must
        not reach; a row of the latter kind that is not all right is shown by its own name.
        """
        home = dict(self.home)
        rows: dict[str, dict[str, list[Check]]] = {}
        for check in self.checks:
            user, database = check.probe.identity, check.probe.database
            good = check.outcome not in {Outcome.VIOLATED, Outcome.INCONCLUSIVE}
            if user in home and database and database not in home[user] and good:
                database = "(others)"
            rows.setdefault(user, {}).setdefault(database, []).append(check)
        seen = {check.probe.aspect for check in self.checks}
        used = tuple(aspect for aspect in ASPECTS if aspect in seen)
        return used, tuple(
            (
                user or "(no identity)",
                database or "(server)",
                tuple(_cell(check for check in found if check.probe.aspect == aspect) for aspect in used),
            )
            for user, places in rows.items()
            for database, found in places.items()
        )

    def to_text(self) -> str:
        """The matrix, the violations with how to mend each, what is undecided, the notes and a summary."""
        parts = [_table(*self.matrix())]
        for heading, checks in (
            ("Violated", self.violations),
            ("Inconclusive", self.inconclusive),
            ("Noted (nothing for provision to change)", self.notes),
        ):
            if checks:
                fold = checks[0].outcome is Outcome.NOTED
                parts.append("\n".join([f"{heading}:", *grouped(checks, fold=fold)]))
        parts.append(self.summary())
        return "\n\n".join(parts) + "\n"

    def summary(self) -> str:
        """One line of counts."""
        counts = ", ".join(
            f"{len(found)} {outcome.value}"
            for outcome in Outcome
            if (found := self._of(outcome)) or outcome is Outcome.OK
        )
        return f"{self.env}: {len(self.checks)} checks of {len(self.home)} identities: {counts}"

    def to_dict(self) -> dict[str, object]:
        """Plain data, the shape ``--json`` prints."""
        return {
            "env": self.env,
            "exit_code": self.exit_code,
            "summary": {outcome.value: len(self._of(outcome)) for outcome in Outcome},
            "identities": {user: list(databases) for user, databases in self.home},
            "checks": [
                {
                    "identity": check.probe.identity,
                    "database": check.probe.database,
                    "aspect": check.probe.aspect,
                    "what": check.probe.what,
                    "expect": check.probe.expect,
                    "how": check.probe.how,
                    "outcome": check.outcome.value,
                    "detail": check.detail,
                    "mend": check.mend,
                }
                for check in self.checks
            ],
        }

    def to_json(self) -> str:
        """``to_dict`` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def to_junit(self) -> str:
        """JUnit XML: a violated check is a failure, an inconclusive one an error, the rest passed or skipped."""
        suite = ET.Element(
            "testsuite",
            name=f"soa-db verify {self.env}",
            tests=str(len(self.checks)),
            failures=str(len(self.violations)),
            errors=str(len(self.inconclusive)),
            skipped=str(len(self._of(Outcome.NOT_APPLICABLE))),
        )
        for check in self.checks:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=_xml(".".join(filter(None, (self.env, check.probe.database, check.probe.identity)))),
                name=_xml(f"{check.probe.aspect}: {check.probe}"),
            )
            text = _xml("\n".join(filter(None, (check.detail, check.mend and f"mend: {check.mend}"))))
            match check.outcome:
                case Outcome.VIOLATED:
                    ET.SubElement(case, "failure", message=_xml(str(check))).text = text
                case Outcome.INCONCLUSIVE:
                    ET.SubElement(case, "error", message=_xml(str(check))).text = text
                case Outcome.NOT_APPLICABLE:
                    ET.SubElement(case, "skipped", message=_xml(check.detail))
                case Outcome.OK | Outcome.NOTED:
                    if text:
                        ET.SubElement(case, "system-out").text = text
        root = ET.Element("testsuites")
        root.append(suite)
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _table(columns: tuple[Aspect, ...], rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]) -> str:
    marks = [columns, *(tuple(map(str, cells)) for *_, cells in rows)]
    names = [("identity", "database"), *((who, where) for who, where, _ in rows)]
    widths = [max(len(row[index]) for row in marks) for index in range(len(columns))]
    who_width, where_width = (max(len(name[index]) for name in names) for index in (0, 1))
    # Names give way so that a line stays within 100 columns.
    room = max(100 - sum(widths) - len(widths) - 2, 24)
    if who_width + where_width > room:
        where_width = max(room - who_width, min(where_width, room // 2))
        who_width = room - where_width
    lines: list[str] = []
    previous = ""
    for (who, where), row in zip(names, marks, strict=True):
        shown = "" if who == previous else who
        previous = who
        texts = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        lines.append(f"{_fit(shown, who_width)}  {_fit(where, where_width)} {' '.join(texts)}".rstrip())
    return "\n".join(lines)


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def grouped(checks: Iterable[Check], *, fold: bool = False) -> list[str]:
    """Checks under the step that mends them, so that one cause with many effects reads as one.

    ``fold``: what is alike is one line with a count, not named one by one.
    """
    groups: dict[str, dict[tuple[str, str, str], list[Check]]] = {}
    for check in checks:
        alike = groups.setdefault(check.mend, {})
        alike.setdefault((check.probe.what, check.probe.expect, check.detail), []).append(check)
    lines: list[str] = []
    for mend, alike in groups.items():
        for found in alike.values():
            if fold and len(found) > 1:
                probe = found[0].probe
                verb = "" if probe.expect == "is" else f"{probe.expect} "
                detail = f": {found[0].detail}" if found[0].detail else ""
                lines.append(f"  {verb}{probe.what}{detail} ({len(found)} identities × databases)")
                continue
            lines += [f"  {check}" for check in found[:3]]
            if len(found) > 3:
                lines.append(f"  … and {len(found) - 3} more like it")
        if mend:
            lines.append(f"    → {mend}")
    return lines
