"""Credentials as a value, and the protocols of those who supply them. No I/O, no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["AsyncCredentialProvider", "CredentialProvider", "Credentials"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and its secret (password or token).

    Attributes:
        user: who logs in; None when the driver's default is meant.
        secret: the password or token; never shown by repr or str.
        expires_at: monotonic seconds after which the secret must not be used for a new connection.
        source: where it came from (a secret id, ``rds-iam``, ``config``), for messages.
    """

    user: str | None
    secret: str = field(repr=False)
    expires_at: float = math.inf
    source: str = "config"


class CredentialProvider(Protocol):
    """Gives credentials for one principal at one target; asked at every physical connect."""

    def get(self) -> Credentials:
        """Return credentials valid now. Cached; any number of concurrent callers cause one fetch."""
        ...

    def refresh(self, rejected: Credentials) -> Credentials | None:
        """Return other credentials after the server refused ``rejected``, or None when there are none."""
        ...


class AsyncCredentialProvider(Protocol):
    """The same, awaited."""

    async def get(self) -> Credentials:
        """Return credentials valid now. Cached; any number of concurrent callers cause one fetch."""
        ...

    async def refresh(self, rejected: Credentials) -> Credentials | None:
        """Return other credentials after the server refused ``rejected``, or None when there are none."""
        ...
