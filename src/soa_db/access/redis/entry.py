"""Where plan, apply, rotate and verify come in: a provisioner and its passwords, by what the settings say of Redis."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from soa_db.access.redis.access_string import desired_users
from soa_db.access.redis.admin import (
    ADMIN_URL_VARIABLE,
    AdminServer,
    admin_config,
    endpoint_config,
    is_redis_url,
)
from soa_db.access.redis.passwords import Passwords
from soa_db.access.redis.provision import RedisProvisioner
from soa_db.access.redis.self_run import SelfRun
from soa_db.errors import ParameterNotFound

if TYPE_CHECKING:
    from soa_db.access.plan import PlanOptions, Progress
    from soa_db.access.redis.backend import Backend
    from soa_db.access.settings import Settings
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients
    from soa_db.config import RedisConfig
    from soa_db.names import Env

__all__ = ["backend_of", "redis_passwords", "redis_provisioner"]


def redis_provisioner(
    specs: SpecSet,
    env: Env,
    *,
    aws: AwsClients,
    settings: Settings,
    options: PlanOptions,
    progress: Progress,
    admin_url: str | None = None,
) -> RedisProvisioner | None:
    """What provisions the Redis of an environment; None when no spec has a ``redis`` part.

    Args:
        specs: the specs.
        env: the environment.
        aws: AWS access in it.
        settings: says whether its Redis is ElastiCache's or self-run.
        options: what was asked for.
        progress: told each step; from one thread at a time.
        admin_url: a ``redis://`` or ``rediss://`` URL of an administrator: the Redis is then taken for self-run. A URL
            of another engine is not looked at.

    Raises:
        ConfigurationError, CredentialError: the coordinates are missing or cannot be used.
    """
    desired = desired_users(specs, env)
    if not desired.users:
        return None
    passwords = redis_passwords(specs, env, aws=aws, settings=settings, fixed=options.insecure_dev, admin_url=admin_url)
    return RedisProvisioner(
        desired=desired,
        specs="\n".join(sorted(spec.model_dump_json() for spec in specs.specs)),
        server=passwords.server,
        options=options,
        passwords=passwords,
        progress=progress,
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
    """Who looks after the passwords of an environment's users; arguments as for ``redis_provisioner``."""
    server, endpoint = backend_of(env, aws=aws, settings=settings, admin_url=admin_url)
    return Passwords(aws, server, desired_users(specs, env), endpoint, fixed)


def backend_of(
    env: Env, *, aws: AwsClients, settings: Settings, admin_url: str | None = None
) -> tuple[Backend, RedisConfig]:
    """Who administers an environment's Redis, and how services reach it."""
    by_url = is_redis_url(admin_url) or is_redis_url(os.environ.get(ADMIN_URL_VARIABLE))
    # In dev there is no ElastiCache: containers.
    if not by_url and env != "dev" and settings.environment(env).redis_backend == "elasticache":
        from soa_db.access.redis.elasticache import ElastiCache

        endpoint = endpoint_config(env, aws=aws)
        return ElastiCache(aws, env, endpoint), endpoint
    admin = admin_config(env, aws=aws, admin_url=admin_url)
    try:
        endpoint = endpoint_config(env, aws=aws)
    except ParameterNotFound:
        if not by_url:
            raise
        # Nobody has said where services come in: where the administrator does.
        endpoint = admin
    return SelfRun(AdminServer(admin, aws), env), endpoint
