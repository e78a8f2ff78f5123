"""The passwords of services' users: whether each is in order, and new ones, through ``{env}/redis/{service}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.aws.faults import DOCUMENTED, documented_fault, secret_fault
from soa_db.access.aws.secrets import PasswordSecret, insecure_dev_password, issue_password, read_passwords
from soa_db.access.redis.acl import password_hash
from soa_db.access.redis.session import opens
from soa_db.access.redis.state import PasswordState

if TYPE_CHECKING:
    from soa_db.access.aws.stages import Version
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
        endpoint: how services reach the server.
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
        fault = self._secret_fault(user, version)
        if fault or version is None or version.password is None:
            return PasswordState(user.name, user.secret, fault)
        there = state.users(user.name)
        fault = self._login_fault(user, version.password, there, state)
        return PasswordState(user.name, user.secret, fault, _others(version.password, there))

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
        return "" if opens(self.endpoint, user.name, password) else "the server refuses the secret's password"

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

    def issue(self, actions: Sequence[SetPassword], state: ServerState, progress: Callable[[str], None]) -> None:
        """Carry out the changes one by one: pending, set on the server, proved by a login, current."""
        for action in actions:
            user = self.desired.users[action.name]
            issue_password(
                self.aws,
                [self.secret(user)],
                set_on_server=lambda password, name=user.name: self.server.set_passwords(  # type: ignore[misc]
                    name, (password,), state
                ),
                opens=self.opener(user),
                # "keep" would keep it: it is the live password.
                goal="rotate" if action.reason == DOCUMENTED else "keep",
                fixed=insecure_dev_password(self.desired.env, user.name) if self.fixed else None,
                progress=lambda text, name=user.name: progress(f"{name}: {text}"),  # type: ignore[misc]
            )

    def opener(self, user: DesiredUser) -> Callable[[str], bool]:
        """What tells whether a password opens the server, everywhere."""
        places = self.server.login_places(self.endpoint)
        return lambda password: all(opens(place, user.name, password) for place in places)

    def secret(self, user: DesiredUser) -> PasswordSecret:
        """The user's secret and what it must say."""
        return PasswordSecret(user.secret, user.service, self.fields(user))


def _uses_iam(there: Sequence[UserState | None]) -> bool:
    return any(today is not None and today.auth == "iam" for today in there)


def _others(password: str, there: Sequence[UserState | None]) -> int:
    found = [today for today in there if today is not None]
    hashes = frozenset().union(*(today.acl.passwords for today in found))
    if hashes:
        return len(hashes - {password_hash(password)})
    return max((today.passwords - 1 for today in found), default=0)
