"""Who something connects as: its configuration, loaded when it is first needed, and the credentials for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from soa_db.errors import NotConnectedError

if TYPE_CHECKING:
    from soa_db._async.aws import AsyncAwsClients
    from soa_db.config import PostgresConfig, RedisConfig
    from soa_db.credentials import AsyncCredentialProvider

__all__ = ["AsyncPrincipal"]

C = TypeVar("C", bound="PostgresConfig | RedisConfig")


class AsyncPrincipal(Generic[C]):
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
        aws: AsyncAwsClients | None = None,
    ) -> None:
        self._config = config
        self._loader = loader
        self._aws = aws
        self._own_aws: AsyncAwsClients | None = None
        # Kept from one connect() to the next: it knows which password the server took last.
        self._credentials: AsyncCredentialProvider | None = None

    async def _load(self, aws: AsyncAwsClients | None, **keywords: Any) -> C:
        """Load the configuration, as the engine does it."""
        raise NotImplementedError

    def _credentials_of(self, config: C, aws: AsyncAwsClients | None) -> AsyncCredentialProvider:
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

    async def resolve(self) -> tuple[C, AsyncCredentialProvider]:
        """Return the configuration, loaded if it has to be, and who gives the credentials."""
        config = self._config
        if config is None:
            assert self._loader is not None
            if self._aws is None and self._own_aws is None:
                from soa_db._async.aws import AsyncAwsClients

                # The same for loading and for connecting: the secret is then read once.
                self._own_aws = AsyncAwsClients(region=self._loader.get("region"))
            config = self._config = await self._load(self._aws or self._own_aws, **self._loader)
        if self._credentials is None:
            self._credentials = self._credentials_of(config, self._clients_for(config))
        return config, self._credentials

    def _clients_for(self, config: C) -> AsyncAwsClients | None:
        if self._aws is None and self._own_aws is None and config.auth.kind in {"secret", "iam"}:
            from soa_db._async.aws import AsyncAwsClients

            self._own_aws = AsyncAwsClients.from_target(config.auth.aws)
        return self._aws or self._own_aws

    async def close(self) -> None:
        """Close the AWS clients, if they are its own."""
        if self._own_aws is not None:
            await self._own_aws.close()
