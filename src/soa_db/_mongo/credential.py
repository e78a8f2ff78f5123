"""The credentials of the connection that is being made: pymongo's own are as fixed as its client.

pymongo reads the credentials of a connection from the options all pools of a client share, while it makes that
connection and never afterwards. Ours answers with those of the connection being made in this task or thread, so that
two connections being made at once, one with the old password and one with the new, do not get in each other's way.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pymongo.auth_shared import MongoCredential, _build_credentials_tuple
from pymongo.pool_options import PoolOptions
from pymongo.saslprep import saslprep

from soa_db.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soa_db.config import MongoConfig
    from soa_db.credentials import Credentials

__all__ = ["CredentialStore", "ask_for_credentials", "connecting_with"]

_current: ContextVar[MongoCredential | None] = ContextVar("soa-db credentials of a connection", default=None)


class _LoginOptions(PoolOptions):
    """The options of a client's pools, whose credentials are those of the connection being made."""

    __slots__ = ()

    @property
    def _credentials(self) -> MongoCredential | None:
        return _current.get()


def ask_for_credentials(options: PoolOptions) -> None:
    """Make ``options`` answer with the credentials of the connection being made."""
    # In place: the client and every one of its pools hold this object.
    options.__class__ = _LoginOptions


@contextmanager
def connecting_with(credential: MongoCredential | None) -> Iterator[None]:
    """Let connections made in this block log in with ``credential``."""
    token = _current.set(credential)
    try:
        yield
    finally:
        _current.reset(token)


class _Credential(MongoCredential):
    """pymongo's, which shows its password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<credential of {self.username!r}>"


class CredentialStore:
    """Credentials as pymongo takes them.

    Args:
        config: for the database the user is kept in, and the mechanism.
    """

    def __init__(self, config: MongoConfig) -> None:
        self._source = config.auth_source or config.database
        self._mechanism = config.options.mechanism
        # Holds what SCRAM derives of the password, which takes 10 ms and is the same for every connection.
        self._last: _Credential | None = None

    def of(self, credentials: Credentials) -> MongoCredential | None:
        """Return them, the same object as long as they are the same; None when there are none.

        Raises:
            CredentialError: the password holds characters that SCRAM-SHA-256 forbids.
        """
        if credentials.user is None or not credentials.secret:
            return None
        last = self._last
        if last is not None and (last.username, last.password) == (credentials.user, credentials.secret):
            return last
        if self._mechanism == "SCRAM-SHA-256":
            _check_password(credentials)
        # Named: with pymongo's DEFAULT it is the server, or who stands before it, that picks SCRAM-SHA-1.
        built: Any = _build_credentials_tuple(
            self._mechanism, self._source, credentials.user, credentials.secret, {}, None
        )
        self._last = found = _Credential(*built)
        return found


def _check_password(credentials: Credentials) -> None:
    # RFC 4013, which RFC 7677 asks for; pymongo raises a bare ValueError of it, in the middle of a login.
    try:
        saslprep(credentials.secret)
    except ValueError:
        # Not from its cause, whose frames hold the password.
        raise CredentialError(
            "the password holds characters that SCRAM-SHA-256 forbids: control characters, emoji, mixed directions",
            hint="set another password; rotate makes one of letters and digits",
            credentials=credentials.source,
        ) from None
