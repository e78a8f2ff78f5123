"""``soa_db.names``: the naming contract."""

from __future__ import annotations

from typing import Literal, assert_type

from soa_db import names
from soa_db.names import Env, MongoEnv, Role

assert_type(names.ENVS, tuple[Env, ...])
assert_type(names.ROLES, tuple[Role, ...])
assert_type(names.check_env("dev"), Literal["dev", "mirror", "prod"])
assert_type(names.check_role("ro"), Literal["owner", "app", "ro"])
assert_type(names.check_service("chat-api"), str)
assert_type(names.check_identifier("chat_api"), str)
assert_type(names.normal_db_id("main"), str | None)
assert_type(names.dev_secret_name("chat-api", "owner", "pii"), str)
assert_type(names.iam_host_ssm_path("mirror"), str)
assert_type(names.mongo_reader("x"), str | None)

staging: MongoEnv = "staging"
assert_type(names.mongo_secret_name(staging, "chat-api"), str)
names.redis_secret_name("staging", "chat-api")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
names.dev_secret_name("chat-api", "admin")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

env: Env = "prod"
texts: tuple[str, ...] = (
    names.DEFAULT_REGION,
    names.MONGO_LOCK_DATABASE,
    names.MONGO_READ_ROLE,
    names.elasticache_arn("user", "u", region="r", account="a"),
    names.iam_port_ssm_path(env),
    names.mongo_admin_secret_ssm_path(staging),
    names.mongo_ca_secret_ssm_path(staging),
    names.mongo_database("s"),
    names.mongo_endpoint_ssm_path(),
    names.mongo_hosts_ssm_path(env),
    names.mongo_port_ssm_path(),
    names.mongo_read_role("s"),
    names.mongo_replica_set_ssm_path(env),
    names.mongo_user("s"),
    names.password_secret_name(env, "s", "pii"),
    names.postgres_admin_endpoint_ssm_path(env),
    names.postgres_admin_port_ssm_path(env),
    names.postgres_admin_secret_ssm_path(env),
    names.postgres_database("s", None),
    names.postgres_user("s", "ro"),
    names.rds_db_user_arn(region="r", account="a", user="u"),
    names.redis_admin_secret_ssm_path(env),
    names.redis_default_pattern("s"),
    names.redis_default_user_id(env),
    names.redis_endpoint_ssm_path(env),
    names.redis_key_prefix("s"),
    names.redis_user("s", env),
    names.redis_user_group(env),
    names.secret_arn_pattern("n", region="r", account="a"),
    names.snake("s"),
    names.ssm_parameter_arn("n", region="r", account="a"),
)
ports: tuple[int, ...] = (names.MONGO_PORT, names.POSTGRES_PORT, names.REDIS_PORT)
