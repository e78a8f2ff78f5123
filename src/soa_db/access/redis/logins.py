"""How ``verify`` logs in to Redis: by the loader services use, with their AWS rights when asked to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from soa_db._core.redis.endpoint import cache_endpoint
from soa_db._sync.credentials import redis_credentials
from soa_db.access.redis.session import login
from soa_db.errors import AccessDenied, ConfigurationError, SecretNotFound

if TYPE_CHECKING:
    from soa_db.access.redis.expect import UserAccess
    from soa_db.access.redis.session import Session
    from soa_db.access.redis.state import Cache
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
        iam: service ids whose users log in by IAM tokens.
        caches: finds the caches tokens can be for, asked where the endpoint's name does not say it.
    """

    def __init__(
        self,
        env: Env,
        clients_of: Callable[[str], AwsClients],
        *,
        iam: Collection[str] = (),
        caches: Callable[[], Sequence[Cache]] = tuple,
    ) -> None:
        self._env = env
        self._clients_of = clients_of
        self._iam = frozenset(iam)
        self._caches = caches

    def config(self, user: UserAccess) -> RedisConfig:
        """Load the configuration: by IAM token where that was said, else by the secret, or by token without one."""
        from soa_db.redis import load_redis_config_from_aws

        aws = self._clients_of(user.service)
        if user.service in self._iam:
            return self._by_token(user.service, aws)
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

    def _by_token(self, service: str, aws: AwsClients) -> RedisConfig:
        from soa_db.redis import load_redis_config_from_aws

        load = partial(load_redis_config_from_aws, env=self._env, service=service, aws=aws, auth="iam")
        config = load()
        if cache_endpoint(config.host) is not None:
            return config
        # Behind a CNAME a service gives the name itself.
        try:
            found = self._caches()
        except AccessDenied:
            return config  # whoever verifies may not ask: that says nothing about this user
        return load(cache_name=found[0].name, serverless=found[0].serverless) if len(found) == 1 else config

    def connect(self, user: UserAccess, config: RedisConfig) -> Session:
        """Connect as a service would; a refused secret is read again once."""
        return login(config, redis_credentials(config, aws=self._clients_of(user.service)))
