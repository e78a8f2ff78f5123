"""How ``verify`` logs in to Redis: by the loader services use, with their AWS rights when asked to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from soa_db._sync.credentials import redis_credentials
from soa_db.access.redis.session import login
from soa_db.errors import ConfigurationError, SecretNotFound

if TYPE_CHECKING:
    from soa_db.access.redis.expect import UserAccess
    from soa_db.access.redis.session import Session
    from soa_db.aws import AwsClients
    from soa_db.config import RedisConfig
    from soa_db.names import Env

__all__ = ["LoaderLogins", "Logins"]


class Logins(Protocol):
    """Gives configurations and sessions; a test has its own."""

    def config(self, user: UserAccess) -> RedisConfig:
        """How a user reaches the server.

        Raises:
            SoaDbError: AWS did not give what it takes.
        """
        ...

    def connect(self, user: UserAccess, config: RedisConfig) -> Session:
        """Log in as a user.

        Raises:
            SoaDbError: it failed.
        """
        ...


class LoaderLogins:
    """Logins through ``load_redis_config_from_aws``.

    Args:
        env: the environment.
        clients_of: service → the AWS clients whose rights it has.
    """

    def __init__(self, env: Env, clients_of: Callable[[str], AwsClients]) -> None:
        self._env = env
        self._clients_of = clients_of

    def config(self, user: UserAccess) -> RedisConfig:
        """Load the configuration: by the secret, or by IAM token where there is none."""
        from soa_db.redis import load_redis_config_from_aws

        aws = self._clients_of(user.service)
        try:
            return load_redis_config_from_aws(env=self._env, service=user.service, aws=aws)
        except SecretNotFound as missing:
            if self._env == "dev":
                raise
            config = load_redis_config_from_aws(env=self._env, service=user.service, aws=aws, auth="iam")
            try:
                redis_credentials(config, aws=aws)
            except ConfigurationError:
                raise missing from None  # no cache of ElastiCache's: it is the secret that is missing
            return config

    def connect(self, user: UserAccess, config: RedisConfig) -> Session:
        """Connect as a service would; a refused secret is read again once."""
        return login(config, redis_credentials(config, aws=self._clients_of(user.service)))
