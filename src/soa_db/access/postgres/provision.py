"""ServerPlan and carry out on one PostgreSQL server.

The order, each step whole or not at all, so that a run killed anywhere is finished by the next:

1. one lock per server, held for the whole run; then inspect and plan (again);
2. roles, in one transaction; membership in rds_iam, undone by the server itself should it lock the administrator out;
3. databases are created, one by one;
4. each database's contents in one transaction, databases in parallel unless they share an owner;
5. passwords, by way of Secrets Manager;
6. retired roles;
7. inspect again: nothing may be left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg

from soa_db.access.converge import action_of, converge, server_plan
from soa_db.access.plan import Change, PlanOptions, Progress, ProgressEvent, ServerPlan
from soa_db.access.postgres.actions import (
    Action,
    CreateDatabase,
    DropRole,
    GrantMembership,
    RetireIn,
    SetPassword,
    sentence,
)
from soa_db.access.postgres.context import Context
from soa_db.access.postgres.desired import IAM_ROLE, Desired
from soa_db.access.postgres.diff import compare_server, diff_database
from soa_db.access.postgres.diff_contents import diff_contents
from soa_db.access.postgres.iam import grant_membership
from soa_db.access.postgres.inspect import inspect_all_contents, inspect_contents, inspect_server
from soa_db.access.postgres.lock import server_lock
from soa_db.access.postgres.parallel import each, sharing_nothing
from soa_db.access.postgres.render import bracket_close, bracket_open, owners, render
from soa_db.access.postgres.retry import retried
from soa_db.errors import ServerUnavailable

if TYPE_CHECKING:
    from soa_db.access.postgres.admin import AdminServer
    from soa_db.access.postgres.passwords import DevelopmentPasswords
    from soa_db.access.postgres.state import ServerState

__all__ = ["PostgresProvisioner"]

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class PostgresProvisioner:
    """What is wanted of one server, and how to get there.

    Attributes:
        desired: what the specs want.
        specs: the specs in a canonical text, for fingerprints.
        server: the server, as its administrator.
        options: what was asked for.
        passwords: in dev, who looks after them.
        progress: told each step before it is taken.
    """

    desired: Desired
    specs: str
    server: AdminServer
    options: PlanOptions
    passwords: DevelopmentPasswords | None
    progress: Progress

    def plan(self) -> ServerPlan:
        """Inspect and compare; changes nothing and takes no lock."""
        with closing(self.server.connect()) as connection:
            return self._look(connection)[0]

    @contextmanager
    def locked(self, timeout: float | None = None) -> Iterator[LockedServer]:
        """Hold the server's lock.

        Args:
            timeout: seconds to wait for another run; None for as long as it takes.

        Raises:
            ProvisionError: another run still held the lock.
        """
        with server_lock(self.server, timeout=timeout, progress=self.progress) as (connection, waited):
            yield LockedServer(self, connection, waited)

    def _tell(self, step: str, message: str, database: str | None = None) -> None:
        self.progress(ProgressEvent(step, message, database))

    def _look(self, connection: Connection) -> tuple[ServerPlan, ServerState]:
        """Inspect everything and compare."""
        desired = self.desired
        self._tell("inspect", f"inspecting {self.server.address}")
        try:
            state = self._inspect(connection)
        except psycopg.Error as error:
            raise ServerUnavailable(
                f"the server failed while it was inspected: {error.diag.message_primary or error}",
                hint="nothing was changed by this; see the server's log, and run again",
                host=self.server.address,
            ) from error
        found = compare_server(desired, state, self.options)
        plan = server_plan(
            "postgres",
            self.server.address,
            env=desired.env,
            specs=self.specs,
            options=self.options,
            changes=found.changes,
            notices=found.notices,
        )
        return plan, state

    def _inspect(self, connection: Connection) -> ServerState:
        state = inspect_server(connection, [retired.name for retired in self.desired.retired])
        there = {
            name: wanted.columns
            for name, wanted in self.desired.databases.items()
            if (database := state.databases.get(name)) is not None
            and database.connectable
            and database.admin_may_connect
        }
        state = replace(state, contents=inspect_all_contents(self.server.connect, there))
        if self.passwords is None:
            return state
        return replace(state, passwords=self.passwords.inspect(state))


@dataclass(slots=True)
class LockedServer:
    """A server whose lock is held.

    Attributes:
        of: what is wanted.
        connection: the session that holds the lock, in the database ``postgres``.
        waited: seconds it took to get the lock.
        applied: the changes that were begun.
    """

    of: PostgresProvisioner
    connection: Connection
    waited: float
    applied: tuple[Change, ...] = ()
    _state: ServerState | None = None

    def plan(self) -> ServerPlan:
        """Inspect and compare, under the lock."""
        plan, self._state = self.of._look(self.connection)  # noqa: SLF001  (one subject in two classes)
        return plan

    def carry_out(self, plan: ServerPlan, agree: Callable[[ServerPlan], bool] = lambda _: True) -> ServerPlan:
        """Make the changes of a plan just made, as ``engine.LockedServer`` says."""
        assert self._state is not None, "plan() comes first"
        hint = "a grantor's or an owner's rights may be missing; see the server's log for warnings"
        return converge(plan, self._pass, agree=agree, hint=hint)

    def _pass(self, plan: ServerPlan) -> ServerPlan:
        state = self._state
        assert state is not None
        self.applied += plan.changes
        actions = [(change, action_of(change)) for change in plan.changes]
        created = [action.name for _, action in actions if isinstance(action, CreateDatabase)]
        self._roles([action for change, action in actions if change.group == "roles"], state)
        self._create(created, state)
        self._databases(actions, created, state)
        self._passwords([action for _, action in actions if isinstance(action, SetPassword)])
        self._retire(actions, state)
        self._tell("check", "inspecting again: nothing may be left to do")
        return self.plan()

    # --- roles

    def _roles(self, actions: Sequence[Action], state: ServerState) -> None:
        iam = [action for action in actions if isinstance(action, GrantMembership)]
        others = [action for action in actions if not isinstance(action, GrantMembership)]
        if others:
            self._tell("roles", f"{len(others)} changes of roles")
            self._transaction(self.connection, others, state)
        if iam:
            self._tell("roles", f"granting {IAM_ROLE} to {len(iam)} roles")
            grant_membership(
                self.of.server,
                self.connection,
                iam,
                lambda: self._tell("prove", "proving that the administrator can still log in"),
            )

    # --- databases

    def _create(self, names: Sequence[str], state: ServerState) -> None:
        """CREATE DATABASE copies files for a tenth of a second, most of it waiting: several at once."""

        def one(name: str) -> None:
            self._begin("create", f"creating database {name}", name)
            with closing(self.of.server.connect()) as connection:
                retried(lambda: self._execute(connection, [CreateDatabase(name)], state), self.of.server.address)

        each(one, ([name] for name in names), named=str, what="databases")

    def _databases(self, actions: Sequence[tuple[Change, Action]], created: Sequence[str], state: ServerState) -> None:
        work: dict[str, list[Action]] = {}
        for change, action in actions:
            name = change.database
            if name is not None and change.group == f"database {name}" and not isinstance(action, CreateDatabase):
                work.setdefault(name, []).append(action)
        for name in list(work):
            database = state.databases.get(name)
            if database is not None and not database.admin_may_connect:
                # It cannot be connected to until the administrator is let in, which can be done from here.
                self._transaction(self.connection, work.pop(name), state)
        # Acting as an owner locks the role's row: databases that need the same role come one after another.
        groups = sharing_nothing({name: frozenset(self._acting(todo, state, name)) for name, todo in work.items()})

        def one(name: str) -> None:
            self._database(name, work[name], fresh=name in created, state=state)

        each(one, groups, named=str, what="databases")

    def _database(self, name: str, actions: Sequence[Action], *, fresh: bool, state: ServerState) -> None:
        self._begin("database", f"{len(actions)} changes in database {name}", name)
        with closing(self.of.server.connect(name)) as connection:
            if fresh:
                # Planned against what a new database usually holds; what it really holds is known only now.
                actions = self._anew(name, connection, state)
            self._transaction(connection, actions, state, name)

    def _anew(self, name: str, connection: Connection, state: ServerState) -> list[Action]:
        wanted = self.of.desired.databases[name]
        context = Context(self.of.desired, state, self.of.options)
        contents = retried(lambda: inspect_contents(connection, wanted.columns), self.of.server.address)
        parts = (
            diff_database(wanted, None, context),
            diff_contents(wanted, contents, context, used=False),
        )
        actions = [action_of(change) for part in parts for change in part.changes]
        return [action for action in actions if not isinstance(action, CreateDatabase)]

    # --- passwords, retirement

    def _passwords(self, actions: Sequence[SetPassword]) -> None:
        if actions and self.of.passwords is not None:
            self._begin("passwords", f"{len(actions)} passwords")
            self.of.passwords.issue(actions, lambda text: self._tell("password", text))

    def _retire(self, actions: Sequence[tuple[Change, Action]], state: ServerState) -> None:
        for change, action in actions:
            match action:
                case RetireIn(role=role) if change.database is not None:
                    self._begin("retire", f"retiring {role} in database {change.database}", change.database)
                    with closing(self.of.server.connect(change.database)) as connection:
                        self._transaction(connection, [action], state, change.database)
                case DropRole(name=role):
                    self._tell("retire", f"dropping role {role}")
                    self._transaction(self.connection, [action], state)
                case _:
                    pass

    # --- doing it

    def _transaction(
        self, connection: Connection, actions: Sequence[Action], state: ServerState, database: str | None = None
    ) -> None:
        """Carry out actions in one transaction, acting as the owners they need for just so long."""

        def run() -> None:
            with connection.transaction():
                acting = self._acting(actions, state, database)
                for role in acting:
                    connection.execute(bracket_open(role, state.admin.name, state.version))
                self._execute(connection, actions, state, database)
                for role in acting:
                    connection.execute(bracket_close(role, state.admin.name, state.version))

        retried(run, self.of.server.address)

    def _acting(self, actions: Iterable[Action], state: ServerState, database: str | None) -> list[str]:
        if state.admin.superuser:
            return []
        needed: set[str] = set().union(*map(owners, actions))
        if needed and database is not None and database in self.of.desired.databases:
            # Finding any object takes USAGE on its schema, which the database's owner has; as its owner the
            # administrator is a member of pg_database_owner too.
            needed.add(self.of.desired.databases[database].owner)
        already = state.admin.acts_as | {state.admin.name}
        # Sorted: two runs that need the same roles ask for them in the same order.
        return sorted(role for role in needed - already if not role.startswith("pg_"))

    @staticmethod
    def _execute(
        connection: Connection, actions: Iterable[Action], state: ServerState, database: str | None = None
    ) -> None:
        for action in actions:
            try:
                for statement in render(action, state.version):
                    connection.execute(statement)
            except psycopg.Error as error:
                # Whoever types the error says which change it was.
                error.add_note(sentence(action, database))
                raise

    def _tell(self, step: str, message: str, database: str | None = None) -> None:
        self.of.progress(ProgressEvent(step, message, database))

    def _begin(self, step: str, message: str, database: str | None = None) -> None:
        """Tell, and make sure of the lock: over another session this step would be taken without it just as well."""
        self._tell(step, message, database)
        try:
            self.connection.execute("SELECT 1")
        except psycopg.Error as error:
            raise ServerUnavailable(
                f"the session that holds the lock ended ({error.diag.message_primary or type(error).__name__}), "
                f"not begun: {message}",
                hint="another run may be at work meanwhile; see the server's log, and run again",
                host=self.of.server.address,
            ) from error
