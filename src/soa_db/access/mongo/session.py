"""Connections to one MongoDB as one user, for administration and for proving logins: each change acknowledged by a
majority, reads from the primary, nothing waits for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from soa_db._core.mongo.classify import Category
from soa_db._mongo.failures import DRIVER_ERRORS, category_of, typed
from soa_db._mongo.options import client_options
from soa_db.access.mongo.state import MECHANISM
from soa_db.errors import AuthenticationFailed, ProvisionError, ServerUnavailable

if TYPE_CHECKING:
    from pymongo import MongoClient

    from soa_db.access.mongo.state import UserName
    from soa_db.config import MongoConfig

__all__ = ["Session", "address_of", "can_be_password", "connect", "opens"]

# What pymongo's SASLprep raises; the latter where nothing is left of a password.
_NOT_PREPARED = (ValueError, IndexError)
_DEADLINE = 20_000  # milliseconds for the answer to a command, and for a majority to acknowledge it
_MAJORITY = {"w": "majority", "wtimeout": _DEADLINE}
_OURS: dict[str, Any] = {
    "appname": "soa-db provision",
    "maxPoolSize": 10,
    "minPoolSize": 0,
    "socketTimeoutMS": _DEADLINE,
    # Not a service's to say: what is changed here is to outlive an election.
    "retryWrites": True,
    "w": "majority",
    "wTimeoutMS": _DEADLINE,
}


class Session:
    """One user's connections; commands of administration go to the primary.

    Args:
        client: the driver's client.
        config: how it reaches the server, for messages.
    """

    def __init__(self, client: MongoClient[dict[str, Any]], config: MongoConfig) -> None:
        self.client = client
        self.config = config

    @property
    def address(self) -> str:
        """The server, for people."""
        return address_of(self.config)

    def command(self, database: str, command: dict[str, Any], *, what: str) -> dict[str, Any]:
        """Run a command that changes users or roles.

        Args:
            database: where.
            command: the command; its names and passwords are values.
            what: what it does, e.g. ``create user …``.

        Raises:
            ProvisionError: the server refused it, or the administrator may not.
            ServerUnavailable: there is no primary, it went away, or no majority acknowledged it.
        """
        reply = self.read(database, {**command, "writeConcern": _MAJORITY}, what=what)
        if unacknowledged := reply.get("writeConcernError"):
            raise ServerUnavailable(
                f"could not {what}: no majority of the members acknowledged it: {unacknowledged.get('errmsg', '')}",
                hint="see whether the secondaries are up, and run the command again",
                host=self.address,
            )
        return reply

    def read(self, database: str, command: dict[str, Any], *, what: str) -> dict[str, Any]:
        """Run a command that changes nothing."""
        with self.typed(what):
            found: dict[str, Any] = self.client[database].command(command)
        return found

    @contextmanager
    def typed(self, what: str, *, needs: str = "userAdminAnyDatabase") -> Iterator[None]:
        """Turn the driver's errors into ours.

        Args:
            what: what is tried, e.g. ``inspect the users``.
            needs: the role it takes.
        """
        try:
            yield
        except DRIVER_ERRORS as error:
            match category_of(error):
                case Category.PRIVILEGE:
                    raise ProvisionError(
                        f"could not {what}: the administrator may not",
                        hint=f"it needs the role {needs}; what was done before stands",
                        host=self.address,
                        user=self.config.user,
                    ) from error
                case Category.REFUSED | Category.CONFLICT | Category.ARGUMENT:
                    found = typed(error, self.config)
                    raise ProvisionError(
                        f"could not {what}: {found.message}",
                        hint="what was done before it stands; mend the cause and run again",
                        host=self.address,
                    ) from error
                case _:
                    found = typed(error, self.config)
                    found.message = f"could not {what}: {found.message}"
                    raise found from error

    def close(self) -> None:
        """Close all its connections."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def address_of(config: MongoConfig) -> str:
    """``host:port`` of every member, for people and fingerprints."""
    return ",".join(host.address for host in config.hosts)


def connect(config: MongoConfig, user: str | None, password: str) -> Session:
    """Open connections and log in; without a user nobody is logged in.

    Raises:
        AuthenticationFailed: user or password were refused, or cannot be sent.
        TlsVerificationFailed, ServerUnavailable: the server was not reached.
    """
    login = {"username": user, "password": password, "authSource": config.auth_source or config.database}
    session = Session(_client(config, **(login if user else {})), config)
    try:
        with session.typed("log in"):
            session.client.admin.command("ping")
    except BaseException as error:
        session.close()
        if user and isinstance(error, _NOT_PREPARED) and not can_be_password(password):
            raise AuthenticationFailed(
                f"could not log in: the password cannot be one of {MECHANISM}, which SASLprep (RFC 4013) prepares",
                hint="it holds a control character or the like: correct it where it is kept",
                user=user,
                host=session.address,
            ) from error
        raise
    return session


def can_be_password(password: str) -> bool:
    """Whether SCRAM-SHA-256 (RFC 7677) takes a password: driver and server put it through SASLprep (RFC 4013)."""
    from pymongo.saslprep import saslprep

    try:
        saslprep(password)
    except _NOT_PREPARED:
        return False
    return True


def opens(config: MongoConfig, user: UserName, password: str) -> bool:
    """Whether a user can log in with a password by SCRAM-SHA-256; False only when it is refused.

    Raises:
        ConnectionFailed: nothing was decided.
    """
    if not can_be_password(password):
        return False  # the driver would refuse it, as the server would have when it was set
    login = {"username": user.name, "password": password, "authSource": user.database, "authMechanism": MECHANISM}
    try:
        with Session(_client(config, **login), config) as session, session.typed(f"log in as {user}"):
            session.client.admin.command("ping")
    except AuthenticationFailed:
        return False
    return True


def _client(config: MongoConfig, **login: Any) -> MongoClient[dict[str, Any]]:
    from pymongo import MongoClient

    with client_options(config) as options:
        return MongoClient(**{**options, **_OURS, **login})
