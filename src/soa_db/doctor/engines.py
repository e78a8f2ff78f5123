"""The engines that are examined, and the targets of some specs on each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from soa_db.access.engines import ENGINE_NAMES
from soa_db.errors import ConfigurationError
from soa_db.names import check_role

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet
    from soa_db.doctor.examination import Examination
    from soa_db.doctor.report import Target
    from soa_db.doctor.surroundings import Surroundings
    from soa_db.names import Env

__all__ = ["Examine", "chosen_targets"]

_Said = TypeVar("_Said")
Examine = Callable[["Surroundings"], "Examination[Any, Any]"]


def chosen_targets(
    specs: SpecSet,
    env: Env,
    *,
    services: Collection[str] | None = None,
    engines: Collection[str] | None = None,
    roles: Collection[str] | None = None,
) -> list[tuple[Target, Examine]]:
    """Return the targets of a run, service by service, each with what examines it.

    Args:
        specs: the specs.
        env: the environment.
        services: only these; None for all.
        engines: only these; None for all.
        roles: only these; None for all.

    Raises:
        ConfigurationError: there is no such service, engine or role, or nothing is left to examine.
    """
    if unknown := set(services or ()) - set(specs.by_service):
        known = ", ".join(sorted(specs.by_service))
        raise ConfigurationError(f"no spec is given for {', '.join(sorted(unknown))}", hint=f"known are {known}")
    if unknown := set(engines or ()) - set(ENGINE_NAMES):
        hint = f"use {' or '.join(ENGINE_NAMES)}"
        raise ConfigurationError(f"unknown engine {', '.join(sorted(unknown))}", hint=hint)
    for role in roles or ():
        check_role(role)
    found = [
        (target, examine)
        for target, examine in _targets(specs, env)
        if (not services or target.service in services)
        and (not engines or target.engine in engines)
        and (not roles or target.role in roles)
    ]
    if not found:
        raise ConfigurationError(
            "nothing to examine: the specs declare no such identity",
            hint="name other specs, services, engines or roles; on Redis and MongoDB the only role is app",
            env=env,
        )
    return found


def _targets(specs: SpecSet, env: Env) -> Iterator[tuple[Target, Examine]]:
    for spec in specs.specs:
        if spec.postgres is not None:
            from soa_db.doctor.postgres import PostgresExamination, postgres_targets

            for target, database in postgres_targets(spec):
                yield target, _by(PostgresExamination, target, database)
        if spec.redis is not None:
            from soa_db.access.redis.expect import expected_access as redis_access
            from soa_db.doctor.redis import RedisExamination, redis_targets

            cached = {user.service: user for user in redis_access(specs, env).users}
            for target in redis_targets(spec, env):
                yield target, _by(RedisExamination, target, cached[spec.service])
        if spec.mongo is not None:
            from soa_db.access.mongo.expect import expected_access as mongo_access
            from soa_db.doctor.mongo import MongoExamination, mongo_targets

            kept = {user.service: user for user in mongo_access(specs, env).users}
            for target in mongo_targets(spec):
                yield target, _by(MongoExamination, target, kept[spec.service])


def _by(make: Callable[[Surroundings, Target, _Said], Examination[Any, Any]], target: Target, said: _Said) -> Examine:
    return lambda around: make(around, target, said)
