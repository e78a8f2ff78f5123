"""From nothing to the first document in a new process, in dev and mirror, against boto3 and pymongo by hand.

Best of several interleaved rounds, with compiled bytecode: what else the machine does can only lengthen one.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient

from bench.children import start_to_end
from bench.environment import provisioned
from bench.first_document import COLLECTION, DATABASE, SERVICE, USER
from bench.report import Row
from bench.timing import alternate
from soa_db.aws import AwsClients
from soa_db.local.mongo import create_user
from soa_db.names import Env, mongo_secret_name

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

ROUNDS = 10
BARS: dict[Env, float] = {"dev": 1.3, "mirror": 1.2}
WAYS = ("hand", "provider")
PASSWORD = "password-of-the-benchmark"


def _prepare(local: LocalEnvironment, env: Env) -> None:
    """A user, its secret and a document."""
    server = local.server(env, "mongo")
    with MongoClient[dict[str, Any]](server.admin_url) as admin:
        create_user(admin, USER, PASSWORD, database=DATABASE, roles=["readWrite"])
        admin[DATABASE][COLLECTION].insert_one({"_id": 1})
    payload = {"username": USER, "password": PASSWORD}
    if env == "dev":
        payload["hosts"] = f"{server.host}:{server.port}"
    with AwsClients() as aws:
        name = mongo_secret_name(env, SERVICE)
        aws.call("secretsmanager", "create_secret", Name=name, SecretString=json.dumps(payload))


def run() -> list[Row]:
    """Both ways in both environments."""
    contenders = {
        f"{way} {env}": partial(start_to_end, "bench.first_document", way, env, prints="{'_id': 1}")
        for env in BARS
        for way in WAYS
    }
    with provisioned() as local:
        for env in BARS:
            _prepare(local, env)
        for contender in contenders.values():
            contender()  # writes the bytecode
        best = {name: min(times) * 1e3 for name, times in alternate(contenders, ROUNDS).items()}
    return [
        Row(f"MongoDB cold start, {env}", best[f"provider {env}"], "ms", best[f"hand {env}"], "boto3 and pymongo", bar)
        for env, bar in BARS.items()
    ]
