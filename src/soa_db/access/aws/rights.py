"""Whose AWS rights ``verify`` uses: the caller's, or those of each service's own roles."""

from __future__ import annotations

import string
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.aws import AwsClients
    from soa_db.config import AwsTarget
    from soa_db.names import Env, Role

__all__ = ["AppTier", "Rights", "Tier"]


class Tier(Protocol):
    """What has an AWS role of its own: one role of one service."""

    @property
    def service(self) -> str:
        """The service id."""
        ...

    @property
    def role(self) -> Role:
        """``owner``, ``app`` or ``ro``."""
        ...


@dataclass(frozen=True, slots=True)
class AppTier:
    """The one tier of a service on engines where it has one user."""

    service: str
    role: Role = "app"


def _is_template(text: str) -> bool:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return False
    return all(
        field is None or (field in {"service", "role", "env", "account"} and not spec and not conversion)
        for _, field, spec, conversion in parts
    )


class Rights:
    """The AWS clients of each service and role: the caller's own, or those of a role assumed per service and role.

    Args:
        env: the environment.
        aws: the caller's.
        assume_role: template of a role ARN with the fields {service}, {role}, {env} and {account}; None: no other
            rights than the caller's.
        own: ``aws`` is to be closed with the rest.

    Raises:
        ConfigurationError: the template has another field, or is none.
    """

    def __init__(self, env: Env, aws: AwsClients, assume_role: str | None, *, own: bool = False) -> None:
        self._own = own
        self.env = env
        self.aws = aws
        self.assumes = assume_role is not None
        self._template = assume_role or ""
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], AwsClients] = {}
        if assume_role is not None and not _is_template(assume_role):
            raise ConfigurationError(
                f"{assume_role!r} is not a template of a role",
                hint="its fields are {service}, {role}, {env} and {account}, e.g. "
                "arn:aws:iam::{account}:role/{service}-{role}",
            )

    def of(self, identity: Tier) -> AwsClients:
        """The clients an identity's service has."""
        if not self.assumes:
            return self.aws
        tier = (identity.service, identity.role)
        with self._lock:
            if tier not in self._clients:
                account = self.aws.caller_identity().account if "{account}" in self._template else ""
                self._clients[tier] = self.aws.assume(
                    self._template.format(service=identity.service, role=identity.role, env=self.env, account=account)
                )
            return self._clients[tier]

    def by_target(self, target: AwsTarget) -> AwsClients:
        """The clients that made a configuration, so that what they have cached is used again."""
        with self._lock:
            return next((clients for clients in self._clients.values() if clients.target == target), self.aws)

    def close(self) -> None:
        """Close the clients made here; the caller's stay open."""
        with self._lock:
            if self._own:
                self.aws.close()
            for clients in self._clients.values():
                clients.close()
