"""The throw-away MongoDB behind the fixtures: provisioned once, emptied after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soa_db.testing.provisioned import ProvisionedServer

if TYPE_CHECKING:
    from pymongo import MongoClient

    from soa_db.config import MongoConfig

__all__ = ["TestMongo"]


class TestMongo(ProvisionedServer):
    """A local environment's dev MongoDB with the users of some specs."""

    engine = "mongo"

    def config(self, *, service: str | None = None) -> MongoConfig:
        """Return how a service's user reaches its database, as the public loader gives it.

        Args:
            service: service id; may be left out when there is one spec.

        Raises:
            ConfigurationError: the service is left out and there are several, there is no such service, or its spec
                has no ``mongo`` part.
        """
        from soa_db.mongo import load_mongo_config_from_aws

        spec = self._spec(service)
        return load_mongo_config_from_aws(env="dev", service=spec.service)

    def reset(self) -> None:
        """Delete every collection of every service; what its users have under way is ended.

        Ended first: a cursor or a transaction that a test left open would hold on to what is deleted.
        """
        from pymongo import MongoClient

        with MongoClient[dict[str, Any]](self.admin_url) as client:
            databases = {spec.mongo_database() for spec in self.specs.specs if spec.mongo is not None}
            _end_sessions(client, databases)
            for database in databases:
                # Users and roles are kept in `admin`: they stay.
                client.drop_database(database)


def _end_sessions(client: MongoClient[dict[str, Any]], databases: set[str]) -> None:
    users = client.admin.command("usersInfo", {"forAllDBs": True})["users"]
    ended = [{"user": user["user"], "db": user["db"]} for user in users if user["db"] in databases]
    if ended:
        client.admin.command("killAllSessions", ended)
