"""The naming contract with the TypeScript packages: users, databases, secrets, parameters. Pure functions.

Nothing else in this package spells one of these names. The source is DESIGN section 2; ``tests/unit/test_names.py``
holds it as a table. Service ids are lower case letters, digits and ``-`` (``chat-api``); ``snake`` is the id with
``-`` replaced by ``_``.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from soa_db.errors import ConfigurationError

__all__ = [
    "DEFAULT_REGION",
    "ENVS",
    "MONGO_LOCK_DATABASE",
    "MONGO_PORT",
    "MONGO_READ_ROLE",
    "POSTGRES_PORT",
    "REDIS_PORT",
    "ROLES",
    "Env",
    "MongoEnv",
    "Role",
    "check_env",
    "check_identifier",
    "check_role",
    "check_service",
    "dev_secret_name",
    "elasticache_arn",
    "iam_host_ssm_path",
    "iam_port_ssm_path",
    "mongo_admin_secret_ssm_path",
    "mongo_ca_secret_ssm_path",
    "mongo_database",
    "mongo_endpoint_ssm_path",
    "mongo_hosts_ssm_path",
    "mongo_port_ssm_path",
    "mongo_read_role",
    "mongo_reader",
    "mongo_replica_set_ssm_path",
    "mongo_secret_name",
    "mongo_user",
    "normal_db_id",
    "password_secret_name",
    "postgres_admin_endpoint_ssm_path",
    "postgres_admin_port_ssm_path",
    "postgres_admin_secret_ssm_path",
    "postgres_database",
    "postgres_user",
    "rds_db_user_arn",
    "redis_admin_secret_ssm_path",
    "redis_default_pattern",
    "redis_default_user_id",
    "redis_endpoint_ssm_path",
    "redis_key_prefix",
    "redis_secret_name",
    "redis_user",
    "redis_user_group",
    "secret_arn_pattern",
    "snake",
    "ssm_parameter_arn",
]

Env = Literal["dev", "mirror", "prod"]
MongoEnv = Literal["dev", "mirror", "prod", "staging"]
"""``staging`` is a deprecated alias that only the Mongo loader takes."""
Role = Literal["owner", "app", "ro"]
ENVS: tuple[Env, ...] = get_args(Env)
ROLES: tuple[Role, ...] = get_args(Role)
DEFAULT_REGION = "us-west-2"
MONGO_LOCK_DATABASE = "soa-db"
"""Of provisioning alone: with a hyphen, which no derived name of a service's database has."""
MONGO_PORT = 27017
MONGO_READ_ROLE = "soa-db-read-for-"
"""What the name of a role begins with by which one service reads another's collections."""
POSTGRES_PORT = 5432
REDIS_PORT = 6379

_SERVICE = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_DB_ID = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


def check_env(env: str) -> Env:
    """Return ``env`` typed, or raise ConfigurationError."""
    for known in ENVS:
        if env == known:
            return known
    raise ConfigurationError(f"unknown environment {env!r}", hint=f"use one of {', '.join(ENVS)}")


def check_role(role: str) -> Role:
    """Return ``role`` typed, or raise ConfigurationError."""
    for known in ROLES:
        if role == known:
            return known
    raise ConfigurationError(f"unknown role {role!r}", hint=f"use one of {', '.join(ROLES)}")


def check_service(service: str) -> str:
    """Return a service id, or raise ConfigurationError: it becomes part of users, secrets and paths."""
    if not _SERVICE.fullmatch(service) or len(service) > 57:
        raise ConfigurationError(
            f"{service!r} is not a service id",
            hint="use lower case letters, digits and single hyphens, starting with a letter, 57 characters at most",
        )
    return service


def check_identifier(name: str, what: str = "identifier") -> str:
    """Return a PostgreSQL identifier, or raise ConfigurationError.

    PostgreSQL silently truncates identifiers over 63 bytes (NAMEDATALEN - 1) and accepts no NUL; control
    characters are refused because they would forge log lines and plans.
    """
    if not name:
        raise ConfigurationError(f"the {what} is empty")
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise ConfigurationError(f"the {what} {name!r} holds a control character")
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"the {what} {name!r} is not valid Unicode") from error
    if size > 63:
        raise ConfigurationError(
            f"the {what} {name!r} is {size} bytes long; PostgreSQL keeps 63", hint="choose a shorter name"
        )
    return name


def normal_db_id(db_id: str | None) -> str | None:
    """Return None for the default database (None and ``"main"`` are the same), else the checked id."""
    if db_id is None or db_id == "main":
        return None
    if not _DB_ID.fullmatch(db_id):
        raise ConfigurationError(
            f"{db_id!r} is not a database id", hint="use lower case letters, digits and single - or _"
        )
    return db_id


def snake(service: str) -> str:
    """``chat-api`` → ``chat_api``."""
    return check_service(service).replace("-", "_")


def postgres_user(service: str, role: Role = "app") -> str:
    """``chat_api_app``. It does not depend on the database id: ``rds-db:connect`` is per user."""
    return check_identifier(f"{snake(service)}_{check_role(role)}", "user")


def postgres_database(service: str, db_id: str | None = None) -> str:
    """``chat_api``, or ``iam_api_pii_db`` for a database with an id."""
    normal = normal_db_id(db_id)
    if normal is None:
        return check_identifier(snake(service), "database")
    return check_identifier(f"{snake(service)}_{normal.replace('-', '_')}_db", "database")


def mongo_database(service: str) -> str:
    """``chat_api_db``."""
    return f"{snake(service)}_db"


def mongo_user(service: str) -> str:
    """``chat_api_app``."""
    return f"{snake(service)}_app"


def mongo_read_role(reader: str) -> str:
    """``soa-db-read-for-coach``: the role in another service's database by which ``coach`` reads collections of it."""
    return f"{MONGO_READ_ROLE}{check_service(reader)}"


def mongo_reader(role: str) -> str | None:
    """The service a role of that name is for; None for any other name."""
    reader = role.removeprefix(MONGO_READ_ROLE)
    return reader if reader != role and _SERVICE.fullmatch(reader) else None


def dev_secret_name(service: str, role: Role = "app", db_id: str | None = None) -> str:
    """The parity secret of one identity in dev: ``dev/postgres-shared/{service}[/{db_id}]/{role}``."""
    normal = normal_db_id(db_id)
    middle = f"{check_service(service)}/{normal}" if normal else check_service(service)
    return f"dev/postgres-shared/{middle}/{check_role(role)}"


def password_secret_name(env: Env, service: str, db_id: str | None = None) -> str:
    """The secret of a service not yet on IAM (``auth="password"``), in mirror or prod."""
    normal = normal_db_id(db_id)
    name = f"{check_service(service)}-{normal}" if normal else check_service(service)
    match env:
        case "mirror":
            return f"/mirror/current/{name}-postgres-password"
        case "prod":
            return f"prod/postgres-shared/{name}"
        case _:
            raise ConfigurationError(
                "auth='password' is for mirror and prod",
                hint="in dev the parity secret is used anyway",
                env=env,
            )


def _rds_prefix(env: Env) -> str:
    match env:
        case "mirror":
            return "/mirror/current/postgres-rds"
        case "prod":
            return "/prod/postgres-rds"
        case _:
            raise ConfigurationError("there are no RDS coordinates in dev", env=env)


def iam_host_ssm_path(env: Env) -> str:
    """The SSM parameter that holds the RDS host, in mirror and prod."""
    return f"{_rds_prefix(env)}/endpoint"


def iam_port_ssm_path(env: Env) -> str:
    """The SSM parameter that holds the RDS port, in mirror and prod."""
    return f"{_rds_prefix(env)}/port"


def _admin_prefix(env: Env) -> str:
    return "/dev/postgres-shared" if env == "dev" else _rds_prefix(env)


def postgres_admin_endpoint_ssm_path(env: Env) -> str:
    """The SSM parameter that holds the host provisioning connects to."""
    return f"{_admin_prefix(env)}/endpoint"


def postgres_admin_port_ssm_path(env: Env) -> str:
    """The SSM parameter that holds the port provisioning connects to."""
    return f"{_admin_prefix(env)}/port"


def postgres_admin_secret_ssm_path(env: Env) -> str:
    """The SSM parameter that holds the name or ARN of the administrator's secret."""
    return f"{_admin_prefix(env)}/master-secret-arn"


def rds_db_user_arn(*, region: str, account: str, user: str, resource_id: str = "*", partition: str = "aws") -> str:
    """The resource of ``rds-db:connect``: the exact DbiResourceId in prod, ``*`` in mirror (its id changes daily)."""
    return f"arn:{partition}:rds-db:{region}:{account}:dbuser:{resource_id}/{user}"


def ssm_parameter_arn(name: str, *, region: str, account: str, partition: str = "aws") -> str:
    """The ARN of a parameter; the leading slash of a path is not doubled."""
    return f"arn:{partition}:ssm:{region}:{account}:parameter/{name.removeprefix('/')}"


def secret_arn_pattern(name: str, *, region: str, account: str, partition: str = "aws") -> str:
    """The ARN of a secret by its name, for policies: Secrets Manager appends a hyphen and six random characters."""
    return f"arn:{partition}:secretsmanager:{region}:{account}:secret:{name}-??????"


def elasticache_arn(kind: str, name: str, *, region: str, account: str, partition: str = "aws") -> str:
    """The ARN of an ElastiCache ``user``, ``replicationgroup`` or ``serverlesscache``."""
    return f"arn:{partition}:elasticache:{region}:{account}:{kind}:{name}"


def redis_key_prefix(service: str) -> str:
    """``chat-api:``: what the keys and channels of a service start with."""
    return f"{check_service(service)}:"


def redis_user(service: str, env: Env) -> str:
    """``chat-api-prod``: the ACL user of a service, on ElastiCache its user id and user name."""
    return f"{check_service(service)}-{env}"


def redis_user_group(env: Env) -> str:
    """``cache-prod``: the ElastiCache user group that the users of an environment are members of."""
    return f"cache-{env}"


def redis_default_user_id(env: Env) -> str:
    """``cache-prod-default``: the ElastiCache user of the name ``default`` that is off in that group."""
    return f"{redis_user_group(env)}-default"


def redis_secret_name(env: Env, service: str) -> str:
    """The secret of a service's Redis user: ``prod/redis/chat-api``."""
    return f"{env}/redis/{check_service(service)}"


def redis_endpoint_ssm_path(env: Env) -> str:
    """The SSM parameter that holds the Redis endpoint, ``host`` or ``host:port``."""
    return f"/shared/infra/{env}/redis-endpoint"


def redis_admin_secret_ssm_path(env: Env) -> str:
    """The SSM parameter that holds the name or ARN of the administrator's secret of a self-run Redis."""
    return f"/shared/infra/{env}/redis-master-secret-arn"


def redis_default_pattern(service: str) -> str:
    """``chat-api:*``: what the keys and channels of a service look like, as a Redis pattern."""
    return f"{redis_key_prefix(service)}*"


_MIRROR_MONGO = "/mirror/current/mongodb-shared"


def mongo_secret_name(env: MongoEnv, service: str) -> str:
    """The secret of a service's MongoDB user: ``prod/mongodb-shared/chat-api-password``."""
    if env == "mirror":
        return f"/mirror/current/{check_service(service)}-mongo-password"
    return f"{env}/mongodb-shared/{check_service(service)}-password"


def mongo_endpoint_ssm_path() -> str:
    """The SSM parameter that holds the host of the mirror's MongoDB."""
    return f"{_MIRROR_MONGO}/endpoint"


def mongo_port_ssm_path() -> str:
    """The SSM parameter that holds the port of the mirror's MongoDB."""
    return f"{_MIRROR_MONGO}/port"


def mongo_hosts_ssm_path(env: MongoEnv) -> str:
    """The SSM parameter that holds the comma-separated ``host:port`` of the members; in dev for provisioning only."""
    match env:
        case "mirror":
            raise ConfigurationError("the mirror's MongoDB has one endpoint and a port", env=env)
        case "dev":
            return "/dev/mongodb-shared/hosts"
        case _:
            return f"{_shared_mongo(env)}-hosts"


def mongo_replica_set_ssm_path(env: MongoEnv) -> str:
    """The SSM parameter that holds the name of the replica set, in mirror and prod."""
    return f"{_MIRROR_MONGO}/replica-set-name" if env == "mirror" else f"{_shared_mongo(env)}-replica-set-name"


def mongo_ca_secret_ssm_path(env: MongoEnv) -> str:
    """The SSM parameter that holds the name or ARN of the secret ``{ca_cert: PEM}``, in mirror and prod."""
    return f"{_MIRROR_MONGO}/ca-secret-arn" if env == "mirror" else f"{_shared_mongo(env)}-ca-secret-arn"


def mongo_admin_secret_ssm_path(env: MongoEnv) -> str:
    """The SSM parameter that holds the name or ARN of the administrator's secret."""
    match env:
        case "mirror":
            return f"{_MIRROR_MONGO}/master-secret-arn"
        case "dev":
            return "/dev/mongodb-shared/master-secret-arn"
        case _:
            return f"{_shared_mongo(env)}-master-secret-arn"


def _shared_mongo(env: MongoEnv) -> str:
    if env == "dev":
        raise ConfigurationError("the coordinates of dev's MongoDB stand in each service's secret", env=env)
    return f"/shared/infra/{env}/mongodb"
