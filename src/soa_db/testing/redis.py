"""The throw-away Redis behind the fixtures: provisioned once, emptied after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.testing.server import require_part, spec_with_part

if TYPE_CHECKING:
    from redis import Redis

    from soa_db.access.spec import SpecSet
    from soa_db.config import RedisConfig
    from soa_db.local.environment import LocalEnvironment

__all__ = ["TestRedis"]


class TestRedis:
    """A local environment's dev Redis with the users of some specs.

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
        return self._environment.server("dev", "redis").admin_url

    def prepare(self) -> None:
        """Provision. The process's environment must have the local environment's exports.

        Raises:
            ConfigurationError: no spec has a ``redis`` part.
        """
        from soa_db.access import apply

        require_part(self.specs, "redis")
        apply(self.specs, env="dev", engines=("redis",))

    def config(self, *, service: str | None = None) -> RedisConfig:
        """Return how a service's user reaches Redis, as the public loader gives it.

        Args:
            service: service id; may be left out when there is one spec.

        Raises:
            ConfigurationError: the service is left out and there are several, there is no such service, or its spec
                has no ``redis`` part.
        """
        from soa_db.redis import load_redis_config_from_aws

        spec = spec_with_part(self.specs, service, "redis")
        return load_redis_config_from_aws(env="dev", service=spec.service)

    def reset(self) -> None:
        """Delete every key, of every service; whoever is still connected is cut off.

        Cut off first: what a test left running, a subscriber or a renewal in the background, would write into the next
        one.
        """
        from redis import Redis

        with Redis.from_url(self.admin_url) as client:
            _cut_off(client)
            client.flushall()


def _cut_off(client: Redis) -> None:
    for kind in ("normal", "pubsub"):
        client.client_kill_filter(_type=kind, skipme=True)
