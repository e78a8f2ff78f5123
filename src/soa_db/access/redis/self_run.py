"""Administering a Redis that is run by ourselves: ``ACL SETUSER`` on every node, saved where it survives a restart.

Users are copied neither among the nodes of a cluster nor from a primary to its replicas, and a replica takes ACL
commands although it takes no writes: so each is given them by itself. The lock and our keys are on the primary.

Between changing a user and saving it a run can be ended; so a key says that something is unsaved, from before the first
change until all is saved, and the next run finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soa_db.access.lease import LEASE_SECONDS, HeldLease, LockLost
from soa_db.access.redis.access_string import setuser_rules
from soa_db.access.redis.acl import password_hash
from soa_db.access.redis.actions import (
    CreateUser,
    DisableDefault,
    DropUser,
    SaveUsers,
    SetAccess,
)
from soa_db.access.redis.inspect import (
    acl_lines,
    inspect_node,
    logged_in_as_default,
    replication_of,
    where_kept,
)
from soa_db.access.redis.lock import UNSAVED_KEY, server_lock
from soa_db.access.redis.session import CommandRefused
from soa_db.access.redis.state import DEFAULT, NodeState, ServerState
from soa_db.errors import ConnectionFailed, ProvisionError, SoaDbError

if TYPE_CHECKING:
    from soa_db.access.plan import Progress
    from soa_db.access.redis.actions import Action
    from soa_db.access.redis.admin import AdminServer
    from soa_db.access.redis.session import Session
    from soa_db.config import RedisConfig
    from soa_db.names import Env

__all__ = ["SelfRun"]


@dataclass(slots=True)
class SelfRun:
    """A self-run Redis, as its administrator.

    Attributes:
        admin: the administrator.
        env: the environment.
        user_group: None: there is no such thing.
        lock_ttl: seconds after which the lock of a run that was killed is free.
    """

    admin: AdminServer
    env: Env
    user_group: str | None = None
    lock_ttl: float = LEASE_SECONDS
    _lock: HeldLease | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """``host:port`` of the server, for people and fingerprints."""
        return self.admin.address

    @contextmanager
    def locked(self, timeout: float | None, progress: Progress) -> Iterator[float]:
        """Hold the server's lock; gives the seconds it took to get it."""
        with server_lock(self._connect_to_keys, timeout=timeout, progress=progress, ttl=self.lock_ttl) as lock:
            self._lock = lock
            try:
                yield lock.waited
            finally:
                self._lock = None

    # --- looking

    def inspect(self) -> ServerState:
        """Read the users of every node: of the primary and its replicas, or of all of a cluster.

        A replica that is not reached is named; a node of a cluster that is not reached is an error, since it may be
        a primary by the next minute.

        Raises:
            ProvisionError: the administrator may not.
            ConnectionFailed: the server or a node of its cluster was not reached: a user would be missing there.
        """
        with ExitStack() as stack, self._typed("inspect the users"):
            first = stack.enter_context(self.admin.connect())
            cluster = self.admin.cluster_nodes(first)
            unreached: dict[str, str] = {}
            if cluster:
                sessions = [stack.enter_context(self.admin.connect(self.admin.node(one))) for one in cluster.values()]
                nodes = [inspect_node(session, self.env) for session in sessions]
            else:
                sessions, nodes = [first], [inspect_node(first, self.env)]
                self._add_replicas(sessions, nodes, unreached, stack)
            default = [logged_in_as_default(session) for session in sessions]
            with self._connect_to_keys() as keys:
                unsaved = keys.call("GET", UNSAVED_KEY) is not None
            return ServerState(
                address=self.address,
                nodes=tuple(nodes),
                cluster=bool(cluster),
                admin=str(first.call("ACL", "WHOAMI")),
                unsaved=unsaved,
                unreached=tuple(sorted(unreached.items())),
                as_default=(
                    tuple(link for links, _ in default for link in links),
                    sum(clients for _, clients in default),
                ),
            )

    def _add_replicas(
        self, sessions: list[Session], nodes: list[NodeState], unreached: dict[str, str], stack: ExitStack
    ) -> None:
        """Add each replica of the first session's server; those whose users are not seen go to ``unreached``."""
        history = replication_of(sessions[0]).history
        for session in sessions:  # it grows: a replica may have replicas of its own
            for address in replication_of(session).replicas:
                # Addresses are those that the server sees; from here they may be another's, this server's own too.
                if any(known.address == address for known in sessions):
                    unreached[address] = "from here, that is the address of another server"
                    continue
                try:
                    replica = stack.enter_context(self.admin.connect(self.admin.node(address)))
                    if replication_of(replica).history != history:
                        unreached[address] = "what answers there is no copy of this server"
                        continue
                    nodes.append(inspect_node(replica, self.env))
                except (ConnectionFailed, CommandRefused) as error:
                    unreached[address] = error.message
                    continue
                sessions.append(replica)

    def login_places(self, state: ServerState) -> tuple[RedisConfig, ...]:
        """Where a login proves a password: each node, since users are not copied among them.

        On the administrator's way, which may be a tunnel: that of services may not be open from here.
        """
        return tuple(self.admin.node(node.address) for node in state.nodes)

    # --- changing

    def carry_out(self, action: Action, state: ServerState) -> None:
        """Make one change of users on every node, and save it.

        Raises:
            ProvisionError: it could not be made.
            ConnectionFailed: a node was not reached.
        """
        match action:
            case CreateUser(name, _, access):
                self._set_user(name, ["resetpass", *setuser_rules(access, version=state.version)], state)
            case SetAccess(name, access):
                open_to_all = any(user is not None and user.auth == "none" for user in state.users(name))
                shut = ["resetpass"] if open_to_all else []
                self._set_user(name, [*shut, *setuser_rules(access, version=state.version)], state)
            case DropUser(name):
                self._everywhere(f"delete user {name}", state, "ACL", "DELUSER", name)
            case DisableDefault():
                self._disable_default(state)
            case SaveUsers():
                with self._sessions(state) as sessions:
                    self._save(sessions)
            case _:
                raise AssertionError(f"{action} is not for a self-run Redis")

    def set_passwords(self, user: str, passwords: tuple[str, ...], state: ServerState) -> None:
        """Make exactly these the user's live passwords; only their hashes are sent."""
        self._set_user(user, ["resetpass", *(f"#{password_hash(password)}" for password in passwords)], state)

    def add_password(self, user: str, password: str, state: ServerState) -> None:
        """Make a password that is live on some nodes live on all, beside what else is live; its hash is sent."""
        self._set_user(user, [f"#{password_hash(password)}"], state)

    def _set_user(self, name: str, rules: list[str], state: ServerState) -> None:
        self._everywhere(f"set the user {name}", state, "ACL", "SETUSER", name, *rules)

    def _everywhere(self, what: str, state: ServerState, *words: str) -> None:
        with self._sessions(state) as sessions, self._typed(what):
            self._mark_unsaved()
            for session in sessions:
                self._check_lock()
                session.call(*words)
            self._save(sessions)

    def _mark_unsaved(self) -> None:
        self._check_lock()
        with self._connect_to_keys() as keys:
            keys.call("SET", UNSAVED_KEY, "1")

    def _save(self, sessions: list[Session]) -> None:
        with self._typed("make the users survive a restart"):
            for session in sessions:
                self._check_lock()
                match where_kept(session):
                    case "aclfile":
                        session.call("ACL", "SAVE")
                    case "config":
                        session.call("CONFIG", "REWRITE")
                    case "nowhere":
                        pass  # reported as a notice
            with self._connect_to_keys() as keys:
                keys.call("DEL", UNSAVED_KEY)

    def _disable_default(self, state: ServerState) -> None:
        """Turn ``default`` off, as one who has just proved to come in by another name, and proves it again after."""
        with self._sessions(state) as sessions, self._typed("turn the user default off"):
            before: list[tuple[Session, str]] = []
            for session in sessions:
                if session.call("ACL", "WHOAMI") == DEFAULT:
                    raise ProvisionError(
                        "the administrator came in as default, which would lock it out",
                        hint="name another user in the administrator's secret or URL",
                        host=session.address,
                    )
                before.append((session, acl_lines(session.call("ACL", "LIST"))[DEFAULT]))
            self._mark_unsaved()
            try:
                for session, _ in before:
                    self._check_lock()
                    session.call("ACL", "SETUSER", DEFAULT, "off", "nocommands", "resetkeys", "resetchannels")
                    self.admin.connect(session.config).close()
            except LockLost:
                raise  # each node that it is off on was proved; what was not begun is left to whoever has the lock
            except (CommandRefused, SoaDbError) as error:
                left = _turned_back(before)
                but = f", but at {', '.join(left)} it could not be" if left else ""
                raise ProvisionError(
                    f"with the user default off the administrator did not come in any more; it was undone{but}",
                    hint="see the server's log; it was not saved, so that a restart brings default back too",
                    host=self.address,
                ) from error
            self._save(sessions)

    # --- sessions

    @contextmanager
    def _sessions(self, state: ServerState) -> Iterator[list[Session]]:
        """An administrator's session on every node that was looked at."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.admin.connect(place)) for place in self.login_places(state)]

    def _connect_to_keys(self) -> Session:
        """A session on the node that has our keys."""
        with ExitStack() as stack:
            session = stack.enter_context(self.admin.connect())
            try:
                session.call("GET", UNSAVED_KEY)
            except CommandRefused as error:
                if error.code != "MOVED":
                    raise ProvisionError(
                        f"the administrator cannot read the key of a lock: {error.message}", host=self.address
                    ) from error
                return self._moved_to(session, error.message.split()[2])
            stack.pop_all()
            return session

    def _moved_to(self, session: Session, address: str) -> Session:
        """A session on the node that MOVED names, by the name that node announces."""
        host, _, port = address.rpartition(":")
        # An empty host, or a question mark, stands for the one that was asked.
        place = f"{host if host not in {'', '?'} else session.config.host}:{port}"
        with self._typed("list the nodes"):
            return self.admin.connect(self.admin.node(self.admin.cluster_nodes(session).get(place, place)))

    def _check_lock(self) -> None:
        if self._lock is not None:
            self._lock.check()

    @contextmanager
    def _typed(self, what: str) -> Iterator[None]:
        try:
            yield
        except CommandRefused as error:
            raise ProvisionError(
                f"could not {what}: {error.message}",
                hint="what was done before it stands; mend the cause and run again",
                host=self.address,
            ) from error


def _turned_back(before: list[tuple[Session, str]]) -> list[str]:
    """Give ``default`` the rules that it had; returns the addresses where that failed."""
    left = []
    for session, rules in before:
        try:
            session.call("ACL", "SETUSER", DEFAULT, "reset", *rules.split())
        except (CommandRefused, ConnectionFailed):
            left.append(session.address)
    return left
