"""Plan and carry out on one MongoDB. The order, so that a run killed anywhere is finished by the next:

1. the lock, held for the whole run; then inspect and plan (again);
2. roles by which services read each other's collections, since users can only be granted what exists;
3. users are made, taken over and changed; a new one has no password anybody knows;
4. passwords, by way of Secrets Manager;
5. users that are retired, then roles nobody agreed on, are dropped;
6. inspect again: nothing may be left to do.

Each change is one command, whole or not at all. One that fails for a user or a role stops no other; what else was to be
done for the same one is left out, so is what is dropped once everybody is served, and each that failed is named in the
end.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from soa_db.access.converge import action_of, converge, raise_failed, server_plan
from soa_db.access.lease import LEASE_SECONDS, LockLost
from soa_db.access.mongo.actions import (
    Action,
    AdoptUser,
    AlterUser,
    CreateRole,
    CreateUser,
    DropRole,
    DropUser,
    SetPassword,
    SetRole,
    sentence,
)
from soa_db.access.mongo.diff import compare
from soa_db.access.mongo.inspect import inspect_server, is_open_to_all
from soa_db.access.mongo.lock import server_lock
from soa_db.access.mongo.render import render
from soa_db.access.plan import PlanOptions, Progress, ProgressEvent, ServerPlan
from soa_db.errors import ConnectionFailed, SoaDbError

if TYPE_CHECKING:
    from soa_db.access.lease import HeldLease
    from soa_db.access.mongo.admin import AdminServer
    from soa_db.access.mongo.desired import Desired
    from soa_db.access.mongo.passwords import Passwords
    from soa_db.access.mongo.session import Session
    from soa_db.access.mongo.state import RoleName, ServerState, UserName
    from soa_db.access.plan import Change

__all__ = ["LockedMongo", "MongoProvisioner"]

# Each kind of change with the step that progress is told.
_STEPS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((CreateRole, SetRole), "roles"),
    ((CreateUser, AdoptUser, AlterUser), "users"),
    ((SetPassword,), "passwords"),
    ((DropUser,), "retire"),
    ((DropRole,), "roles"),
)


@dataclass(slots=True)
class MongoProvisioner:
    """What is wanted of one MongoDB, and how to get there.

    Attributes:
        desired: what the specs want.
        specs: the specs in a canonical text, for fingerprints.
        server: the server, as its administrator.
        options: what was asked for.
        passwords: who looks after passwords.
        progress: told each step before it is taken.
        lock_seconds: after which the lock of a run that was killed is free.
    """

    desired: Desired
    specs: str
    server: AdminServer
    options: PlanOptions
    passwords: Passwords
    progress: Progress
    lock_seconds: float = LEASE_SECONDS

    def plan(self) -> ServerPlan:
        """Inspect and compare; changes nothing and takes no lock.

        Raises:
            ProvisionError: the administrator may not look.
            ConnectionFailed: the server was not reached.
            CredentialError: AWS did not give what it takes.
        """
        with self.server.connect() as session:
            return self._look(session)[0]

    @contextmanager
    def locked(self, timeout: float | None = None) -> Iterator[LockedMongo]:
        """Keep other runs away.

        Args:
            timeout: seconds to wait for another run; None for as long as it takes.

        Raises:
            ProvisionError: another run was still at work, or the administrator may not take the lock.
        """
        with (
            self.server.connect() as session,
            server_lock(session, timeout=timeout, progress=self.progress, seconds=self.lock_seconds) as lease,
        ):
            yield LockedMongo(self, session, lease)

    def _look(self, session: Session) -> tuple[ServerPlan, ServerState]:
        self.progress(ProgressEvent("inspect", f"inspecting {self.server.address}"))
        state = inspect_server(session, self.desired.databases)
        with self.server.connect_as_nobody() as nobody:
            state = replace(state, open_to_all=is_open_to_all(nobody))
        state = replace(state, passwords=self.passwords.inspect(state))
        found = compare(self.desired, state, self.options)
        plan = server_plan(
            "mongo",
            self.server.address,
            env=self.desired.env,
            specs=self.specs,
            options=self.options,
            changes=found.changes,
            notices=found.notices,
        )
        return plan, state


@dataclass(slots=True)
class LockedMongo:
    """A MongoDB whose lock is held.

    Attributes:
        of: what is wanted.
        session: the administrator's.
        lease: the lock.
        applied: the changes that were begun.
    """

    of: MongoProvisioner
    session: Session
    lease: HeldLease
    applied: tuple[Change, ...] = ()
    _state: ServerState | None = None

    @property
    def waited(self) -> float:
        """Seconds it took to get the lock."""
        return self.lease.waited

    def plan(self) -> ServerPlan:
        """Inspect and compare, under the lock."""
        plan, self._state = self.of._look(self.session)  # noqa: SLF001  (one subject in two classes)
        return plan

    def carry_out(self, plan: ServerPlan, agree: Callable[[ServerPlan], bool] = lambda _: True) -> ServerPlan:
        """Make the changes of a plan just made, as ``engine.LockedServer`` says."""
        assert self._state is not None, "plan() comes first"
        hint = "is somebody else changing the same users?"
        return converge(plan, self._pass, agree=agree, hint=hint)

    def _pass(self, plan: ServerPlan) -> ServerPlan:
        failed: dict[UserName | RoleName, SoaDbError] = {}
        actions: list[tuple[Change, Action]] = [(change, action_of(change)) for change in plan.changes]
        for kinds, step in _STEPS:
            for change, action in actions:
                about = _about(action)
                if not isinstance(action, kinds) or about in failed:
                    continue
                if failed and isinstance(action, DropUser | DropRole):
                    self._tell("skip", f"left, since something before it failed: {sentence(action)}")
                    continue
                self._tell(step, sentence(action))
                self.lease.check()
                self.applied += (change,)
                try:
                    self._one(action)
                except (LockLost, ConnectionFailed):
                    raise  # so would be the others
                except SoaDbError as error:
                    failed[about] = error
                    self._tell(step, f"{about}: failed: {error.message}")
        raise_failed([(str(about), error) for about, error in failed.items()], "users or roles")
        self._tell("check", "inspecting again: nothing may be left to do")
        return self.plan()

    def _one(self, action: Action) -> None:
        if isinstance(action, SetPassword):
            tell = lambda text: self._tell("password", text)  # noqa: E731
            self.of.passwords.carry_out(action, self.session, tell, self.lease.check)
            return
        assert self._state is not None
        custom = self._state.users[action.user].custom if isinstance(action, AdoptUser) else None
        # Nobody knows it: it is never stored, and replaced before anybody is told that there is such a user.
        password = secrets.token_urlsafe(32) if isinstance(action, CreateUser) else None
        command = render(action, password=password, custom=custom)
        self.session.command(_about(action).database, command, what=sentence(action))

    def _tell(self, step: str, message: str) -> None:
        self.of.progress(ProgressEvent(step, message))


def _about(action: Action) -> UserName | RoleName:
    return action.role if isinstance(action, CreateRole | SetRole | DropRole) else action.user
