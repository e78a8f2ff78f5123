"""MongoDB: providers, loaders and the connection string."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.errors import MissingExtra

try:
    from soa_db._async.mongo.provider import AsyncMongoProvider
    from soa_db._sync.mongo.provider import MongoProvider
except ModuleNotFoundError as error:
    if error.name != "pymongo":
        raise
    raise MissingExtra("pymongo is not installed", hint="pip install 'soa-db[mongo]'") from error

if TYPE_CHECKING:
    from soa_db._async.mongo.loader import aload_mongo_config_from_aws
    from soa_db._core.mongo.uri import connection_uri
    from soa_db._sync.mongo.loader import load_mongo_config_from_aws

# The config models take longer to import than most of a service: only who loads or builds a config pays for them.
_LAZY = {
    "aload_mongo_config_from_aws": "soa_db._async.mongo.loader",
    "connection_uri": "soa_db._core.mongo.uri",
    "load_mongo_config_from_aws": "soa_db._sync.mongo.loader",
}

__all__ = [
    "AsyncMongoProvider",
    "MongoProvider",
    "aload_mongo_config_from_aws",
    "connection_uri",
    "load_mongo_config_from_aws",
]


def __getattr__(name: str) -> object:
    """Import the loader when it is first used."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'soa_db.mongo' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
