"""Who a PostgreSQL provider connects as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Required, TypedDict

from soa_db._async.principal import AsyncPrincipal

if TYPE_CHECKING:
    from soa_db._async.aws import AsyncAwsClients
    from soa_db._async.postgres.loader import PostgresIdentitySource
    from soa_db.config import Dial, PoolConfig, PostgresConfig, SessionConfig, TlsConfig
    from soa_db.credentials import AsyncCredentialProvider
    from soa_db.names import Env, Role

__all__ = ["AsyncPostgresPrincipal", "LoaderKeywords"]


class LoaderKeywords(TypedDict, total=False):
    """The keywords of ``aload_postgres_config_from_aws``, but for ``aws``."""

    env: Required[Env | str]
    service: Required[str]
    instance_name: str | None
    role: Role | str | None
    db_id: str | None
    user: str | None
    username: str | None
    database: str | None
    host: str | None
    port: int | str | None
    region: str | None
    dial: Dial | str | None
    auth: Literal["password"] | None
    spec: PostgresIdentitySource | None
    tls: TlsConfig | Literal[False] | None
    pool: PoolConfig | None
    session: SessionConfig | None


class AsyncPostgresPrincipal(AsyncPrincipal["PostgresConfig", LoaderKeywords]):
    """One user at one database."""

    async def _load(self, loader: LoaderKeywords, aws: AsyncAwsClients) -> PostgresConfig:
        from soa_db._async.postgres.loader import aload_postgres_config_from_aws

        return await aload_postgres_config_from_aws(**loader, aws=aws)

    def _credentials_of(self, config: PostgresConfig, aws: AsyncAwsClients | None) -> AsyncCredentialProvider:
        from soa_db._async.credentials import postgres_credentials

        return postgres_credentials(config, aws=aws)
