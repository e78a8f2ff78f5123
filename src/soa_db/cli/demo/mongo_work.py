"""The demo's use of MongoDB in one environment, done in a worker process: every user, as its service connects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from soa_db.cli.demo.examples import load_examples
from soa_db.cli.demo.work import role_arn
from soa_db.names import mongo_user

if TYPE_CHECKING:
    from collections.abc import Mapping

    from soa_db.access.spec import Spec
    from soa_db.mongo import AsyncMongoProvider
    from soa_db.names import Env

__all__ = ["connect_as_each"]


def connect_as_each(env: Env, accounts: Mapping[Env, str]) -> tuple[int, int]:
    """Log in as every MongoDB user with its service's own AWS rights; how many were right, and how many there are."""
    return asyncio.run(_all(env, accounts[env]))


async def _all(env: Env, account: str) -> tuple[int, int]:
    specs = [spec for spec in load_examples()[0].specs if spec.mongo is not None]
    right = await asyncio.gather(*(_is_right(env, account, spec) for spec in specs))
    return sum(right), len(specs)


async def _is_right(env: Env, account: str, spec: Spec) -> bool:
    from soa_db.aws import AsyncAwsClients
    from soa_db.mongo import AsyncMongoProvider, aload_mongo_config_from_aws

    async with AsyncAwsClients(role_arn=role_arn(account, spec.service, "app")) as aws:
        config = await aload_mongo_config_from_aws(env=env, service=spec.service, aws=aws)
        async with AsyncMongoProvider(config, aws=aws) as provider:
            status = await provider.database.command("connectionStatus")
            users = [user["user"] for user in status["authInfo"]["authenticatedUsers"]]
            named = users == [mongo_user(spec.service)] and (config.tls is not None) is (env != "dev")
            return named and await _round_trip(provider) and await _reads(provider, spec)


async def _round_trip(provider: AsyncMongoProvider) -> bool:
    """Write a document, read it, delete it; the collection goes too."""
    collection = provider.database["demo"]
    try:
        await collection.insert_one({"_id": 1, "name": "ä"})
        return await collection.find_one({"_id": 1}) == {"_id": 1, "name": "ä"}
    finally:
        await collection.drop()


async def _reads(provider: AsyncMongoProvider, spec: Spec) -> bool:
    """Read what other services share with this one."""
    specs = load_examples()[0].by_service
    for read in spec.mongo.reads if spec.mongo is not None else ():
        database = provider.client[specs[read.service].mongo_database()]
        for name in read.collections:
            await database[name].find_one()
    return True
