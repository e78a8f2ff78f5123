"""Who a MongoDB provider connects as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Required, TypedDict

from soa_db._async.principal import AsyncPrincipal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from soa_db._async.aws import AsyncAwsClients
    from soa_db.config import Dial, MongoConfig, MongoHost, MongoOptions, TlsConfig
    from soa_db.credentials import AsyncCredentialProvider
    from soa_db.names import MongoEnv

__all__ = ["AsyncMongoPrincipal", "LoaderKeywords"]


class LoaderKeywords(TypedDict, total=False):
    """The keywords of ``aload_mongo_config_from_aws``, but for ``aws``."""

    env: MongoEnv | str | None
    service: Required[str]
    scope: Literal["shared", "mirror-current"]
    instance_name: str | None
    user: str | None
    username: str | None
    database: str | None
    auth_source: str | None
    hosts: str | Sequence[str | MongoHost] | None
    replica_set: str | None
    region: str | None
    dial: Dial | str | None
    tls: TlsConfig | Literal[False] | None
    options: MongoOptions | None


class AsyncMongoPrincipal(AsyncPrincipal["MongoConfig", LoaderKeywords]):
    """One user of one MongoDB."""

    async def _load(self, loader: LoaderKeywords, aws: AsyncAwsClients) -> MongoConfig:
        from soa_db._async.mongo.loader import aload_mongo_config_from_aws

        return await aload_mongo_config_from_aws(**loader, aws=aws)

    def _credentials_of(self, config: MongoConfig, aws: AsyncAwsClients | None) -> AsyncCredentialProvider:
        from soa_db._async.credentials import mongo_credentials

        return mongo_credentials(config, aws=aws)
