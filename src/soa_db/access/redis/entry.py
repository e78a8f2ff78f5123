"""Where plan, apply, rotate and verify come in: a provisioner and its passwords, by what the settings say of Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.access.redis.access_string import desired_users
from soa_db.access.redis.admin import AdminServer, admin_config, endpoint_config
from soa_db.access.redis.passwords import Passwords
from soa_db.access.redis.provision import RedisProvisioner
from soa_db.access.redis.self_run import SelfRun
from soa_db.errors import ParameterNotFound

if TYPE_CHECKING:
    from soa_db.access.engine import Request
    from soa_db.access.redis.backend import Backend
    from soa_db.access.settings import Settings
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients
    from soa_db.config import RedisConfig
    from soa_db.names import Env

__all__ = ["backend_of", "redis_passwords", "redis_provisioner"]


def redis_provisioner(request: Request) -> RedisProvisioner:
    """What provisions the Redis of an environment.

    Raises:
        ConfigurationError, CredentialError: the coordinates are missing or cannot be used.
    """
    passwords = redis_passwords(
        request.specs,
        request.env,
        aws=request.aws,
        settings=request.settings,
        fixed=request.options.insecure_dev,
        admin_url=request.admin_url,
    )
    return RedisProvisioner(
        desired=passwords.desired,
        specs=request.specs_text(),
        server=passwords.server,
        options=request.options,
        passwords=passwords,
        progress=request.progress,
    )


def redis_passwords(
    specs: SpecSet,
    env: Env,
    *,
    aws: AwsClients,
    settings: Settings,
    fixed: bool = False,
    admin_url: str | None = None,
) -> Passwords:
    """Who looks after the passwords of an environment's users.

    Args:
        specs: the specs.
        env: the environment.
        aws: AWS access in it.
        settings: says whether its Redis is ElastiCache's or self-run.
        fixed: use the fixed development passwords.
        admin_url: an administrator's URL: the Redis is then taken for self-run.
    """
    server, endpoint = backend_of(env, aws=aws, settings=settings, admin_url=admin_url)
    iam = settings.environment(env).redis_iam if server.user_group is not None else ()
    return Passwords(aws, server, desired_users(specs, env, iam=iam), endpoint, fixed)


def backend_of(
    env: Env, *, aws: AwsClients, settings: Settings, admin_url: str | None = None
) -> tuple[Backend, RedisConfig]:
    """Who administers an environment's Redis, and how services reach it."""
    # In dev there is no ElastiCache: containers.
    if admin_url is None and env != "dev" and settings.environment(env).redis_backend == "elasticache":
        from soa_db.access.redis.elasticache import ElastiCache

        endpoint = endpoint_config(env, aws=aws)
        return ElastiCache(aws, env, endpoint), endpoint
    admin = admin_config(env, aws=aws, admin_url=admin_url)
    try:
        endpoint = endpoint_config(env, aws=aws)
    except ParameterNotFound:
        if admin_url is None or env != "dev":
            # An administrator's URL may be that of a tunnel: it has no place in the secrets of mirror and prod.
            raise
        # Nobody has said where services come in: where the administrator does.
        endpoint = admin
    return SelfRun(AdminServer(admin, aws), env), endpoint
