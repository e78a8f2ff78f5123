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
        config: for the database the user is kept in.
    """

    def __init__(self, config: MongoConfig) -> None:
        self._source = config.auth_source or config.database
        # Holds what SCRAM derives of the password, which takes 10 ms and is the same for every connection.
        self._last: _Credential | None = None

    def of(self, credentials: Credentials) -> MongoCredential | None:
        """Return them, the same object as long as they are the same; None when there are none."""
        if credentials.user is None or not credentials.secret:
            return None
        last = self._last
        if last is not None and (last.username, last.password) == (credentials.user, credentials.secret):
            return last
        # DEFAULT: SCRAM-SHA-256 where the user has it, else SCRAM-SHA-1.
        built: Any = _build_credentials_tuple("DEFAULT", self._source, credentials.user, credentials.secret, {}, None)
        self._last = found = _Credential(*built)
        return found
