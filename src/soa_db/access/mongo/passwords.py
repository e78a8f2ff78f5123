"""The passwords of services' users: whether each is in order, and new ones, through each service's secret.

The payload is ``{username, password}``; in dev, where no parameter says where the server is, also ``hosts``,
``database`` and ``replica_set`` (DESIGN section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.aws.faults import DOCUMENTED, documented_fault, secret_fault
from soa_db.access.aws.secrets import (
    Issued,
    PasswordSecret,
    insecure_dev_password,
    issue_password,
    read_passwords,
)
from soa_db.access.mongo.actions import SetPassword
from soa_db.access.mongo.render import render
from soa_db.access.mongo.session import can_be_password, opens
from soa_db.access.mongo.state import MECHANISM, PasswordState

if TYPE_CHECKING:
    from soa_db.access.aws.stages import Goal, Version
    from soa_db.access.mongo.admin import AdminServer
    from soa_db.access.mongo.desired import Desired, DesiredUser
    from soa_db.access.mongo.session import Session
    from soa_db.access.mongo.state import ServerState, UserName, UserState
    from soa_db.aws import AwsClients

__all__ = ["Passwords"]

_PARALLEL = 8
_UNUSABLE = f"no user can have the secret's password by {MECHANISM}"
# Where "keep" would keep what is in the secret: it is the live password, or none that the server takes.
_NOT_KEPT = frozenset({DOCUMENTED, _UNUSABLE})


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of one environment's users.

    Attributes:
        aws: where the secrets are.
        server: the server; logins come in by its administrator's way.
        desired: the users.
        fixed: use the fixed, documented passwords (dev only).
    """

    aws: AwsClients
    server: AdminServer
    desired: Desired
    fixed: bool = False

    def inspect(self, state: ServerState) -> Mapping[UserName, PasswordState]:
        """Read every secret in batches, and prove every password by a login, in parallel."""
        users = list(self.desired.users.values())
        if not users:
            return {}
        versions = read_passwords(self.aws, [user.secret for user in users])

        def one(user: DesiredUser) -> PasswordState:
            return PasswordState(user.user, user.secret, self._fault(user, versions[user.secret], state))

        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="soa-db-mongo-login") as pool:
            return {found.user: found for found in pool.map(one, users)}

    def _fault(self, user: DesiredUser, version: Version | None, state: ServerState) -> str:
        fault = secret_fault(user.secret, version, self._fields(user))
        if fault or version is None or version.password is None:
            return fault
        if not can_be_password(version.password):
            return _UNUSABLE
        found = version.password == insecure_dev_password("dev", user.user.name)
        return documented_fault(wanted=self.fixed, found=found) or self._login_fault(
            user, version.password, state.users.get(user.user)
        )

    def _login_fault(self, user: DesiredUser, password: str, today: UserState | None) -> str:
        if today is None:
            return "the user is new"
        if MECHANISM not in today.mechanisms:
            return f"it cannot log in by {MECHANISM}"
        if today.restricted:
            return ""  # nobody may get in from here as it stands: proved once that is mended
        return "" if opens(self.server.config, user.user, password) else "the server refuses the secret's password"

    def _fields(self, user: DesiredUser) -> dict[str, object]:
        found: dict[str, object] = {"username": user.user.name}
        if self.desired.env == "dev":
            found["hosts"] = ",".join(host.address for host in self.server.hosts)
            found["database"] = user.user.database
            if self.server.config.replica_set is not None:
                found["replica_set"] = self.server.config.replica_set
        return found

    def issue(
        self,
        user: DesiredUser,
        session: Session,
        progress: Callable[[str], None],
        *,
        goal: Goal = "keep",
        fixed: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> Issued:
        """Bring secret and server to one password: pending, set on the server, proved by a login, current.

        Args:
            user: whose.
            session: the administrator's.
            progress: told each step.
            goal: as of ``issue_password``.
            fixed: come to the fixed development password.
            check: raises when nothing more is to be changed.

        Raises:
            ProvisionError: the server refused it; the new one stands in AWSPENDING.
            CredentialError, ConnectionFailed: AWS or the server did not answer as needed.
        """
        action = SetPassword(user.user, user.secret, "")

        def set_on_server(password: str) -> None:
            check()
            session.command(
                user.user.database, render(action, password=password), what=f"set the password of {user.user}"
            )

        return issue_password(
            self.aws,
            [PasswordSecret(user.secret, user.service, self._fields(user))],
            set_on_server=set_on_server,
            opens=lambda password: opens(self.server.config, user.user, password),
            goal=goal,
            fixed=insecure_dev_password(self.desired.env, user.user.name) if fixed else None,
            progress=lambda text: progress(f"{user.user.name}: {text}"),
        )

    def carry_out(
        self, action: SetPassword, session: Session, progress: Callable[[str], None], check: Callable[[], None]
    ) -> None:
        """Issue what a plan says."""
        goal: Goal = "rotate" if action.reason in _NOT_KEPT else "keep"
        self.issue(self.desired.users[action.user], session, progress, goal=goal, fixed=self.fixed, check=check)
