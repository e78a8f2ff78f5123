"""The contract of DESIGN section 2 as a table: users, databases, secrets, parameters."""

import pytest

from soa_db import names
from soa_db.errors import ConfigurationError


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (names.snake("chat-api"), "chat_api"),
        (names.postgres_user("chat-api"), "chat_api_app"),
        (names.postgres_user("chat-api", "owner"), "chat_api_owner"),
        (names.postgres_user("chat-api", "ro"), "chat_api_ro"),
        (names.postgres_database("chat-api"), "chat_api"),
        (names.postgres_database("chat-api", "main"), "chat_api"),
        (names.postgres_database("iam-api", "pii"), "iam_api_pii_db"),
        (names.postgres_database("iam-api", "pii-eu"), "iam_api_pii_eu_db"),
        (names.dev_secret_name("chat-api"), "dev/postgres-shared/chat-api/app"),
        (names.dev_secret_name("chat-api", "ro"), "dev/postgres-shared/chat-api/ro"),
        (names.dev_secret_name("chat-api", "app", "main"), "dev/postgres-shared/chat-api/app"),
        (names.dev_secret_name("iam-api", "owner", "pii"), "dev/postgres-shared/iam-api/pii/owner"),
        (names.password_secret_name("mirror", "chat-api"), "/mirror/current/chat-api-postgres-password"),
        (names.password_secret_name("mirror", "iam-api", "pii"), "/mirror/current/iam-api-pii-postgres-password"),
        (names.password_secret_name("prod", "chat-api"), "prod/postgres-shared/chat-api"),
        (names.password_secret_name("prod", "iam-api", "pii"), "prod/postgres-shared/iam-api-pii"),
        (names.iam_host_ssm_path("mirror"), "/mirror/current/postgres-rds/endpoint"),
        (names.iam_port_ssm_path("mirror"), "/mirror/current/postgres-rds/port"),
        (names.iam_host_ssm_path("prod"), "/prod/postgres-rds/endpoint"),
        (names.iam_port_ssm_path("prod"), "/prod/postgres-rds/port"),
        (names.postgres_admin_endpoint_ssm_path("dev"), "/dev/postgres-shared/endpoint"),
        (names.postgres_admin_port_ssm_path("dev"), "/dev/postgres-shared/port"),
        (names.postgres_admin_secret_ssm_path("dev"), "/dev/postgres-shared/master-secret-arn"),
        (names.postgres_admin_endpoint_ssm_path("mirror"), "/mirror/current/postgres-rds/endpoint"),
        (names.postgres_admin_secret_ssm_path("mirror"), "/mirror/current/postgres-rds/master-secret-arn"),
        (names.postgres_admin_secret_ssm_path("prod"), "/prod/postgres-rds/master-secret-arn"),
        (
            names.rds_db_user_arn(region="us-west-2", account="111111111111", user="chat_api_app"),
            "arn:aws:rds-db:us-west-2:111111111111:dbuser:*/chat_api_app",
        ),
        (
            names.rds_db_user_arn(region="us-west-2", account="111111111111", user="u", resource_id="db-ABC"),
            "arn:aws:rds-db:us-west-2:111111111111:dbuser:db-ABC/u",
        ),
        (
            names.ssm_parameter_arn("/prod/postgres-rds/port", region="us-west-2", account="111111111111"),
            "arn:aws:ssm:us-west-2:111111111111:parameter/prod/postgres-rds/port",
        ),
        (
            names.secret_arn_pattern("prod/postgres-shared/chat-api", region="us-west-2", account="111111111111"),
            "arn:aws:secretsmanager:us-west-2:111111111111:secret:prod/postgres-shared/chat-api-??????",
        ),
        (names.mongo_secret_name("dev", "chat-api"), "dev/mongodb-shared/chat-api-password"),
        (names.mongo_secret_name("mirror", "chat-api"), "/mirror/current/chat-api-mongo-password"),
        (names.mongo_secret_name("prod", "chat-api"), "prod/mongodb-shared/chat-api-password"),
        (names.mongo_secret_name("staging", "chat-api"), "staging/mongodb-shared/chat-api-password"),
        (names.mongo_endpoint_ssm_path(), "/mirror/current/mongodb-shared/endpoint"),
        (names.mongo_port_ssm_path(), "/mirror/current/mongodb-shared/port"),
        (names.mongo_read_role("chat-api"), "soa-db-read-for-chat-api"),
        (names.MONGO_LOCK_DATABASE, "soa-db"),
        (names.mongo_hosts_ssm_path("dev"), "/dev/mongodb-shared/hosts"),
        (names.mongo_hosts_ssm_path("prod"), "/shared/infra/prod/mongodb-hosts"),
        (names.mongo_hosts_ssm_path("staging"), "/shared/infra/staging/mongodb-hosts"),
        (names.mongo_replica_set_ssm_path("mirror"), "/mirror/current/mongodb-shared/replica-set-name"),
        (names.mongo_replica_set_ssm_path("prod"), "/shared/infra/prod/mongodb-replica-set-name"),
        (names.mongo_ca_secret_ssm_path("mirror"), "/mirror/current/mongodb-shared/ca-secret-arn"),
        (names.mongo_ca_secret_ssm_path("prod"), "/shared/infra/prod/mongodb-ca-secret-arn"),
        (names.mongo_admin_secret_ssm_path("dev"), "/dev/mongodb-shared/master-secret-arn"),
        (names.mongo_admin_secret_ssm_path("mirror"), "/mirror/current/mongodb-shared/master-secret-arn"),
        (names.mongo_admin_secret_ssm_path("prod"), "/shared/infra/prod/mongodb-master-secret-arn"),
        (names.redis_key_prefix("chat-api"), "chat-api:"),
        (names.redis_default_pattern("chat-api"), "chat-api:*"),
        (names.redis_user("chat-api", "prod"), "chat-api-prod"),
        (names.redis_user_group("mirror"), "cache-mirror"),
        (names.redis_default_user_id("mirror"), "cache-mirror-default"),
        (
            names.elasticache_arn("user", "chat-api-prod", region="us-west-2", account="111111111111"),
            "arn:aws:elasticache:us-west-2:111111111111:user:chat-api-prod",
        ),
        (names.redis_secret_name("dev", "chat-api"), "dev/redis/chat-api"),
        (names.redis_endpoint_ssm_path("prod"), "/shared/infra/prod/redis-endpoint"),
        (names.redis_admin_secret_ssm_path("dev"), "/shared/infra/dev/redis-master-secret-arn"),
        (names.REDIS_PORT, 6379),
        (names.DEFAULT_REGION, "us-west-2"),
        (names.ENVS, ("dev", "mirror", "prod")),
        (names.ROLES, ("owner", "app", "ro")),
    ],
)
def test_a_name_of_the_contract(made: object, expected: object) -> None:
    """The TypeScript packages read and write the very same names."""
    assert made == expected


@pytest.mark.parametrize(
    "service",
    ["", "Chat", "chat_api", "-chat", "chat-", "chat--api", "1chat", "chat/api", "chät", "a\n", "a" * 58, 'a"; drop'],
)
def test_what_is_no_service_id_is_refused(service: str) -> None:
    """It becomes part of users, secrets and paths."""
    with pytest.raises(ConfigurationError, match="not a service id"):
        names.postgres_user(service)


@pytest.mark.parametrize("name", ["", "a" * 64, "ä" * 32, "a\0b", "a\nb", "\ud800"])
def test_what_is_no_identifier_is_refused(name: str) -> None:
    """PostgreSQL would truncate it, or cannot hold it."""
    with pytest.raises(ConfigurationError):
        names.check_identifier(name)


@pytest.mark.parametrize(
    "call",
    [
        lambda: names.check_env("staging"),
        lambda: names.check_role("admin"),
        lambda: names.normal_db_id("PII"),
        lambda: names.normal_db_id(""),
        lambda: names.password_secret_name("dev", "chat-api"),
        lambda: names.iam_host_ssm_path("dev"),
    ],
)
def test_what_the_contract_does_not_know_is_refused(call: object) -> None:
    """With a typed error, before any name is made of it."""
    assert callable(call)
    with pytest.raises(ConfigurationError):
        call()
