"""One cold start, to the first row: ``python -m bench.first_row hand|provider|connect dev|mirror``.

Each way imports what it needs and nothing else, and prints the row. By hand is what a person writes with boto3 and
psycopg: the same parameters, secret and TLS.
"""

from __future__ import annotations

import os
import sys

SERVICE = "bench-api"


def by_hand_dev() -> object:
    """A parity secret."""
    import json

    import boto3
    import psycopg

    client = boto3.client("secretsmanager")
    secret = json.loads(client.get_secret_value(SecretId=f"dev/postgres-shared/{SERVICE}/app")["SecretString"])
    with psycopg.connect(
        host=secret["host"],
        port=secret["port"],
        dbname=secret["database"],
        user=secret["username"],
        password=secret["password"],
        sslmode="disable",
        autocommit=True,
    ) as conn:
        return conn.execute("SELECT 1").fetchone()


def by_hand_mirror() -> object:
    """Coordinates in SSM, and an IAM token."""
    import boto3
    import psycopg

    names = ["/mirror/current/postgres-rds/endpoint", "/mirror/current/postgres-rds/port"]
    answer = boto3.client("ssm").get_parameters(Names=names, WithDecryption=True)
    found = {one["Name"]: one["Value"] for one in answer["Parameters"]}
    host, port, user = found[names[0]], int(found[names[1]]), "bench_api_app"
    token = boto3.client("rds").generate_db_auth_token(host, port, user)
    with psycopg.connect(
        host=host,
        port=port,
        dbname="bench_api",
        user=user,
        password=token,
        sslmode="verify-full",
        sslrootcert=os.environ["SOA_DB_CA_FILE"],
        autocommit=True,
    ) as conn:
        return conn.execute("SELECT 1").fetchone()


def by_provider(env: str) -> object:
    """The provider: a pool as well, and a probe before it."""
    from soa_db.postgres import PostgresProvider

    with PostgresProvider.from_aws(env=env, service=SERVICE) as provider, provider.connection() as conn:
        return conn.execute("SELECT 1").fetchone()


def by_connect(env: str) -> object:
    """One connection."""
    from soa_db.aws import AwsClients
    from soa_db.postgres import connect, load_postgres_config_from_aws

    with (
        AwsClients() as aws,
        connect(load_postgres_config_from_aws(env=env, service=SERVICE, aws=aws), aws=aws) as conn,
    ):
        return conn.execute("SELECT 1").fetchone()


def main() -> None:
    """One way in one environment."""
    way, env = sys.argv[1:]
    if way == "hand":
        row = by_hand_dev() if env == "dev" else by_hand_mirror()
    else:
        row = by_provider(env) if way == "provider" else by_connect(env)
    print(row)


if __name__ == "__main__":
    main()
