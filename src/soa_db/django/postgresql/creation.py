"""Test databases: named after the database that is really meant, which an entry of DATABASES need not spell out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.backends.base.creation import TEST_DATABASE_PREFIX
from django.db.backends.postgresql.creation import DatabaseCreation as PostgresCreation

if TYPE_CHECKING:
    from soa_db.django.postgresql.base import DatabaseWrapper

__all__ = ["DatabaseCreation"]


class DatabaseCreation(PostgresCreation):
    """Makes and removes test databases."""

    connection: DatabaseWrapper

    def _get_test_db_name(self) -> str:
        name: str | None = self.connection.settings_dict["TEST"]["NAME"]
        return name or TEST_DATABASE_PREFIX + self.connection.database

    def test_db_signature(self) -> tuple[str, str, str, str]:
        """Return what aliases of one database have in common: the roles of a service share a test database."""
        config = self.connection.target.config
        return (config.host, str(config.port), self.connection.settings_dict["ENGINE"], self._get_test_db_name())
