"""Redis as one of the engines. Loads driver and AWS libraries only when something is asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from soa_db.access.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Collection

    from soa_db.access.aws.rights import Rights
    from soa_db.access.engine import Part, Provisioner, Request, Selection, Verification
    from soa_db.access.redis.backend import Backend
    from soa_db.access.rotate import RotateResult
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients

__all__ = ["REDIS"]


def _declared(specs: SpecSet) -> bool:
    return any(spec.redis is not None for spec in specs.specs)


def _provisioner(request: Request) -> Provisioner:
    from soa_db.access.redis.entry import redis_provisioner

    return redis_provisioner(request)


def _rotate(request: Request, selection: Selection) -> RotateResult:
    from soa_db.access.redis.entry import redis_passwords
    from soa_db.access.redis.rotate import finish_redis, rotate_redis
    from soa_db.access.rotate import Rotated, RotateResult

    if selection.roles is not None and "app" not in selection.roles:
        return RotateResult((), ("a service has one user on Redis, of the role app",))
    passwords = redis_passwords(
        request.specs, request.env, aws=request.aws, settings=request.settings, admin_url=request.admin_url
    )
    work = finish_redis if selection.finish else rotate_redis
    done = work(passwords, progress=request.progress, services=selection.services, lock_timeout=selection.lock_timeout)
    rotated = tuple(Rotated(one.service, one.user, one.secrets, one.finished) for one in done if one.changed)
    return RotateResult(rotated, tuple(one.idle for one in done if not one.changed))


@dataclass(frozen=True, slots=True)
class _Verification:
    """One Redis, as some of the services' users see it."""

    request: Request
    services: frozenset[str]
    rights: Rights

    @property
    def home(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """User → where it is at home."""
        from soa_db.access.redis.probe import redis_home

        return redis_home(self.request.specs, self.request.env, self.services)

    def parts(self) -> list[Part]:
        """Everything there is to ask; opens nothing yet."""
        from soa_db.access.redis.caches import find_caches
        from soa_db.access.redis.probe import redis_parts

        request = self.request
        # With an administrator's URL it is a Redis of one's own, without IAM.
        iam = request.settings.environment(request.env).redis_iam if request.admin_url is None else ()
        return redis_parts(
            request.specs,
            request.env,
            clients_of=self._clients_of,
            assumes=self.rights.assumes,
            only=self.services,
            administration=partial(_administration, request),
            iam=iam,
            caches=partial(find_caches, request.aws, request.env),
        )

    def end(self) -> None:
        """Do nothing: each command of a probe has a deadline of its own."""

    def _clients_of(self, service: str) -> AwsClients:
        from soa_db.access.aws.rights import AppTier

        return self.rights.of(AppTier(service))


def _administration(request: Request) -> Backend:
    from soa_db.access.redis.entry import backend_of

    return backend_of(request.env, aws=request.aws, settings=request.settings, admin_url=request.admin_url)[0]


def _verification(request: Request, services: Collection[str], rights: Rights) -> Verification:
    return _Verification(request, frozenset(services), rights)


REDIS = Engine("redis", ("redis", "rediss"), _declared, _provisioner, _rotate, _verification)
