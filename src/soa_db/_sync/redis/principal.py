# Generated from src/soa_db/_async/redis/principal.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""Who a Redis manager connects as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Required, TypedDict

from soa_db._sync.principal import Principal

if TYPE_CHECKING:
    from soa_db._sync.aws import AwsClients
    from soa_db.config import Dial, RedisConfig, TlsConfig
    from soa_db.credentials import CredentialProvider
    from soa_db.names import Env

__all__ = ["RedisPrincipal", "LoaderKeywords"]


class LoaderKeywords(TypedDict, total=False):
    """The keywords of ``aload_redis_config_from_aws``, but for ``aws``."""

    env: Required[Env | str]
    service: Required[str]
    instance_name: str | None
    user: str | None
    username: str | None
    host: str | None
    port: int | str | None
    region: str | None
    dial: Dial | str | None
    auth: Literal["iam"] | None
    cache_name: str | None
    serverless: bool | None
    tls: TlsConfig | Literal[False] | None
    cluster: bool | None
    db: int
    connect_timeout: float | None
    command_timeout: float | None
    max_connections: int | None


class RedisPrincipal(Principal["RedisConfig", LoaderKeywords]):
    """One user of one Redis."""

    def _load(self, loader: LoaderKeywords, aws: AwsClients) -> RedisConfig:
        from soa_db._sync.redis.loader import load_redis_config_from_aws

        return load_redis_config_from_aws(**loader, aws=aws)

    def _credentials_of(self, config: RedisConfig, aws: AwsClients | None) -> CredentialProvider:
        from soa_db._sync.credentials import redis_credentials

        return redis_credentials(config, aws=aws)
