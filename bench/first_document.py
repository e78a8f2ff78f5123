"""One cold start, to the first document: ``python -m bench.first_document hand|provider dev|mirror``.

Each way imports what it needs and nothing else, and prints the document's number. By hand is what a person writes with
boto3 and pymongo: the same parameters, secrets and TLS.
"""

from __future__ import annotations

import sys

SERVICE, DATABASE, USER, COLLECTION = "bench-api", "bench_api_db", "bench_api_app", "firsts"


def by_hand_dev() -> object:
    """A parity secret."""
    import json

    import boto3
    from pymongo import MongoClient

    client = boto3.client("secretsmanager")
    secret = json.loads(client.get_secret_value(SecretId=f"dev/mongodb-shared/{SERVICE}-password")["SecretString"])
    with MongoClient[dict[str, object]](
        secret["hosts"].split(","),
        username=secret["username"],
        password=secret["password"],
        authSource=DATABASE,
    ) as mongo:
        return mongo[DATABASE][COLLECTION].find_one({})


def by_hand_mirror() -> object:
    """Coordinates in SSM, a user and a CA in secrets."""
    import json
    import tempfile

    import boto3
    from pymongo import MongoClient

    names = [
        f"/mirror/current/mongodb-shared/{name}" for name in ("endpoint", "port", "replica-set-name", "ca-secret-arn")
    ]
    answer = boto3.client("ssm").get_parameters(Names=names, WithDecryption=True)
    found = {one["Name"]: one["Value"] for one in answer["Parameters"]}
    client = boto3.client("secretsmanager")
    wanted = (f"/mirror/current/{SERVICE}-mongo-password", found[names[3]])
    secret, ca = (json.loads(client.get_secret_value(SecretId=one)["SecretString"]) for one in wanted)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(ca["ca_cert"])
        file.flush()
        with MongoClient[dict[str, object]](
            found[names[0]],
            int(found[names[1]]),
            username=secret["username"],
            password=secret["password"],
            authSource=DATABASE,
            replicaSet=found[names[2]],
            tls=True,
            tlsCAFile=file.name,
        ) as mongo:
            return mongo[DATABASE][COLLECTION].find_one({})


def by_provider(env: str) -> object:
    """The provider, and the probe before it."""
    from soa_db.mongo import MongoProvider

    with MongoProvider.from_aws(env=env, service=SERVICE) as provider:
        return provider.database[COLLECTION].find_one({})


def main() -> None:
    """One way in one environment."""
    way, env = sys.argv[1:]
    by_hand = by_hand_dev if env == "dev" else by_hand_mirror
    print(by_hand() if way == "hand" else by_provider(env))


if __name__ == "__main__":
    main()
