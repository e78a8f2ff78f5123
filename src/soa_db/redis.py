"""Redis: managers and loaders, asynchronous and blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.errors import MissingExtra

try:
    from soa_db._async.redis.manager import AsyncRedisConnectionManager
    from soa_db._sync.redis.manager import RedisConnectionManager
except ModuleNotFoundError as error:
    if error.name not in {"redis", "hiredis"}:
        raise
    raise MissingExtra(f"{error.name} is not installed", hint="pip install 'soa-db[redis]'") from error

if TYPE_CHECKING:
    from soa_db._async.redis.loader import aload_redis_config_from_aws
    from soa_db._sync.redis.loader import load_redis_config_from_aws

# The config models take longer to import than redis-py: only who loads or builds a config pays for them.
_LAZY = {
    "aload_redis_config_from_aws": "soa_db._async.redis.loader",
    "load_redis_config_from_aws": "soa_db._sync.redis.loader",
}

__all__ = [
    "AsyncRedisConnectionManager",
    "RedisConnectionManager",
    "aload_redis_config_from_aws",
    "load_redis_config_from_aws",
]


def __getattr__(name: str) -> object:
    """Import the loader when it is first used."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'soa_db.redis' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
