"""New passwords for services' users.

MongoDB keeps one live password per user. From the moment the server is given the new one the old one is refused, so a
client must read its secret again: this library does, and loses no call the driver may retry; a client that read its
secret once and for all is cut off at its next connect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.access.aws.secrets import stored_passwords
from soa_db.access.converge import raise_failed
from soa_db.access.lease import LEASE_SECONDS, LockLost
from soa_db.access.mongo.inspect import inspect_server
from soa_db.access.mongo.lock import server_lock
from soa_db.access.mongo.session import opens
from soa_db.access.plan import ProgressEvent
from soa_db.access.quoting import shown
from soa_db.access.rotate import Rotated, RotateResult
from soa_db.errors import ConfigurationError, ConnectionFailed, ProvisionError, SoaDbError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from soa_db.access.engine import Selection
    from soa_db.access.lease import HeldLease
    from soa_db.access.mongo.desired import DesiredUser
    from soa_db.access.mongo.passwords import Passwords
    from soa_db.access.mongo.session import Session
    from soa_db.access.plan import Progress

__all__ = ["rotate_mongo"]


def rotate_mongo(
    passwords: Passwords, selection: Selection, *, progress: Progress, lock_seconds: float = LEASE_SECONDS
) -> RotateResult:
    """Give users new passwords, each in place of the one it has.

    Args:
        passwords: the users and who looks after their passwords.
        selection: whose, and what may happen to those who use them.
        progress: told each step.
        lock_seconds: after which the lock of a run that was killed is free.

    Raises:
        ConfigurationError: it was not said that all consumers re-read, or no password that is stored opens the server.
        ProvisionError: passwords could not be changed: those named; the others were, and nothing is lost.
        CredentialError, ConnectionFailed: AWS or the server did not answer as needed.
    """
    if selection.finish:
        return RotateResult((), ("MongoDB keeps one live password per user: there is nothing to finish",))
    if selection.roles is not None and "app" not in selection.roles:
        return RotateResult((), ("a service has one user on MongoDB, of the role app",))
    users = [
        user
        for user in passwords.desired.users.values()
        if selection.services is None or user.service in selection.services
    ]
    if not users:
        return RotateResult(())
    if not selection.all_consumers_reread:
        raise ConfigurationError(
            "MongoDB keeps one live password per user: a client that read its secret once (the TypeScript packages do) "
            "is cut off at its next connect",
            hint="when every client of these services reads its secret again, say so: --all-consumers-reread; or leave "
            "MongoDB out with --engine",
            env=passwords.desired.env,
        )
    with (
        passwords.server.connect() as session,
        server_lock(session, timeout=selection.lock_timeout, progress=progress, seconds=lock_seconds) as lease,
    ):
        _check_users(users, passwords, session)
        return RotateResult(_rotate_all(users, passwords, session, lease, progress))


def _check_users(users: Sequence[DesiredUser], passwords: Passwords, session: Session) -> None:
    """Find missing users, the administrator, and users of other services, before any secret is written."""
    state = inspect_server(session, passwords.desired.databases)
    missing = [str(user.user) for user in users if user.user not in state.users]
    if missing:
        raise ProvisionError(
            f"there is no user {', '.join(missing)} on the server",
            hint="`soa-db provision` makes it; nothing was changed",
            host=session.address,
        )
    for user in users:
        service = state.users[user.user].service
        if user.user == state.admin:
            raise ProvisionError(
                f"{user.user} is the administrator, whose password stands in another secret too",
                hint="nothing was changed; administer as another user",
                host=session.address,
            )
        if service not in {None, user.service}:
            raise ProvisionError(
                f"user {user.user} belongs to service {shown(service or '')}, but {user.service} claims it",
                hint="nothing was changed; choose another database for one of them",
                host=session.address,
            )


def _rotate_all(
    users: Sequence[DesiredUser], passwords: Passwords, session: Session, lease: HeldLease, progress: Progress
) -> tuple[Rotated, ...]:
    """Rotate every password: one that fails stops no other, and each that failed is named in the end."""
    rotated: list[Rotated] = []
    failed: list[tuple[str, SoaDbError]] = []

    def say(text: str) -> None:
        progress(ProgressEvent("password", text))

    for user in users:
        say(f"{user.user.name}: rotating its password")
        lease.check()
        try:
            rotated.append(_rotate(user, passwords, session, say, lease.check))
        except (LockLost, ConnectionFailed):
            raise
        except SoaDbError as error:
            failed.append((str(user.user), error))
            say(f"{user.user.name}: failed: {error.message}")
    raise_failed(failed, f"of {len(users)} passwords")
    return tuple(rotated)


def _rotate(
    user: DesiredUser,
    passwords: Passwords,
    session: Session,
    say: Callable[[str], None],
    check: Callable[[], None],
) -> Rotated:
    stored = stored_passwords(passwords.aws, user.secret)
    if not any(opens(passwords.server.config, user.user, password) for password in stored):
        raise ConfigurationError(
            f"no password stored for {user.user} opens this server, so it is left alone",
            hint="`soa-db provision` issues one",
            host=session.address,
            secret=user.secret,
        )
    issued = passwords.issue(user, session, say, goal="rotate", check=check)
    return Rotated(user.service, user.user.name, (user.secret,), not issued.made)
