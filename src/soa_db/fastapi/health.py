"""The health pages over the databases that the lifespan opened."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from soa_db.errors import ConfigurationError
from soa_db.fastapi.state import databases_of
from soa_db.health import AsgiHealthApp, AsyncHealthChecks, DetailsGuard, HealthCheck

if TYPE_CHECKING:
    from fastapi import FastAPI

    from soa_db.databases import Databases

__all__ = ["add_health_routes"]


def add_health_routes(
    app: FastAPI,
    *,
    prefix: str = "/health",
    details: DetailsGuard = False,
    optional: Collection[str] = (),
    checks: Iterable[HealthCheck] = (),
    deadline: float = 2.0,
    max_age: float = 1.0,
) -> None:
    """Have an application answer ``/health``, ``/health/live``, ``/health/ready`` and ``/health/details``.

    Each open database is a check, by its name in ``Databases.providers``. The pages stand in front of the application's
    own middleware that was added before, and outside its documentation.

    Args:
        app: the application; its lifespan opens the databases.
        prefix: where the pages are.
        details: who may see the details; see ``AsgiHealthApp``.
        optional: names of databases without which the service is degraded, not down: ``{"redis"}``.
        checks: further checks.
        deadline: seconds each database has to answer.
        max_age: seconds for which a result is told again.

    Raises:
        ConfigurationError: ``prefix``, ``details`` or ``deadline`` cannot be used; when the pages are first asked for:
            no database is called as ``optional`` says, or two checks have one name.
    """
    further = tuple(checks)
    # So that what cannot be used is said now.
    HealthCheck("deadline", bool, deadline=deadline)
    AsgiHealthApp(checks=AsyncHealthChecks(service="", checks=further, max_age=max_age), prefix=prefix, details=details)

    def checks_of(databases: Databases) -> AsyncHealthChecks:
        unknown = sorted(set(optional) - set(databases.providers))
        if unknown:
            hint = f"open are {', '.join(databases.providers)}"
            raise ConfigurationError(f"no open database is called {unknown[0]!r}", hint=hint)
        own = (
            HealthCheck(name, provider, deadline=deadline, critical=name not in optional)
            for name, provider in databases.providers.items()
        )
        return AsyncHealthChecks(service=databases.service, checks=(*own, *further), max_age=max_age)

    app.add_middleware(_HealthPages, checks_of=checks_of, prefix=prefix, details=details)


class _HealthPages:
    """The pages in front of an application, made once the lifespan has opened what they are about."""

    def __init__(self, app: Any, *, checks_of: Any, prefix: str, details: DetailsGuard) -> None:
        self._app = app
        self._checks_of = checks_of
        self._prefix = prefix
        self._details = details
        # A test client starts an application several times.
        self._pages: WeakKeyDictionary[Databases, AsgiHealthApp] = WeakKeyDictionary()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one connection."""
        if scope["type"] != "http" or self._prefix not in scope["path"]:
            await self._app(scope, receive, send)
            return
        databases = databases_of(scope)
        pages = self._pages.get(databases)
        if pages is None:
            checks = self._checks_of(databases)
            pages = AsgiHealthApp(self._app, checks=checks, prefix=self._prefix, details=self._details)
            self._pages[databases] = pages
        await pages(scope, receive, send)
