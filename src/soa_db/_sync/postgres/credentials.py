# Generated from src/soa_db/_async/postgres/credentials.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""Who a provider connects as: its configuration, loaded when it is first needed, and the credentials for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soa_db.credentials import Credentials
from soa_db.errors import ConfigurationError, NotConnectedError

if TYPE_CHECKING:
    from soa_db.config import PostgresConfig
    from soa_db.credentials import CredentialProvider

__all__ = ["FixedCredentials", "Principal"]


class FixedCredentials:
    """Credentials that stand in the configuration: there are no others when the server refuses them."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def get(self) -> Credentials:
        """Return them."""
        return self._credentials

    def refresh(self, rejected: Credentials) -> Credentials | None:  # noqa: ARG002 - the protocol's
        """Return None: there are no others."""
        return None


class Principal:
    """One user at one database.

    Args:
        config: the configuration, or
        loader: the keywords with which to load it.
        aws: shared AWS clients; made when needed, and then closed with the principal.
    """

    def __init__(
        self, *, config: PostgresConfig | None = None, loader: dict[str, Any] | None = None, aws: Any = None
    ) -> None:
        self._config = config
        self._loader = loader
        self._aws = aws

    @property
    def name(self) -> str:
        """What messages call it."""
        if self._config is not None:
            return self._config.instance_name
        loader = self._loader or {}
        return str(loader.get("instance_name") or loader.get("service"))

    @property
    def config(self) -> PostgresConfig:
        """The configuration, once loaded."""
        if self._config is None:
            raise NotConnectedError(
                "the configuration is loaded from AWS by connect()", hint="call connect() first", instance=self.name
            )
        return self._config

    def resolve(self) -> tuple[PostgresConfig, CredentialProvider]:
        """Return the configuration, loaded if it has to be, and who gives the credentials."""
        config = self.config
        match config.auth.kind:
            case "none":
                return config, FixedCredentials(Credentials(user=config.user, secret="", source="none"))
            case "password":
                secret = config.auth.password.get_secret_value()
                return config, FixedCredentials(Credentials(user=config.user, secret=secret))
            case kind:
                raise ConfigurationError(f"auth {kind!r} is not there yet")

    def close(self) -> None:
        """Close the AWS clients, if they are its own."""
