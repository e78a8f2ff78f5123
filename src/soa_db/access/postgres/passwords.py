"""Development passwords: whether each is in order, and new ones, through the parity secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.aws.faults import DOCUMENTED, documented_fault, secret_fault
from soa_db.access.aws.secrets import PasswordSecret, insecure_dev_password, issue_password, read_passwords
from soa_db.access.postgres.inspect import PARALLEL
from soa_db.access.postgres.parallel import each
from soa_db.access.postgres.render import set_password
from soa_db.access.postgres.retry import retried
from soa_db.access.postgres.state import PasswordState, ServerState
from soa_db.errors import ProvisionError

if TYPE_CHECKING:
    from soa_db.access.aws.stages import Version
    from soa_db.access.postgres.actions import SetPassword
    from soa_db.access.postgres.admin import AdminServer
    from soa_db.access.postgres.desired import Desired, DesiredRole
    from soa_db.aws import AwsClients

__all__ = ["DevelopmentPasswords"]


@dataclass(frozen=True, slots=True)
class DevelopmentPasswords:
    """The passwords of one development server's users.

    Attributes:
        aws: where the parity secrets are.
        server: the server.
        desired: the users.
        fixed: use the fixed, documented passwords.
    """

    aws: AwsClients
    server: AdminServer
    desired: Desired
    fixed: bool = False

    def inspect(self, state: ServerState) -> Mapping[str, PasswordState]:
        """Read every parity secret in batches, and prove every password by a login, in parallel."""
        roles = [role for role in self.desired.roles.values() if role.secrets]
        versions = read_passwords(self.aws, [name for role in roles for name, _ in role.secrets])

        def one(role: DesiredRole) -> PasswordState:
            names = tuple(name for name, _ in role.secrets)
            return PasswordState(role.name, names, self._fault(role, versions, state))

        if not roles:
            return {}
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="soa-db-login") as pool:
            return {found.user: found for found in pool.map(one, roles)}

    def _fault(self, role: DesiredRole, versions: Mapping[str, Version | None], state: ServerState) -> str:
        passwords = set()
        for name, database in role.secrets:
            if fault := secret_fault(name, versions[name], self._fields(role, database)):
                return fault
            version = versions[name]
            passwords.add(version.password if version is not None else None)
        password = passwords.pop()
        if passwords or password is None:
            return "the secrets hold different passwords"
        found = password == insecure_dev_password(self.desired.env, role.name)
        return documented_fault(wanted=self.fixed, found=found) or self._login_fault(role, password, state)

    def _login_fault(self, role: DesiredRole, password: str, state: ServerState) -> str:
        there = state.roles.get(role.name)
        if there is None:
            return "the role is new"
        # Nobody gets in as it stands, whatever the password: proved once that is mended.
        shut = not there.login or there.expires or there.connection_limit != -1
        if shut or self.server.opens(role.secrets[0][1], role.name, password):
            return ""
        return "the server refuses the secret's password"

    def _fields(self, role: DesiredRole, database: str) -> dict[str, object]:
        host, port = self.server.coordinates
        return {"username": role.name, "host": host, "port": port, "database": database}

    def issue(self, actions: Sequence[SetPassword], progress: Callable[[str], None]) -> None:
        """Carry out the changes: pending, set on the server, proved by a login, current; in parallel.

        Raises:
            SoaDbError: some could not be issued: those named; the others were, and the next run finishes the rest.
        """

        def one(action: SetPassword) -> None:
            self._issue(self.desired.roles[action.user], progress, replaced=action.reason == DOCUMENTED)

        each(one, ([action] for action in actions), named=lambda action: action.user, what="passwords")

    def _issue(self, role: DesiredRole, progress: Callable[[str], None], *, replaced: bool) -> None:
        with closing(self.server.connect()) as connection:

            def set_on_server(password: str) -> None:
                # Computed here, so that neither the statement nor the server's log holds the password.
                verifier = connection.pgconn.encrypt_password(password.encode(), role.name.encode(), b"scram-sha-256")
                statement = set_password(role.name, verifier.decode())
                try:
                    retried(lambda: connection.execute(statement), self.server.address)
                except ProvisionError as error:
                    raise ProvisionError(
                        f"the password of {role.name} could not be set: {error.message}",
                        hint="the new one stands in AWSPENDING; mend the cause and run the command again",
                        host=self.server.address,
                    ) from error

            issue_password(
                self.aws,
                [PasswordSecret(name, role.service, self._fields(role, database)) for name, database in role.secrets],
                set_on_server=set_on_server,
                opens=lambda password: self.server.opens(role.secrets[0][1], role.name, password),
                # "keep" would keep it: it is the live password.
                goal="rotate" if replaced else "keep",
                fixed=insecure_dev_password(self.desired.env, role.name) if self.fixed else None,
                progress=lambda text: progress(f"{role.name}: {text}"),
            )
