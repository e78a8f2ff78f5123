"""Plan and carry out on one Redis. The order, so that a run killed anywhere is finished by the next:

1. other runs are kept away; then inspect and plan (again);
2. users are made and changed; a new one has no password anybody knows;
3. the user group's members (ElastiCache);
4. passwords, by way of Secrets Manager;
5. users that no spec declares are deleted (``--prune``);
6. ``default`` is turned off, or replaced in the user group by one that is, as the last thing: everybody else can log in
   by then;
7. inspect again: nothing may be left to do.

What fails for one user stops no other; 5 and 6 are left then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from soa_db.access.converge import action_of, converge, raise_failed, server_plan
from soa_db.access.lease import LockLost
from soa_db.access.plan import PlanOptions, Progress, ProgressEvent, ServerPlan
from soa_db.access.redis.actions import SetPassword, sentence
from soa_db.access.redis.diff import compare
from soa_db.access.redis.order import STEPS, concerned, left_of, step_of, subject
from soa_db.errors import SoaDbError

if TYPE_CHECKING:
    from soa_db.access.plan import Change
    from soa_db.access.redis.access_string import Desired
    from soa_db.access.redis.actions import Action
    from soa_db.access.redis.backend import Backend
    from soa_db.access.redis.passwords import Passwords
    from soa_db.access.redis.state import ServerState

__all__ = ["LockedRedis", "RedisProvisioner"]


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
        plan = server_plan(
            "redis",
            self.server.address,
            env=self.desired.env,
            specs=self.specs,
            options=self.options,
            changes=found.changes,
            notices=found.notices,
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
        """Make the changes of a plan just made, as ``engine.LockedServer`` says."""
        assert self._state is not None, "plan() comes first"
        hint = "is another run, or somebody else, changing the same users?"
        return converge(plan, self._pass, agree=agree, hint=hint)

    def _pass(self, plan: ServerPlan) -> ServerPlan:
        """Make every change that can be made, in order; then look again, unless one failed.

        One that fails stops neither those of other users nor, for those, what comes later. For its own user, and for
        what is there for everybody's good only once everybody is served (deleting users, turning ``default`` off),
        it does.
        """
        state = self._state
        assert state is not None
        todo: list[tuple[Change, Action]] = [(change, action_of(change)) for change in plan.changes]
        failed: list[tuple[str, SoaDbError]] = []
        without: set[str] = set()
        for change, planned in sorted(todo, key=lambda one: step_of(one[1])):
            action = left_of(planned, without) if failed else planned
            if action is None:
                self._tell("skip", f"left, since something before it failed: {sentence(planned)}")
                continue
            self._tell(STEPS[step_of(action)], sentence(action))
            self.applied += (change,)
            try:
                self._carry_out(action, state)
            except LockLost:
                raise
            except SoaDbError as error:
                failed.append((subject(action), error))
                without |= concerned(action)
                self._tell("failed", f"{subject(action)}: failed: {error.message}")
        raise_failed(failed, "changes")
        self._tell("check", "inspecting again: nothing may be left to do")
        return self.plan()

    def _carry_out(self, action: Action, state: ServerState) -> None:
        if isinstance(action, SetPassword):
            self.of.passwords.issue(action, state, lambda text: self._tell("password", text))
        else:
            self.of.server.carry_out(action, state)

    def _tell(self, step: str, message: str) -> None:
        self.of.progress(ProgressEvent(step, message))
