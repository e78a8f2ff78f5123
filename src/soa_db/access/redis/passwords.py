"""The passwords of services' users: whether each is in order, and new ones, through ``{env}/redis/{service}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.aws.faults import DOCUMENTED, documented_fault, secret_fault
from soa_db.access.aws.secrets import (
    PasswordSecret,
    insecure_dev_password,
    issue_password,
    read_passwords,
    stored_passwords,
)
from soa_db.access.redis.acl import password_hash
from soa_db.access.redis.session import opens
from soa_db.access.redis.state import PasswordState
from soa_db.errors import AccessDenied

if TYPE_CHECKING:
    from soa_db.access.aws.stages import Goal, Version
    from soa_db.access.redis.access_string import Desired, DesiredUser
    from soa_db.access.redis.actions import SetPassword
    from soa_db.access.redis.backend import Backend
    from soa_db.access.redis.state import ServerState, UserState
    from soa_db.aws import AwsClients
    from soa_db.config import RedisConfig

__all__ = ["Passwords"]

_PARALLEL = 8


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of one environment's users.

    Attributes:
        aws: where the secrets are.
        server: who sets passwords.
        desired: the users.
        endpoint: how services reach the server: for their secrets, not for logins of ours.
        fixed: use the fixed, documented passwords (dev only).
    """

    aws: AwsClients
    server: Backend
    desired: Desired
    endpoint: RedisConfig
    fixed: bool = False

    def inspect(self, state: ServerState) -> Mapping[str, PasswordState]:
        """Read every secret in batches, and prove every password by a login, in parallel.

        Users with IAM authentication have none, and are left out; so are all while nobody can log in because the user
        group is attached to no cache.
        """
        if state.group is not None and not state.group.attached:
            return {}
        users = [user for user in self.desired.users.values() if not _uses_iam(state.users(user.name))]
        if not users:
            return {}
        versions = read_passwords(self.aws, [user.secret for user in users])
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="soa-db-redis-login") as pool:
            return {
                found.user: found
                for found in pool.map(lambda user: self._one(user, versions[user.secret], state), users)
            }

    def _one(self, user: DesiredUser, version: Version | None, state: ServerState) -> PasswordState:
        there = state.users(user.name)
        password = None if version is None else version.password
        fault = self._secret_fault(user, version)
        if not fault and password is not None:
            fault = self._login_fault(user, password, there, state)
        return PasswordState(
            user.name,
            user.secret,
            fault,
            others=0 if fault or password is None else _others(password, there),
            lost=self._lost(user, fault, there, state) if fault else 0,
        )

    def _lost(self, user: DesiredUser, fault: str, there: Sequence[UserState | None], state: ServerState) -> int:
        """How many live passwords are taken away by issuing one: as ``issue_password`` chooses it.

        Said too often rather than too seldom: an interrupted rotation may turn out to be finished.
        """
        live = max((today.passwords for today in there if today is not None), default=0)
        if not live or (state.group is not None and user.name not in state.group.members):
            return 0  # nobody gets in with one as it stands
        if fault == DOCUMENTED:
            return live
        fixed = insecure_dev_password("dev", user.name)
        stored = (fixed,) if self.fixed else self._stored(user)
        if state.group is not None:
            # ElastiCache tells how many there are and no more.
            return 0 if any(map(self.opener(user, state), stored)) else live
        hashes = [today.acl.passwords if today is not None else frozenset[str]() for today in there]
        kept = [password_hash(one) for one in stored]
        if any(all(one in on_node for on_node in hashes) for one in kept):
            return 0  # it stays, and so does what is live beside it
        return 0 if kept and _is_live(kept[0], there) else live

    def _stored(self, user: DesiredUser) -> tuple[str, ...]:
        try:
            return stored_passwords(self.aws, user.secret)
        except AccessDenied:
            return ()  # whoever may plan need not be able to look at every stage

    def _secret_fault(self, user: DesiredUser, version: Version | None) -> str:
        fault = secret_fault(user.secret, version, self.fields(user))
        if fault or version is None:
            return fault
        found = version.password == insecure_dev_password("dev", user.name)
        return documented_fault(wanted=self.fixed, found=found)

    def _login_fault(
        self, user: DesiredUser, password: str, there: Sequence[UserState | None], state: ServerState
    ) -> str:
        if not any(there):
            return "the user is new"
        if any(today is not None and today.auth == "none" for today in there):
            return "anybody gets in without a password"
        shown = state.group is None  # ElastiCache shows no hashes
        missing = [
            node.address
            for node, today in zip(state.nodes, there, strict=True)
            if today is None or (shown and password_hash(password) not in today.acl.passwords)
        ]
        if missing:
            where = f" ({', '.join(missing)})" if len(missing) < len(state.nodes) else ""
            return f"the server refuses the secret's password{where}"
        if state.group is not None and user.name not in state.group.members:
            return ""  # nobody gets in as it stands: proved once that is mended
        if not all(today is not None and today.acl.enabled for today in there):
            return ""
        # The hashes of the other nodes were compared already.
        place = self.server.login_places(state)[0]
        return "" if opens(place, user.name, password) else "the server refuses the secret's password"

    def fields(self, user: DesiredUser) -> dict[str, object]:
        """What a secret says beside the password (DESIGN section 2; the endpoint without its port)."""
        found: dict[str, object] = {
            "username": user.name,
            "endpoint": self.endpoint.host,
            "port": self.endpoint.port,
            "tls": self.endpoint.tls is not None,
        }
        if self.server.user_group is not None:
            found["user_group_id"] = self.server.user_group
        return found

    def issue(self, action: SetPassword, state: ServerState, progress: Callable[[str], None]) -> None:
        """Carry out a change: pending, set on the server, proved by a login, current.

        Raises:
            SoaDbError: it could not be issued; nothing is lost, and the next run goes on from there.
        """
        user = self.desired.users[action.name]
        there = state.users(user.name)
        # "keep" would keep it: it is the live password.
        goal: Goal = "rotate" if action.reason == DOCUMENTED else "keep"

        def set_on_server(password: str) -> None:
            if goal == "keep" and _is_live(password_hash(password), there):
                # It is missing on some nodes only: a replica that is new, say. What is live beside it is a rotation's
                # that is not finished, and clients come in by it.
                self.server.add_password(user.name, password, state)
            else:
                self.server.set_passwords(user.name, (password,), state)

        issue_password(
            self.aws,
            [self.secret(user)],
            set_on_server=set_on_server,
            opens=self.opener(user, state),
            goal=goal,
            fixed=insecure_dev_password(self.desired.env, user.name) if self.fixed else None,
            progress=lambda text: progress(f"{user.name}: {text}"),
        )

    def opener(self, user: DesiredUser, state: ServerState) -> Callable[[str], bool]:
        """What tells whether a password opens the server, everywhere."""
        places = self.server.login_places(state)
        return lambda password: all(opens(place, user.name, password) for place in places)

    def secret(self, user: DesiredUser) -> PasswordSecret:
        """The user's secret and what it must say."""
        return PasswordSecret(user.secret, user.service, self.fields(user))


def _uses_iam(there: Sequence[UserState | None]) -> bool:
    return any(today is not None and today.auth == "iam" for today in there)


def _is_live(found: str, there: Sequence[UserState | None]) -> bool:
    """Whether a hash is that of a live password on some node; on ElastiCache, which shows none, never."""
    return any(today is not None and found in today.acl.passwords for today in there)


def _others(password: str, there: Sequence[UserState | None]) -> int:
    found = [today for today in there if today is not None]
    hashes = frozenset().union(*(today.acl.passwords for today in found))
    if hashes:
        return len(hashes - {password_hash(password)})
    return max((today.passwords - 1 for today in found), default=0)
