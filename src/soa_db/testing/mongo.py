"""The throw-away MongoDB behind the fixtures: provisioned once, emptied after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soa_db.testing.server import require_part, spec_with_part

if TYPE_CHECKING:
    from pymongo import MongoClient

    from soa_db.access.spec import SpecSet
    from soa_db.config import MongoConfig
    from soa_db.local.environment import LocalEnvironment

__all__ = ["TestMongo"]


class TestMongo:
    """A local environment's dev MongoDB with the users of some specs.

    Args:
        environment: the environment, which runs.
        specs: what is provisioned.
    """

    __test__ = False  # the name begins with what pytest collects

    def __init__(self, environment: LocalEnvironment, specs: SpecSet) -> None:
        self.specs = specs
        self._environment = environment

    @property
    def admin_url(self) -> str:
        """The administrator's way in: for assertions, not for what is tested. Holds the password."""
        return self._environment.server("dev", "mongo").admin_url

    def prepare(self) -> None:
        """Provision. The process's environment must have the local environment's exports.

        Raises:
            ConfigurationError: no spec has a ``mongo`` part.
        """
        from soa_db.access import apply

        require_part(self.specs, "mongo")
        apply(self.specs, env="dev", engines=("mongo",))

    def config(self, *, service: str | None = None) -> MongoConfig:
        """Return how a service's user reaches its database, as the public loader gives it.

        Args:
            service: service id; may be left out when there is one spec.

        Raises:
            ConfigurationError: the service is left out and there are several, there is no such service, or its spec
                has no ``mongo`` part.
        """
        from soa_db.mongo import load_mongo_config_from_aws

        spec = spec_with_part(self.specs, service, "mongo")
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
