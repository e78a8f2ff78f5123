# Generated from src/soa_db/_async/principal.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""Who something connects as: its configuration, loaded when it is first needed, and the credentials for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from soa_db.errors import NotConnectedError

if TYPE_CHECKING:
    from soa_db._sync.aws import AwsClients
    from soa_db.config import PostgresConfig, RedisConfig
    from soa_db.credentials import CredentialProvider

__all__ = ["Principal"]

C = TypeVar("C", bound="PostgresConfig | RedisConfig")


class Principal(Generic[C]):
    """One user at one server, of whatever engine. Give ``config``, or ``loader`` with which to load it.

    Args:
        config: the configuration.
        loader: the keywords of the engine's loader.
        aws: shared AWS clients; made when needed, and then closed with the principal.
    """

    def __init__(
        self,
        *,
        config: C | None = None,
        loader: Mapping[str, Any] | None = None,
        aws: AwsClients | None = None,
    ) -> None:
        self._config = config
        self._loader = loader
        self._aws = aws
        self._own_aws: AwsClients | None = None
        # Kept from one connect() to the next: it knows which password the server took last.
        self._credentials: CredentialProvider | None = None

    def _load(self, aws: AwsClients | None, **keywords: Any) -> C:
        """Load the configuration, as the engine does it."""
        raise NotImplementedError

    def _credentials_of(self, config: C, aws: AwsClients | None) -> CredentialProvider:
        """Return who gives the credentials that a configuration of the engine describes."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What messages call it."""
        if self._config is not None:
            return self._config.instance_name
        assert self._loader is not None
        name: str = self._loader.get("instance_name") or self._loader["service"]
        return name

    @property
    def config(self) -> C:
        """The configuration; raises NotConnectedError as long as it has not been loaded."""
        if self._config is None:
            raise NotConnectedError(
                "the configuration is loaded from AWS by connect()", hint="call connect() first", instance=self.name
            )
        return self._config

    def resolve(self) -> tuple[C, CredentialProvider]:
        """Return the configuration, loaded if it has to be, and who gives the credentials."""
        config = self._config
        if config is None:
            assert self._loader is not None
            if self._aws is None and self._own_aws is None:
                from soa_db._sync.aws import AwsClients

                # The same for loading and for connecting: the secret is then read once.
                self._own_aws = AwsClients(region=self._loader.get("region"))
            config = self._config = self._load(self._aws or self._own_aws, **self._loader)
        if self._credentials is None:
            self._credentials = self._credentials_of(config, self._clients_for(config))
        return config, self._credentials

    def _clients_for(self, config: C) -> AwsClients | None:
        if self._aws is None and self._own_aws is None and config.auth.kind in {"secret", "iam"}:
            from soa_db._sync.aws import AwsClients

            self._own_aws = AwsClients.from_target(config.auth.aws)
        return self._aws or self._own_aws

    def close(self) -> None:
        """Close the AWS clients, if they are its own."""
        if self._own_aws is not None:
            self._own_aws.close()
