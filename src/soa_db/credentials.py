"""Credentials as a value, and the protocols of those who supply them. No I/O, no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "AsyncCredentialProvider",
    "AwsCredentials",
    "CallerIdentity",
    "CredentialInUse",
    "CredentialProvider",
    "Credentials",
]


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


@dataclass(frozen=True, slots=True)
class CredentialInUse:
    """What may be told of the credentials that the latest connection was made with.

    Attributes:
        source: where they came from, as in ``Credentials``.
        age: seconds since this process first had them; of a token, since it was minted.
        expires_in: seconds until they serve for no new connection; negative after that, infinite for a password.
    """

    source: str
    age: float
    expires_in: float


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """AWS credentials, resolved.

    Attributes:
        access_key: the access key id.
        secret_key: the secret access key; never shown.
        token: the session token of temporary credentials; never shown.
        expires_at: wall-clock seconds since the epoch; infinite when they have no known end.
        source: where they came from, as botocore calls it: ``env``, ``shared-credentials-file``, ``iam-role`` …
    """

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: float = math.inf
    source: str = ""


@dataclass(frozen=True, slots=True)
class CallerIdentity:
    """Who AWS says is asking.

    Attributes:
        account: the account id, twelve digits.
        arn: the user, or the session of the assumed role.
    """

    account: str
    arn: str


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
