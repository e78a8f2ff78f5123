# Generated from src/soa_db/_async/postgres/principal.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""Who a PostgreSQL provider connects as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Required, TypedDict

from soa_db._sync.principal import Principal

if TYPE_CHECKING:
    from soa_db._sync.aws import AwsClients
    from soa_db._sync.postgres.loader import PostgresIdentitySource
    from soa_db.config import Dial, PoolConfig, PostgresConfig, SessionConfig, TlsConfig
    from soa_db.credentials import CredentialProvider
    from soa_db.names import Env, Role

__all__ = ["PostgresPrincipal", "LoaderKeywords"]


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


class PostgresPrincipal(Principal["PostgresConfig", LoaderKeywords]):
    """One user at one database."""

    def _load(self, loader: LoaderKeywords, aws: AwsClients) -> PostgresConfig:
        from soa_db._sync.postgres.loader import load_postgres_config_from_aws

        return load_postgres_config_from_aws(**loader, aws=aws)

    def _credentials_of(self, config: PostgresConfig, aws: AwsClients | None) -> CredentialProvider:
        from soa_db._sync.credentials import postgres_credentials

        return postgres_credentials(config, aws=aws)
