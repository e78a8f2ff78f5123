"""Administering a Redis that is run by ourselves: ``ACL SETUSER`` on every node, saved where it survives a restart.

Between changing a user and saving it a run can be ended; so a key says that something is unsaved, from before the first
change until all is saved, and the next run finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    info,
    inspect_node,
    logged_in_as_default,
    replicas_of,
    where_kept,
)
from soa_db.access.redis.lock import LOCK_TTL, UNSAVED_KEY, HeldLock, server_lock
from soa_db.access.redis.session import CommandRefused
from soa_db.access.redis.state import DEFAULT, ServerState
from soa_db.errors import ConnectionFailed, ProvisionError

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
    lock_ttl: float = LOCK_TTL
    _lock: HeldLock | None = field(default=None, repr=False)

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
        """Read the users of every node.

        Raises:
            ProvisionError: the administrator may not.
            ConnectionFailed: a node was not reached: a user would be missing there.
        """
        with self._sessions() as sessions, self._typed("inspect the users"):
            first = sessions[0]
            cluster = info(str(first.call("INFO", "cluster"))).get("cluster_enabled") == "1"
            default = [logged_in_as_default(session) for session in sessions]
            with self._connect_to_keys() as keys:
                unsaved = keys.call("GET", UNSAVED_KEY) is not None
            return ServerState(
                address=self.address,
                nodes=tuple(inspect_node(session, self.env) for session in sessions),
                cluster=cluster,
                admin=str(first.call("ACL", "WHOAMI")),
                unsaved=unsaved,
                replicas=() if cluster else replicas_of(first),
                as_default=(
                    tuple(link for links, _ in default for link in links),
                    sum(clients for _, clients in default),
                ),
            )

    def again(self, user: str, state: ServerState) -> ServerState:
        """The same: the lock keeps it so."""
        del user
        return state

    def login_places(self, endpoint: RedisConfig) -> tuple[RedisConfig, ...]:
        """Where a login proves a password: each node of a cluster, since users are not copied among them."""
        with self.admin.connect() as session, self._typed("list the nodes"):
            nodes = self.admin.nodes(session)
        return (endpoint,) if nodes == (self.admin.config,) else nodes

    # --- changing

    def carry_out(self, action: Action, state: ServerState) -> None:
        """Make one change of users on every node, and save it.

        Raises:
            ProvisionError: it could not be made.
            ConnectionFailed: a node was not reached.
        """
        match action:
            case CreateUser(name, _, access):
                self._set_user(name, ["resetpass", *setuser_rules(access, version=state.version)])
            case SetAccess(name, access):
                open_to_all = any(user is not None and user.auth == "none" for user in state.users(name))
                shut = ["resetpass"] if open_to_all else []
                self._set_user(name, [*shut, *setuser_rules(access, version=state.version)])
            case DropUser(name):
                self._everywhere(f"delete user {name}", "ACL", "DELUSER", name)
            case DisableDefault():
                self._disable_default()
            case SaveUsers():
                with self._sessions() as sessions:
                    self._save(sessions)
            case _:
                raise AssertionError(f"{action} is not for a self-run Redis")

    def set_passwords(self, user: str, passwords: tuple[str, ...], state: ServerState) -> None:
        """Make exactly these the user's live passwords; only their hashes are sent."""
        del state
        self._set_user(user, ["resetpass", *(f"#{password_hash(password)}" for password in passwords)])

    def _set_user(self, name: str, rules: list[str]) -> None:
        self._everywhere(f"set the user {name}", "ACL", "SETUSER", name, *rules)

    def _everywhere(self, what: str, *words: str) -> None:
        with self._sessions() as sessions, self._typed(what):
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

    def _disable_default(self) -> None:
        """Turn ``default`` off, as one who has just proved to come in by another name, and proves it again after."""
        with self._sessions() as sessions, self._typed("turn the user default off"):
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
            except (CommandRefused, ConnectionFailed) as error:
                for session, rules in before:
                    with suppress(CommandRefused, ConnectionFailed):
                        session.call("ACL", "SETUSER", DEFAULT, "reset", *rules.split())
                raise ProvisionError(
                    "with the user default off the administrator did not come in any more; it was undone",
                    hint="see the server's log",
                    host=self.address,
                ) from error
            self._save(sessions)

    # --- sessions

    @contextmanager
    def _sessions(self) -> Iterator[list[Session]]:
        """An administrator's session on every node."""
        with ExitStack() as stack:
            first = stack.enter_context(self.admin.connect())
            with self._typed("list the nodes"):
                nodes = self.admin.nodes(first)
            if nodes == (self.admin.config,):
                yield [first]
                return
            yield [stack.enter_context(self.admin.connect(node)) for node in nodes]

    def _connect_to_keys(self) -> Session:
        """A session on the node that has our keys."""
        session = self.admin.connect()
        try:
            session.call("GET", UNSAVED_KEY)
        except CommandRefused as error:
            session.close()
            if error.code != "MOVED":
                raise ProvisionError(
                    f"the administrator cannot read the key of a lock: {error.message}", host=self.address
                ) from error
            host, _, port = error.message.split()[2].rpartition(":")
            # An empty host stands for the one that was asked.
            node = {"host": host or session.config.host, "port": int(port), "dial": None}
            return self.admin.connect(session.config.model_copy(update=node))
        except BaseException:
            session.close()
            raise
        return session

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
