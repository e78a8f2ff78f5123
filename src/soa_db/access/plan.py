"""A plan: what would be changed, as sentences, and whether it still fits. Engine-neutral; opens no connection.

A plan has a part for each server, since each engine has its own. An engine compares what the specs want with what its
server has and gives ``Change`` objects. The ``action`` of a change belongs to the engine, which alone can render it;
everything else here is for people and for files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from soa_db.errors import PlanConflict, ProvisionError

if TYPE_CHECKING:
    from soa_db.names import Env

__all__ = [
    "PLAN_FORMAT",
    "ApplyResult",
    "Change",
    "Notice",
    "Plan",
    "PlanOptions",
    "Progress",
    "ProgressEvent",
    "ServerPlan",
    "fingerprint",
    "refuse_errors",
]

PLAN_FORMAT = "soa-db plan 2"


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
class ServerPlan:
    """What would be changed on one server.

    Attributes:
        env: the environment.
        engine: ``postgres``, ``redis`` or ``mongo``.
        server: the server's ``host:port``, or what else it is known by.
        changes: in the order they are made.
        notices: what is reported only.
        fingerprint: of specs, options, server and changes; equal fingerprints mean the same would be done.
    """

    env: Env
    engine: str
    server: str
    changes: tuple[Change, ...] = ()
    notices: tuple[Notice, ...] = ()
    fingerprint: str = ""

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
        """This part of the plan as JSON data, without the engine's actions."""
        return {
            "engine": self.engine,
            "server": self.server,
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

    def refuse_unless_fits(self, current: ServerPlan) -> None:
        """Compare this (saved) plan with what would be done now on the same server."""
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be changed in one environment, server by server.

    Attributes:
        env: the environment.
        options: what was asked for.
        servers: one part for each engine's server, in the order they are worked on.
        specs: the files the specs were read from.
        overlooked: a notice for each engine that could have been looked at and was not.
    """

    env: Env
    options: PlanOptions = PlanOptions()
    servers: tuple[ServerPlan, ...] = ()
    specs: tuple[str, ...] = ()
    overlooked: tuple[Notice, ...] = ()

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines it is about."""
        return tuple(server.engine for server in self.servers)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes of all servers."""
        return tuple(change for server in self.servers for change in server.changes)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What is reported only, of all servers and of those not looked at."""
        return (*(notice for server in self.servers for notice in server.notices), *self.overlooked)

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

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON data, without secrets and without the engines' actions."""
        return {
            "format": PLAN_FORMAT,
            "env": self.env,
            "options": asdict(self.options),
            "specs": list(self.specs),
            "servers": [server.to_json() for server in self.servers],
            "overlooked": [asdict(notice) for notice in self.overlooked],
        }

    def refuse_unless_fits(self, current: Plan) -> None:
        """Compare this (saved) plan with what would be done now.

        Raises:
            PlanConflict: something else would be done; the message names what came and what went.
        """
        if self.env != current.env or self.engines != current.engines:
            raise PlanConflict(
                f"the saved plan is for {_named(self)}, not for {_named(current)}", hint="make a new plan"
            )
        for saved, now in zip(self.servers, current.servers, strict=True):
            saved.refuse_unless_fits(now)


def refuse_errors(*servers: ServerPlan) -> None:
    """Raise ProvisionError when something makes applying impossible, with every such notice and its remedy."""
    standing = [server for server in servers if server.errors]
    if standing:
        lines = "\n".join(f"  {one.sentence}\n    {one.remedy}" for server in standing for one in server.errors)
        where = ", ".join(server.server for server in standing)
        raise ProvisionError(f"nothing was changed, since this stands in the way:\n{lines}", host=where)


def _named(plan: Plan) -> str:
    return f"{' and '.join(plan.engines) or 'nothing'} of {plan.env}"


def _told(plan: ServerPlan) -> list[tuple[str, str, str | None, bool]]:
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
    digest = hashlib.sha256(repr((PLAN_FORMAT, specs, env, server, options)).encode())
    for change in changes:
        digest.update(repr((change.sentence, change.database, change.destructive, change.action)).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """A step of applying a plan, told before the step is taken.

    Attributes:
        step: ``lock``, ``wait``, ``inspect``, ``roles``, ``prove``, ``create``, ``database``, ``users``, ``save``,
            ``passwords``, ``password``, ``retire``, ``failed``, ``skip``, ``check``, ``done``.
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
