"""``soa_db.mongo``: providers, loaders and the connection string; what is handed out is pymongo's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.database import Database

from soa_db import MongoConfig, MongoHost
from soa_db.mongo import (
    AsyncMongoProvider,
    MongoProvider,
    aload_mongo_config_from_aws,
    connection_uri,
    load_mongo_config_from_aws,
)


async def asynchronous() -> None:
    """With ``async``."""
    async with AsyncMongoProvider.from_aws(env="mirror", service="sds-api", hosts=["a:1"]) as sds:
        assert_type(sds, AsyncMongoProvider)
        assert_type(sds.client, AsyncMongoClient[dict[str, Any]])
        assert_type(sds.database, AsyncDatabase[dict[str, Any]])
        assert_type(await sds.database["imports"].find_one({}), dict[str, Any] | None)
        assert_type(await sds.ping(timeout=1.0), bool)
        assert_type(sds.stats(), Mapping[str, int])
    assert_type(await aload_mongo_config_from_aws(service="x", scope="mirror-current"), MongoConfig)


def blocking() -> None:
    """Without."""
    config = load_mongo_config_from_aws(env="dev", service="x", hosts=(MongoHost(host="a", port=1),), dial="h:1")
    assert_type(config, MongoConfig)
    with MongoProvider(config) as sds:
        assert_type(sds, MongoProvider)
        assert_type(sds.client, MongoClient[dict[str, Any]])
        assert_type(sds.database, Database[dict[str, Any]])
        assert_type(sds.database["imports"].find_one({}), dict[str, Any] | None)
        assert_type(sds.config, MongoConfig)
    assert_type(connection_uri(config, "/ca.pem", show_password=True, password="p"), str)
    load_mongo_config_from_aws(service="x", scope="everything")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
