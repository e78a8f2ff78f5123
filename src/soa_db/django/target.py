"""What an entry of DATABASES leads to: one configuration and its credentials, shared by all threads of a process."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soa_db._psycopg.roots import root_file
from soa_db._runtime._sync import SingleFlight
from soa_db._sync.aws import AwsClients
from soa_db._sync.postgres.connector import Connector
from soa_db._sync.postgres.principal import PostgresPrincipal
from soa_db.config import AwsTarget, PostgresConfig

if TYPE_CHECKING:
    from soa_db._runtime.pem import PemFile
    from soa_db.credentials import CredentialProvider
    from soa_db.django.settings import DatabaseSettings

__all__ = ["Target", "target_of"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where connections go, and as whom.

    Attributes:
        config: the configuration.
        credentials: asked at every connect; safe in several threads, and after a fork.
        roots: the trusted roots, for the life of the process.
        settings: what it was made of; its key names objects that must not go away.
    """

    config: PostgresConfig
    credentials: CredentialProvider
    roots: PemFile | None
    settings: DatabaseSettings

    def connector(self, database: str, options: Mapping[str, Any]) -> Connector:
        """Return what makes connections to ``database``, with further ``options`` of the driver's."""
        config = self.config
        if database != config.database:
            # A copy is not checked again.
            config = PostgresConfig(**{**dict(config), "database": database})
        return Connector(config, self.credentials, self.roots, options=options)


_targets: dict[Hashable, Target] = {}
_flights: SingleFlight[Target] = SingleFlight()


def target_of(settings: DatabaseSettings) -> Target:
    """Return the target of an entry: of all who ask at first, one asks AWS.

    Raises:
        SoaDbError: AWS did not give the configuration, or it cannot be used.
    """
    found = _targets.get(settings.key)
    return found if found is not None else _flights.run(settings.key, lambda: _load(settings))


def _load(settings: DatabaseSettings) -> Target:
    found = _targets.get(settings.key)
    if found is None:
        # Nothing else holds clients made here: they live as long as the process, like the credentials they give.
        aws = AwsClients.from_target(settings.aws) if isinstance(settings.aws, AwsTarget) else settings.aws
        principal = (
            PostgresPrincipal(config=settings.config, aws=aws)
            if settings.config is not None
            else PostgresPrincipal(loader=settings.loader, aws=aws)  # type: ignore[arg-type]  # checked below
        )
        config, credentials = principal.resolve()
        found = _targets[settings.key] = Target(config, credentials, root_file(config), settings)
    return found
