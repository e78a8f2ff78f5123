"""Credentials of the tests' own, for a provider of any engine and either kind."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from soa_db.credentials import Credentials

P = TypeVar("P", bound=Any)


class Vault:
    """A store of passwords that changes, as a credential provider of either kind sees it."""

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.password = password
        self.pending: str | None = None
        self.served = password
        self.gets = 0
        self.refreshes = 0

    def _credentials(self, password: str) -> Credentials:
        return Credentials(self.user, password, source="dev/postgres-shared/chat/app")

    def give(self) -> Credentials:
        """What a provider has cached."""
        self.gets += 1
        return self._credentials(self.served)

    def reread(self, rejected: Credentials) -> Credentials | None:
        """The present value, then the pending one, if it is another."""
        self.refreshes += 1
        for candidate in (self.password, self.pending):
            if candidate is not None and candidate != rejected.secret:
                self.served = candidate
                return self._credentials(candidate)
        return None


class _AsyncVaultCredentials:
    """The asynchronous face of a vault."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault

    async def get(self) -> Credentials:
        """Return what is cached."""
        return self.vault.give()

    async def refresh(self, rejected: Credentials) -> Credentials | None:
        """Return another."""
        return self.vault.reread(rejected)


class _VaultCredentials:
    """The blocking face of a vault."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault

    def get(self) -> Credentials:
        """Return what is cached."""
        return self.vault.give()

    def refresh(self, rejected: Credentials) -> Credentials | None:
        """Return another."""
        return self.vault.reread(rejected)


def served_by(vault: Vault, provider: P) -> P:
    """Have a provider take its credentials from a vault, whatever its configuration says."""
    awaited = inspect.iscoroutinefunction(provider.connect)
    provider._principal.use((_AsyncVaultCredentials if awaited else _VaultCredentials)(vault))
    return provider
