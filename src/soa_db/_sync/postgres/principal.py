# Generated from src/soa_db/_async/postgres/principal.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""Who a provider connects as: its configuration, loaded when it is first needed, and the credentials for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Required, TypedDict

from soa_db.errors import NotConnectedError

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


class Principal:
    """One user at one database. Give ``config``, or ``loader`` with which to load it.

    Args:
        config: the configuration.
        loader: the keywords of the loader.
        aws: shared AWS clients; made when needed, and then closed with the principal.
    """

    def __init__(
        self,
        *,
        config: PostgresConfig | None = None,
        loader: LoaderKeywords | None = None,
        aws: AwsClients | None = None,
    ) -> None:
        self._config = config
        self._loader = loader
        self._aws = aws
        self._own_aws: AwsClients | None = None
        # Kept from one connect() to the next: it knows which password the server took last.
        self._credentials: CredentialProvider | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        if self._config is not None:
            return self._config.instance_name
        assert self._loader is not None
        return self._loader.get("instance_name") or self._loader["service"]

    @property
    def config(self) -> PostgresConfig:
        """The configuration; raises NotConnectedError as long as it has not been loaded."""
        if self._config is None:
            raise NotConnectedError(
                "the configuration is loaded from AWS by connect()", hint="call connect() first", instance=self.name
            )
        return self._config

    def resolve(self) -> tuple[PostgresConfig, CredentialProvider]:
        """Return the configuration, loaded if it has to be, and who gives the credentials."""
        config = self._config
        if config is None:
            config = self._config = self._load()
        if self._credentials is None:
            # Here, because the models these modules need take longer to import than psycopg does.
            from soa_db._sync.credentials import postgres_credentials

            self._credentials = postgres_credentials(config, aws=self._clients_for(config))
        return config, self._credentials

    def _load(self) -> PostgresConfig:
        from soa_db._sync.aws import AwsClients
        from soa_db._sync.postgres.loader import load_postgres_config_from_aws

        assert self._loader is not None
        if self._aws is None and self._own_aws is None:
            # The same for loading and for connecting: the secret is then read once.
            self._own_aws = AwsClients(region=self._loader.get("region"))
        return load_postgres_config_from_aws(**self._loader, aws=self._aws or self._own_aws)

    def _clients_for(self, config: PostgresConfig) -> AwsClients | None:
        if self._aws is None and self._own_aws is None and config.auth.kind in {"secret", "iam"}:
            from soa_db._sync.aws import AwsClients

            self._own_aws = AwsClients.from_target(config.auth.aws)
        return self._aws or self._own_aws

    def close(self) -> None:
        """Close the AWS clients, if they are its own."""
        if self._own_aws is not None:
            self._own_aws.close()
