"""One service's ``db-access.yaml`` as a frozen model; the source of the committed JSON Schema (DESIGN section 6)."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from soa_db.access.spec.faults import refuse
from soa_db.access.spec.fields import ServiceId, SpecModel
from soa_db.access.spec.mongo import MongoSpec
from soa_db.access.spec.postgres import PostgresDatabase, PostgresRead, PostgresSpec
from soa_db.access.spec.redis import RedisSpec
from soa_db.access.spec.spec_rules import spec_faults
from soa_db.errors import ConfigurationError
from soa_db.names import Role, mongo_database, mongo_user, postgres_database, postgres_user, redis_default_pattern

__all__ = ["VERSIONS", "Spec"]

# The versions of the format this package reads.
VERSIONS = (1,)


class Spec(SpecModel):
    """Who may touch which database of one service."""

    version: Literal[1]
    """The version of this format."""
    service: ServiceId
    """The service id: lower case letters, digits and single hyphens."""
    postgres: PostgresSpec | None = None
    """PostgreSQL databases, identities and grants."""
    redis: RedisSpec | None = None
    """Redis keys and channels."""
    mongo: MongoSpec | None = None
    """The MongoDB database, its roles and reads."""

    @model_validator(mode="after")
    def _rules(self) -> Spec:
        refuse(spec_faults(self))
        return self

    def postgres_databases(self) -> tuple[PostgresDatabase, ...]:
        """The declared PostgreSQL databases, none when the service has no ``postgres`` part."""
        return self.postgres.databases if self.postgres else ()

    def database_name(self, database: PostgresDatabase) -> str:
        """The name on the server: ``database`` of the spec, else derived."""
        return database.database or postgres_database(self.service, database.id)

    def user(self, database: PostgresDatabase, role: Role) -> str | None:
        """The user that plays ``role`` in ``database``; None where the spec says there is none."""
        if role in database.identities:
            return database.identities[role]
        return postgres_user(self.service, role)

    def read_users(self, read: PostgresRead) -> tuple[tuple[Role, str], ...]:
        """This service's users that make a cross-service read: those of its main, else its first, database."""
        assert self.postgres is not None
        home = self.postgres.database("main") or self.postgres.databases[0]
        return tuple((role, user) for role in read.to if (user := self.user(home, role)) is not None)

    def postgres_user(self, db_id: str | None, role: Role) -> str:
        """The user a loader connects as.

        Raises:
            ConfigurationError: the spec declares no such database, or nobody in this role.
        """
        database = self._declared(db_id)
        user = self.user(database, role)
        if user is None:
            raise ConfigurationError(
                f"nobody plays the role {role} in this database",
                hint="db-access.yaml says null in its `identities`; use another role",
                service=self.service,
                db_id=database.id,
            )
        return user

    def postgres_database(self, db_id: str | None) -> str:
        """The database a loader connects to.

        Raises:
            ConfigurationError: the spec declares no such database.
        """
        return self.database_name(self._declared(db_id))

    def redis_keys(self) -> tuple[str, ...]:
        """The key patterns the service writes, none without a ``redis`` part."""
        if self.redis is None:
            return ()
        return self.redis.keys or (redis_default_pattern(self.service),)

    def redis_channels(self) -> tuple[str, ...]:
        """The channel patterns of the service, none without a ``redis`` part."""
        if self.redis is None:
            return ()
        return self.redis.channels or (redis_default_pattern(self.service),)

    def mongo_database(self) -> str:
        """The MongoDB database: ``database`` of the ``mongo`` part, else derived."""
        return (self.mongo and self.mongo.database) or mongo_database(self.service)

    def mongo_user(self) -> str:
        """The MongoDB user, always derived."""
        return mongo_user(self.service)

    def _declared(self, db_id: str | None) -> PostgresDatabase:
        found = self.postgres.database(db_id) if self.postgres else None
        if found is None:
            known = ", ".join(database.id for database in self.postgres_databases()) or "none"
            raise ConfigurationError(
                f"db-access.yaml declares no PostgreSQL database {db_id or 'main'!r}",
                hint=f"declared: {known}",
                service=self.service,
            )
        return found
