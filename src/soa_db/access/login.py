"""Logging in with a password that may have been changed since it was read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from soa_db.errors import AuthenticationFailed

if TYPE_CHECKING:
    from soa_db.credentials import CredentialProvider

__all__ = ["log_in"]

T = TypeVar("T")


def log_in(provider: CredentialProvider, connect: Callable[[str | None, str], T]) -> T:
    """Log in with what a provider gives; a refused secret is read again once.

    Args:
        provider: whose user and password.
        connect: logs in with a user and a password.

    Raises:
        AuthenticationFailed: the server refused them, and there are no others.
        CredentialError: AWS did not give the password.
    """
    found = provider.get()
    try:
        return connect(found.user, found.secret)
    except AuthenticationFailed:
        fresh = provider.refresh(found)
        if fresh is None:
            raise
        return connect(fresh.user, fresh.secret)
