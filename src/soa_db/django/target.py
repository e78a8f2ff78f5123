"""What an entry of DATABASES leads to: one configuration and its credentials, shared by all threads of a process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from django.db.utils import DatabaseError
from psycopg import Connection

from soa_db._psycopg.failures import context_of
from soa_db._psycopg.roots import root_file
from soa_db._runtime._sync import SingleFlight
from soa_db._sync.aws import AwsClients
from soa_db._sync.postgres.connector import Connector
from soa_db._sync.postgres.principal import PostgresPrincipal
from soa_db.config import AwsTarget, PostgresConfig
from soa_db.errors import ConnectionFailed, ServerUnavailable

if TYPE_CHECKING:
    from soa_db._runtime.pem import PemFile
    from soa_db.credentials import CredentialProvider
    from soa_db.django.settings import DatabaseSettings

__all__ = ["Target", "target_of"]

C = TypeVar("C", bound=Connection[Any])


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

    def connector(
        self, database: str, options: Mapping[str, Any], set_up: Callable[[Connection[Any]], object] | None = None
    ) -> Connector:
        """Return what makes connections.

        Args:
            database: the database.
            options: further ones of the driver's.
            set_up: is called with each connection before anybody gets it; the connections are then a pool's.
        """
        config = self.config
        if database != config.database:
            # A copy is not checked again.
            config = PostgresConfig(**{**dict(config), "database": database})
        if set_up is None:
            return Connector(config, self.credentials, self.roots, pooled=False, options=options)
        return _SettingUp(config, self.credentials, self.roots, options=options, set_up=set_up)


class _SettingUp(Connector):
    """Not by psycopg_pool's ``configure``: that takes a connection that only carries a refusal for a broken one."""

    def __init__(self, *arguments: Any, set_up: Callable[[Connection[Any]], object], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._set_up = set_up

    def connect(self, cls: type[C], **keywords: Any) -> C:
        """Return a new connection, set up.

        Raises:
            SoaDbError: as ever; a ConnectionFailed too when it cannot be set up.
        """
        conn = super().connect(cls, **keywords)
        try:
            self._set_up(conn)
        except BaseException as error:
            conn.close()
            if not isinstance(error, psycopg.Error | DatabaseError):
                raise
            kind = ServerUnavailable if conn.broken else ConnectionFailed
            text = f"the session could not be set up: {' '.join(str(error).split())}"
            hint = "check TIME_ZONE, and whether the user may take the role assume_role"
            raise kind(text, hint=hint, **context_of(self.config, self.config.user)) from error
        return conn


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
