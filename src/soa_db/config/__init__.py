"""Frozen configuration models: pure data, no callable, no client, nothing that opens a socket.

Times are seconds (float). ``repr`` and ``model_dump`` mask secrets. Each engine's models are loaded when first asked
for: building them takes longer than importing a driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.config.auth import Auth, AwsTarget, IamAuth, NoAuth, PasswordAuth, SecretAuth
from soa_db.config.tls import Dial, TlsConfig

if TYPE_CHECKING:
    from soa_db.config.mongo import MongoConfig, MongoHost, MongoOptions
    from soa_db.config.postgres import PoolConfig, PostgresConfig, SessionConfig
    from soa_db.config.redis import RedisConfig

_LAZY = {
    "MongoConfig": "soa_db.config.mongo",
    "MongoHost": "soa_db.config.mongo",
    "MongoOptions": "soa_db.config.mongo",
    "PoolConfig": "soa_db.config.postgres",
    "PostgresConfig": "soa_db.config.postgres",
    "RedisConfig": "soa_db.config.redis",
    "SessionConfig": "soa_db.config.postgres",
}

__all__ = [
    "Auth",
    "AwsTarget",
    "Dial",
    "IamAuth",
    "MongoConfig",
    "MongoHost",
    "MongoOptions",
    "NoAuth",
    "PasswordAuth",
    "PoolConfig",
    "PostgresConfig",
    "RedisConfig",
    "SecretAuth",
    "SessionConfig",
    "TlsConfig",
]


def __getattr__(name: str) -> object:
    """Import an engine's models when one is first used."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'soa_db.config' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
