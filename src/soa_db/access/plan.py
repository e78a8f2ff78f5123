"""A plan: what would be changed, as sentences, and whether it still fits. Engine-neutral; opens no connection.

An engine compares what the specs want with what a server has and gives ``Change`` objects. The ``action`` of a change
belongs to the engine, which alone can render it; everything else here is for people and for files.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from soa_db.errors import ConfigurationError, PlanConflict
from soa_db.names import Env, check_env

__all__ = ["ApplyResult", "Change", "Notice", "Plan", "PlanOptions", "Progress", "ProgressEvent", "load_plan"]

_FORMAT = "soa-db plan 1"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to be done.

    Attributes:
        sentence: what a person reads, e.g. ``create role chat_api_app``.
        group: the heading it stands under: ``roles``, ``database chat_api``, ``passwords``.
        database: the database it happens in; None for what belongs to the whole server.
        destructive: somebody may lose access or data.
        action: what the engine renders; None in a plan that was read from a file.
    """

    sentence: str
    group: str
    database: str | None = None
    destructive: bool = False
    action: object = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something seen that the plan does not change.

    Attributes:
        level: ``note`` for what is not managed here, ``pending`` for what waits for another service's spec,
            ``unreachable`` for what ought to change but this administrator cannot, ``error`` for what makes applying
            impossible.
        sentence: what a person reads.
        remedy: what to do about it, often a statement a superuser can run; may be empty.
        database: the database it is about, None for the server.
    """

    level: Literal["note", "pending", "unreachable", "error"]
    sentence: str
    remedy: str = ""
    database: str | None = None


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What was asked for beyond the specs.

    Attributes:
        prune: also take away what no spec declares, and drop retired roles.
        reassign: give objects of other roles in declared schemas to the owner role.
        insecure_dev: fixed development passwords.
    """

    prune: bool = False
    reassign: bool = False
    insecure_dev: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be changed on one server.

    Attributes:
        env: the environment.
        engine: ``postgres``.
        server: the server's ``host:port``.
        options: what was asked for.
        changes: in the order they are made.
        notices: what is reported only.
        fingerprint: of specs, options, server and changes; equal fingerprints mean the same would be done.
        specs: the files the specs were read from.
    """

    env: Env
    engine: str
    server: str
    options: PlanOptions = PlanOptions()
    changes: tuple[Change, ...] = ()
    notices: tuple[Notice, ...] = ()
    fingerprint: str = ""
    specs: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing to do."""
        return not self.changes

    @property
    def destructive(self) -> tuple[Change, ...]:
        """The changes by which somebody may lose access or data."""
        return tuple(change for change in self.changes if change.destructive)

    @property
    def errors(self) -> tuple[Notice, ...]:
        """What makes applying impossible."""
        return tuple(notice for notice in self.notices if notice.level == "error")

    def grouped(self) -> dict[str, tuple[Change, ...]]:
        """The changes by their heading, in order."""
        groups: dict[str, list[Change]] = {}
        for change in self.changes:
            groups.setdefault(change.group, []).append(change)
        return {group: tuple(changes) for group, changes in groups.items()}

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON data, without secrets and without the engine's actions."""
        return {
            "format": _FORMAT,
            "env": self.env,
            "engine": self.engine,
            "server": self.server,
            "options": asdict(self.options),
            "specs": list(self.specs),
            "fingerprint": self.fingerprint,
            "changes": [
                {
                    "sentence": change.sentence,
                    "group": change.group,
                    "database": change.database,
                    "destructive": change.destructive,
                }
                for change in self.changes
            ],
            "notices": [asdict(notice) for notice in self.notices],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file only its owner can read, all of it or nothing.

        Raises:
            ConfigurationError: the file cannot be written.
        """
        target = Path(path)
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
        temporary = ""
        try:
            # mkstemp makes the file 0600; the rename makes the content appear at once.
            descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(target)
        except BaseException as error:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise ConfigurationError(f"cannot write the plan to {target}: {error.strerror}") from error
            raise

    def refuse_unless_fits(self, current: Plan) -> None:
        """Compare this (saved) plan with what would be done now.

        Raises:
            PlanConflict: something else would be done; the message names what came and what went.
        """
        if self.fingerprint == current.fingerprint and _told(self) == _told(current):
            return
        if (self.env, self.engine, self.server) != (current.env, current.engine, current.server):
            raise PlanConflict(
                f"the saved plan is for {self.engine} of {self.env} at {self.server}, "
                f"not for {current.engine} of {current.env} at {current.server}",
                hint="make a new plan",
            )
        before = {change.sentence for change in self.changes}
        now = {change.sentence for change in current.changes}
        lines = [f"  - {change.sentence}" for change in self.changes if change.sentence not in now]
        lines += [f"  + {change.sentence}" for change in current.changes if change.sentence not in before]
        if self.fingerprint == current.fingerprint:
            raise PlanConflict(
                "the saved plan was edited: it does not say what would be done\n" + "\n".join(lines[:20]),
                hint="look at a new plan and save it again",
            )
        detail = "\n".join(lines[:20]) or "  (the same sentences, but other objects, specs or options)"
        raise PlanConflict(
            f"the saved plan no longer fits: the specs or the server changed since it was made\n{detail}",
            hint="look at a new plan and save it again",
        )


def _told(plan: Plan) -> list[tuple[str, str, str | None, bool]]:
    """What a person reads of a plan; whoever agreed to a file agreed to this."""
    return [(change.sentence, change.group, change.database, change.destructive) for change in plan.changes]


def fingerprint(*, specs: str, env: str, server: str, options: PlanOptions, changes: Iterable[Change]) -> str:
    """A digest of everything that decides what is done.

    Args:
        specs: the specs in a canonical text.
        env: the environment.
        server: the server's ``host:port``.
        options: what was asked for.
        changes: the changes with their actions, whose ``repr`` names every object.
    """
    digest = hashlib.sha256(repr((_FORMAT, specs, env, server, options)).encode())
    for change in changes:
        digest.update(repr((change.sentence, change.database, change.destructive, change.action)).encode())
    return digest.hexdigest()


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan that was saved.

    Raises:
        ConfigurationError: there is no such file, or it does not hold a plan.
    """
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the plan {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not a plan: it is not JSON") from error
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise ConfigurationError(f"{path} is not a plan of this version", hint="make it anew with `soa-db plan --out`")
    try:
        return Plan(
            env=check_env(data["env"]),
            engine=str(data["engine"]),
            server=str(data["server"]),
            options=PlanOptions(**data["options"]),
            changes=tuple(Change(**change) for change in data["changes"]),
            notices=tuple(Notice(**notice) for notice in data["notices"]),
            fingerprint=str(data["fingerprint"]),
            specs=tuple(data["specs"]),
        )
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is not a whole plan", hint="make it anew with `soa-db plan --out`") from error


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """A step of applying a plan, told before the step is taken.

    Attributes:
        step: ``lock``, ``wait``, ``inspect``, ``roles``, ``prove``, ``create``, ``database``, ``passwords``,
            ``password``, ``retire``, ``check``, ``done``.
        message: what a person reads.
        database: the database it is about.
    """

    step: str
    message: str
    database: str | None = None


Progress = Callable[[ProgressEvent], None]


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What applying did.

    Attributes:
        plan: the plan that was carried out, made under the lock.
        applied: the changes made, also those that could be seen only on the way; empty on a clean system, where nothing
            was written.
        notices: what is still reported now.
        waited: seconds spent waiting for another run.
        seconds: seconds in all.
        declined: the person asked said no; nothing was changed.
    """

    plan: Plan
    applied: tuple[Change, ...] = ()
    notices: tuple[Notice, ...] = field(default=())
    waited: float = 0.0
    seconds: float = 0.0
    declined: bool = False
