"""New passwords for services' users, without a call lost: a user has two live ones until the rotation is finished.

``rotate`` adds the new one: AWSPENDING, added on the server beside the old, proved by a login, AWSCURRENT. Clients that
read the secret anew find the new one; those that have not read it yet go on with the old. ``finish`` takes away every
password but AWSCURRENT's. Each is finished by the next run when it is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soa_db.access.aws.secrets import issue_password, read_stages
from soa_db.access.lease import LockLost
from soa_db.access.plan import ProgressEvent
from soa_db.access.redis.acl import password_hash
from soa_db.errors import ConfigurationError, ProvisionError, SoaDbError

if TYPE_CHECKING:
    from soa_db.access.aws.stages import SecretState
    from soa_db.access.plan import Progress
    from soa_db.access.redis.access_string import DesiredUser
    from soa_db.access.redis.passwords import Passwords
    from soa_db.access.redis.state import ServerState

__all__ = ["RedisRotated", "finish_redis", "rotate_redis"]

_Work = Callable[["Passwords", "DesiredUser", "ServerState", "Progress"], "RedisRotated"]
_AGAIN = "mend the cause and run the command again, for these services only if you like"


@dataclass(frozen=True, slots=True)
class RedisRotated:
    """One user whose passwords were changed.

    Attributes:
        service: whose it is.
        user: the user.
        secrets: the secret that holds its password.
        finished: the password is that of a rotation that another run began; with ``finish``, always true.
        idle: why nothing was written, as a sentence; empty when something was.
    """

    service: str
    user: str
    secrets: tuple[str, ...]
    finished: bool
    idle: str = ""

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return not self.idle


def rotate_redis(
    passwords: Passwords,
    *,
    progress: Progress,
    services: Collection[str] | None = None,
    lock_timeout: float | None = None,
) -> tuple[RedisRotated, ...]:
    """Give users a new password beside the one they have.

    Args:
        passwords: the users and who looks after their passwords (``entry.redis_passwords``).
        progress: told each step.
        services: only these; all when left out.
        lock_timeout: seconds to wait for another run; None for as long as it takes.

    Raises:
        ProvisionError: a rotation is unfinished, or passwords could not be changed: those named; the others were.
        ConfigurationError: no password that is stored opens the server.
        CredentialError, ConnectionFailed: AWS or the server did not answer as needed.
    """
    return _each(passwords, _rotate, progress, services, lock_timeout)


def finish_redis(
    passwords: Passwords,
    *,
    progress: Progress,
    services: Collection[str] | None = None,
    lock_timeout: float | None = None,
) -> tuple[RedisRotated, ...]:
    """Take away every password but the one in AWSCURRENT; arguments and errors as for ``rotate_redis``."""
    return _each(passwords, _finish, progress, services, lock_timeout)


def _each(
    passwords: Passwords,
    work: _Work,
    progress: Progress,
    services: Collection[str] | None,
    lock_timeout: float | None,
) -> tuple[RedisRotated, ...]:
    users = [user for user in passwords.desired.users.values() if services is None or user.service in services]
    done: list[RedisRotated] = []
    failed: list[tuple[str, SoaDbError]] = []
    with passwords.server.locked(lock_timeout, progress):
        state = passwords.server.inspect()
        by_token = [user for user in users if _by_token(user, state)]
        users = [user for user in users if user not in by_token]
        missing = [user.name for user in users if not all(state.users(user.name))]
        if missing:
            raise ProvisionError(
                f"there is no user {', '.join(missing)} on the server",
                hint="`soa-db provision` makes it; nothing was changed",
                host=passwords.server.address,
            )
        for user in users:
            try:
                done.append(work(passwords, user, state, progress))
            except LockLost:
                raise  # somebody else may be at work on the others
            except SoaDbError as error:
                failed.append((user.name, error))
                progress(ProgressEvent("password", f"{user.name}: failed: {error.message}"))
    if len(failed) == 1 and len(users) == 1:
        raise failed[0][1]
    if failed:
        lines = "\n".join(f"  {name}: {error}" for name, error in failed)
        raise ProvisionError(
            f"{len(failed)} of {len(users)} users could not be done; {len(done)} were:\n{lines}",
            hint=_AGAIN,
            host=passwords.server.address,
        ) from failed[0][1]
    idle = (
        RedisRotated(one.service, one.name, (), False, f"{one.name} logs in by IAM tokens: it has no password")
        for one in by_token
    )
    return (*done, *idle)


def _by_token(user: DesiredUser, state: ServerState) -> bool:
    return any(today is not None and today.auth == "iam" for today in state.users(user.name))


def _rotate(passwords: Passwords, user: DesiredUser, state: ServerState, progress: Progress) -> RedisRotated:
    def say(text: str) -> None:
        progress(ProgressEvent("password", f"{user.name}: {text}"))

    say("rotating its password")
    opens = passwords.opener(user, state)
    # In this order: a rotation that another run makes after the first line is seen in the second, or by ``seen`` below.
    secret = read_stages(passwords.aws, passwords.secret(user))
    state = passwords.server.again(user.name, state)
    current, known = _current(passwords, user, secret)
    interrupted = secret.pending is not None and secret.pending.password is not None
    if not opens(current) and not (interrupted and opens(str(secret.pending and secret.pending.password))):
        raise ConfigurationError(
            f"no password stored for {user.name} opens this server, so it is left alone",
            hint="`soa-db provision` issues one",
            host=passwords.server.address,
            secret=user.secret,
        )
    if not interrupted and _others(user, state, known):
        raise ProvisionError(
            f"{user.name} has another live password beside the one in {user.secret}: a rotation is not finished",
            hint="when every client has read the secret again: `soa-db rotate --finish`, then rotate",
            host=passwords.server.address,
        )
    issued = issue_password(
        passwords.aws,
        [passwords.secret(user)],
        # Two at most, ElastiCache's limit: the one clients hold stays.
        set_on_server=lambda new: passwords.server.set_passwords(
            user.name, (new, *([current] if current != new else [])), state
        ),
        opens=opens,
        goal="rotate",
        seen=(secret,),
        progress=say,
    )
    idle = "" if issued.changed else f"{user.name} has been rotated by another run meanwhile"
    return RedisRotated(user.service, user.name, (user.secret,), not issued.made, idle)


def _finish(passwords: Passwords, user: DesiredUser, state: ServerState, progress: Progress) -> RedisRotated:
    secret = read_stages(passwords.aws, passwords.secret(user))
    state = passwords.server.again(user.name, state)
    current, known = _current(passwords, user, secret)
    if secret.waiting is not None:
        raise ProvisionError(
            f"a rotation of {user.name} was interrupted: {user.secret} has a pending password",
            hint="`soa-db rotate` finishes that one; then `soa-db rotate --finish`",
            host=passwords.server.address,
        )
    # Never take away the others before the one that stays is proved.
    if not passwords.opener(user, state)(current):
        raise ConfigurationError(
            f"the password in {user.secret} does not open the server, so the others are left alone",
            hint="`soa-db provision` issues one",
            host=passwords.server.address,
        )
    if not _others(user, state, known):
        idle = f"{user.name} has one live password: there is nothing to finish"
        return RedisRotated(user.service, user.name, (user.secret,), finished=True, idle=idle)
    passwords.server.set_passwords(user.name, (current,), state)
    progress(ProgressEvent("password", f"{user.name}: took away every password but the current one"))
    if read_stages(passwords.aws, passwords.secret(user)) != secret:
        raise ProvisionError(
            f"another run has rotated {user.name} meanwhile: its new password may be among those taken away",
            hint="`soa-db provision` makes the secret and the server agree again",
            host=passwords.server.address,
        )
    return RedisRotated(user.service, user.name, (user.secret,), finished=True)


def _current(passwords: Passwords, user: DesiredUser, secret: SecretState) -> tuple[str, frozenset[str]]:
    """The password clients hold, and the hashes of all that are stored."""
    if secret.current is None or secret.current.password is None:
        raise ConfigurationError(
            f"there is no password of {user.name} in {user.secret}",
            hint="`soa-db provision` issues one",
            host=passwords.server.address,
        )
    stored = (secret.current.password, secret.pending and secret.pending.password)
    return secret.current.password, frozenset(password_hash(one) for one in stored if one)


def _others(user: DesiredUser, state: ServerState, known: frozenset[str]) -> bool:
    """Whether the server takes a password that is not stored; ElastiCache tells no more than how many there are."""
    there = [today for today in state.users(user.name) if today is not None]
    if state.group is None:
        return any(today.acl.passwords - known for today in there)
    return any(today.passwords > len(known) for today in there)
