"""As whom, and by what, each database is migrated: its owner, through a provider of one connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soa_db import names
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.access.spec import Spec
    from soa_db.aws import AwsClients
    from soa_db.config import PostgresConfig, SessionConfig
    from soa_db.postgres import PostgresProvider

__all__ = ["ENV_VARIABLE", "Login"]

ENV_VARIABLE = "SOA_ENV"


@dataclass(frozen=True, slots=True)
class Login:
    """How the owner of each database is connected to."""

    service: str | None
    spec: Spec | None
    env: str | None
    dial: str | None
    config: PostgresConfig | Mapping[str, PostgresConfig] | None
    aws: AwsClients | None
    session: SessionConfig | None

    @contextmanager
    def clients(self) -> Iterator[AwsClients | None]:
        """The AWS clients for all databases: those given, or what ``soa-db.toml`` says. A config needs none."""
        if self.config is not None or self.aws is not None:
            yield self.aws
            return
        from soa_db.access.settings import load_settings

        settings = load_settings()
        env = self._known_env()
        with settings.aws_for(env) as clients:
            settings.check_account(clients, env)
            yield clients

    def provider(self, db_id: str | None, aws: AwsClients | None) -> PostgresProvider:
        """Return a provider of one database, not connected yet."""
        from soa_db.config import Dial, PoolConfig, SessionConfig
        from soa_db.postgres import PostgresProvider

        session = self.session or SessionConfig(
            statement_timeout=0, idle_in_transaction_timeout=0, application_name=f"{self.service or ''} alembic".strip()
        )
        pool = PoolConfig(max_size=1)
        config = self._config_of(db_id)
        if config is not None:
            changes: dict[str, Any] = {"pool": pool}
            if self.dial is not None:
                changes["dial"] = Dial.from_text(self.dial)
            if self.session is not None or config.session == SessionConfig():
                changes["session"] = session
            return PostgresProvider(config.model_copy(update=changes), aws=aws)
        return PostgresProvider.from_aws(
            aws=aws,
            env=self._known_env(),
            service=self._known_service(),
            role="owner",
            db_id=db_id,
            dial=self.dial,
            spec=self.spec,
            pool=pool,
            session=session,
        )

    def identity(self, db_id: str | None) -> tuple[str, str]:
        """Return the names of a database and of its owner; nobody is asked for them."""
        config = self._config_of(db_id)
        if config is not None:
            return config.database, config.user or "its owner"
        service = self._known_service()
        if self.spec is not None:
            return self.spec.postgres_database(db_id), self.spec.postgres_user(db_id, "owner")
        names.check_service(service)
        return names.postgres_database(service, db_id), names.postgres_user(service, "owner")

    def _config_of(self, db_id: str | None) -> PostgresConfig | None:
        if not isinstance(self.config, Mapping):
            return self.config
        found = self.config.get(db_id or "main")
        if found is None:
            known = ", ".join(self.config)
            raise ConfigurationError(f"config names no database {db_id or 'main'!r}", hint=f"it has {known}")
        return found

    def _known_env(self) -> str:
        if not self.env:
            hint = f"alembic -x env=dev … (or mirror, prod), or the variable {ENV_VARIABLE}"
            raise ConfigurationError("no env is given to migrate in", hint=hint)
        return self.env

    def _known_service(self) -> str:
        if self.service is None:
            hint = "run_migrations(context, service=…) or spec=…"
            raise ConfigurationError("no service is given to migrate", hint=hint)
        return self.service
