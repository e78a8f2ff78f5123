"""How ``verify`` logs in to MongoDB: by the loader services use, with their AWS rights when asked to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from soa_db._sync.credentials import mongo_credentials

if TYPE_CHECKING:
    from soa_db.access.mongo.expect import UserAccess
    from soa_db.aws import AwsClients
    from soa_db.config import MongoConfig
    from soa_db.credentials import CredentialProvider
    from soa_db.names import Env

__all__ = ["LoaderLogins", "Logins"]


class Logins(Protocol):
    """Gives configurations and credentials; a test has its own."""

    def config(self, user: UserAccess) -> MongoConfig:
        """How a user reaches the server.

        Raises:
            SoaDbError: AWS did not give what it takes.
        """
        ...

    def credentials(self, user: UserAccess, config: MongoConfig) -> CredentialProvider:
        """What it logs in with."""
        ...


class LoaderLogins:
    """Logins through ``load_mongo_config_from_aws``.

    Args:
        env: the environment.
        clients_of: service → the AWS clients whose rights it has.
    """

    def __init__(self, env: Env, clients_of: Callable[[str], AwsClients]) -> None:
        self._env = env
        self._clients_of = clients_of

    def config(self, user: UserAccess) -> MongoConfig:
        """Load the configuration; in mirror and prod a service says itself which database, in dev the secret does."""
        from soa_db.mongo import load_mongo_config_from_aws

        database = None if self._env == "dev" else user.database
        aws = self._clients_of(user.service)
        return load_mongo_config_from_aws(env=self._env, service=user.service, database=database, aws=aws)

    def credentials(self, user: UserAccess, config: MongoConfig) -> CredentialProvider:
        """The secret's, read again once when the server refuses it."""
        return mongo_credentials(config, aws=self._clients_of(user.service))
