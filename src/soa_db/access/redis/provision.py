"""Plan and carry out on one Redis. The order, so that a run killed anywhere is finished by the next:

1. other runs are kept away; then inspect and plan (again);
2. users are made and changed; a new one has no password anybody knows;
3. the user group (ElastiCache);
4. passwords, by way of Secrets Manager;
5. users that no spec declares are deleted (``--prune``);
6. ``default`` is turned off, as the last thing: everybody else can log in by then;
7. inspect again: nothing may be left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from soa_db.access.plan import PlanOptions, Progress, ProgressEvent, ServerPlan, fingerprint, refuse_errors
from soa_db.access.redis.actions import (
    ChangeMembers,
    CreateGroup,
    CreateUser,
    DisableDefault,
    DropUser,
    MarkUser,
    SaveUsers,
    SetAccess,
    SetPassword,
    UseTokens,
    sentence,
)
from soa_db.access.redis.diff import compare
from soa_db.errors import ProvisionError

if TYPE_CHECKING:
    from soa_db.access.plan import Change
    from soa_db.access.redis.access_string import Desired
    from soa_db.access.redis.actions import Action
    from soa_db.access.redis.backend import Backend
    from soa_db.access.redis.passwords import Passwords
    from soa_db.access.redis.state import ServerState

__all__ = ["LockedRedis", "RedisProvisioner"]

# Each kind of change with the step that progress is told.
_ORDER: tuple[tuple[tuple[type, ...], str], ...] = (
    ((SaveUsers,), "save"),
    ((CreateUser, SetAccess, UseTokens, MarkUser), "users"),
    ((CreateGroup, ChangeMembers), "users"),
    ((SetPassword,), "passwords"),
    ((DropUser,), "users"),
    ((DisableDefault,), "users"),
)


@dataclass(frozen=True, slots=True)
class RedisProvisioner:
    """What is wanted of one Redis, and how to get there.

    Attributes:
        desired: what the specs want.
        specs: the specs in a canonical text, for fingerprints.
        server: who administers it.
        options: what was asked for.
        passwords: who looks after passwords.
        progress: told each step before it is taken.
    """

    desired: Desired
    specs: str
    server: Backend
    options: PlanOptions
    passwords: Passwords
    progress: Progress

    def plan(self) -> ServerPlan:
        """Inspect and compare; changes nothing and takes no lock.

        Raises:
            ProvisionError: the administrator may not look.
            ConnectionFailed: the server was not reached.
            CredentialError: AWS did not give what it takes.
        """
        return self._look()[0]

    @contextmanager
    def locked(self, timeout: float | None = None) -> Iterator[LockedRedis]:
        """Keep other runs away.

        Args:
            timeout: seconds to wait for another run; None for as long as it takes.

        Raises:
            ProvisionError: another run was still at work.
        """
        with self.server.locked(timeout, self.progress) as waited:
            yield LockedRedis(self, waited)

    def _look(self) -> tuple[ServerPlan, ServerState]:
        self.progress(ProgressEvent("inspect", f"inspecting {self.server.address}"))
        state = self.server.inspect()
        state = replace(state, passwords=self.passwords.inspect(state))
        found = compare(self.desired, state, self.options)
        plan = ServerPlan(
            env=self.desired.env,
            engine="redis",
            server=self.server.address,
            changes=tuple(found.changes),
            notices=tuple(found.notices),
            fingerprint=fingerprint(
                specs=self.specs,
                env=self.desired.env,
                server=self.server.address,
                options=self.options,
                changes=found.changes,
            ),
        )
        return plan, state


@dataclass(slots=True)
class LockedRedis:
    """A Redis that no other run is at work on.

    Attributes:
        of: what is wanted.
        waited: seconds spent waiting for another run.
        applied: the changes that were begun.
    """

    of: RedisProvisioner
    waited: float
    applied: tuple[Change, ...] = ()
    _state: ServerState | None = None

    def plan(self) -> ServerPlan:
        """Inspect and compare, under the lock."""
        plan, self._state = self.of._look()  # noqa: SLF001  (one subject in two classes)
        return plan

    def carry_out(self, plan: ServerPlan, agree: Callable[[ServerPlan], bool] = lambda _: True) -> ServerPlan:
        """Make the changes of a plan just made, then look again.

        Args:
            plan: the plan.
            agree: asked about a second plan, of what could not be seen when the first was made.

        Returns:
            What a new look finds; it has no changes.

        Raises:
            ProvisionError: a change failed, or was not agreed to, or something is left to do.
        """
        assert self._state is not None, "plan() comes first"
        refuse_errors(plan)
        after = self._pass(plan)
        if {change.sentence for change in after.changes} - {change.sentence for change in plan.changes}:
            # Whether a password is right whose user could not log in before is seen only now. Nobody has agreed to
            # that yet.
            if not agree(after):
                lines = "\n".join(f"  {change.sentence}" for change in after.changes[:20])
                raise ProvisionError(
                    f"the plan was carried out; {len(after.changes)} changes more, which could be seen only then, were "
                    f"not made:\n{lines}",
                    hint="look at a new plan",
                    host=self.of.server.address,
                )
            after = self._pass(after)
        if after.changes:
            lines = "\n".join(f"  {change.sentence}" for change in after.changes[:20])
            raise ProvisionError(
                f"{len(after.changes)} changes did not take effect, though the server reported no error:\n{lines}",
                hint="is another run, or somebody else, changing the same users?",
                host=self.of.server.address,
            )
        return after

    def _pass(self, plan: ServerPlan) -> ServerPlan:
        state = self._state
        assert state is not None
        actions = [(change, _action(change)) for change in plan.changes]
        for kinds, step in _ORDER:
            chosen = [action for _, action in actions if isinstance(action, kinds)]
            passwords = [action for action in chosen if isinstance(action, SetPassword)]
            self.applied += tuple(change for change, action in actions if action in passwords)
            if passwords:
                self._tell(step, f"{len(passwords)} passwords")
                self.of.passwords.issue(passwords, state, lambda text: self._tell("password", text))
                continue
            for change, action in actions:
                if isinstance(action, kinds):
                    self._tell(step, sentence(action))
                    self.applied += (change,)
                    self.of.server.carry_out(action, state)
        self._tell("check", "inspecting again: nothing may be left to do")
        return self.plan()

    def _tell(self, step: str, message: str) -> None:
        self.of.progress(ProgressEvent(step, message))


def _action(change: Change) -> Action:
    assert change.action is not None, "a plan read from a file is compared, never carried out"
    action: Any = change.action
    found: Action = action
    return found
