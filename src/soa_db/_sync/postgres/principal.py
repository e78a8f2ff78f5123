# Generated from src/soa_db/_async/postgres/principal.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""Who a provider connects as: what PostgreSQL adds to it, its loader and its credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict

from soa_db._sync import principal

if TYPE_CHECKING:
    from soa_db._sync.aws import AwsClients
    from soa_db._sync.postgres.loader import PostgresIdentitySource
    from soa_db.config import Dial, PoolConfig, PostgresConfig, SessionConfig, TlsConfig
    from soa_db.credentials import CredentialProvider
    from soa_db.names import Env, Role

__all__ = ["Principal", "LoaderKeywords"]


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


class Principal(principal.Principal["PostgresConfig"]):
    """One user at one database."""

    def _load(self, aws: AwsClients | None, **keywords: Any) -> PostgresConfig:
        # Here, because the models these modules need take longer to import than psycopg does.
        from soa_db._sync.postgres.loader import load_postgres_config_from_aws

        return load_postgres_config_from_aws(aws=aws, **keywords)

    def _credentials_of(self, config: PostgresConfig, aws: AwsClients | None) -> CredentialProvider:
        from soa_db._sync.credentials import postgres_credentials

        return postgres_credentials(config, aws=aws)
