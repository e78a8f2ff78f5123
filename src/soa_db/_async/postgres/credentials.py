"""Who a provider connects as: its configuration, loaded when it is first needed, and the credentials for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soa_db._async.aws import AsyncAwsClients
from soa_db._async.credentials import postgres_credentials
from soa_db._async.postgres.loader import aload_postgres_config_from_aws
from soa_db.config import IamAuth, SecretAuth
from soa_db.errors import NotConnectedError

if TYPE_CHECKING:
    from soa_db.config import PostgresConfig
    from soa_db.credentials import AsyncCredentialProvider

__all__ = ["AsyncPrincipal"]


class AsyncPrincipal:
    """One user at one database.

    Args:
        config: the configuration, or
        loader: the keywords with which to load it.
        aws: shared AWS clients; made when needed, and then closed with the principal.
    """

    def __init__(
        self,
        *,
        config: PostgresConfig | None = None,
        loader: dict[str, Any] | None = None,
        aws: AsyncAwsClients | None = None,
    ) -> None:
        self._config = config
        self._loader = loader
        self._aws = aws
        self._own_aws: AsyncAwsClients | None = None

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

    async def resolve(self) -> tuple[PostgresConfig, AsyncCredentialProvider]:
        """Return the configuration, loaded if it has to be, and who gives the credentials."""
        if self._config is None:
            loader = self._loader or {}
            # The same clients load the configuration and give the credentials: no secret is read twice.
            clients = self._clients(AsyncAwsClients(region=loader.get("region")))
            self._config = await aload_postgres_config_from_aws(aws=clients, **loader)
        match self._config.auth:
            case SecretAuth(aws=target) | IamAuth(aws=target):
                return self._config, postgres_credentials(
                    self._config, aws=self._clients(AsyncAwsClients.from_target(target))
                )
            case _:
                return self._config, postgres_credentials(self._config)

    def _clients(self, new: AsyncAwsClients) -> AsyncAwsClients:
        """Return the clients given, else those of its own: ``new`` when there are none yet."""
        if self._aws is not None:
            return self._aws
        if self._own_aws is None:
            self._own_aws = new
        return self._own_aws

    async def close(self) -> None:
        """Close the AWS clients, if they are its own."""
        if self._own_aws is not None:
            await self._own_aws.close()
