"""The lifespan, and the way from a request to the databases it opened."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

# FastAPI reads the annotations of dependencies when the application is made.
from starlette.requests import HTTPConnection  # noqa: TC002

from soa_db.databases import Databases, OpenOptions, open_databases
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from soa_db.names import Env

__all__ = ["LifespanState", "databases_of", "get_databases", "lifespan"]


class LifespanState(TypedDict):
    """What the lifespan adds to the state of every request.

    Attributes:
        databases: the open databases.
    """

    databases: Databases


def lifespan(
    service: str, env: Env | str, **options: Unpack[OpenOptions]
) -> Callable[[Any], AbstractAsyncContextManager[LifespanState]]:
    """Return a lifespan for ``FastAPI(lifespan=…)`` that opens a service's databases, and closes them at the end.

    The application does not start when one cannot be opened. A lifespan of your own calls ``open_databases`` and yields
    ``{"databases": databases}``, with whatever else it has.

    Args:
        service: the service id.
        env: ``dev``, ``mirror`` or ``prod``.
        options: those of ``open_databases``, which also says what is raised, when the application starts.
    """

    @asynccontextmanager
    async def run(_app: Any) -> AsyncIterator[LifespanState]:
        async with open_databases(service, env, **options) as databases:
            yield {"databases": databases}

    return run


async def get_databases(connection: HTTPConnection) -> Databases:
    """Return the databases of the application that serves a request or a websocket; a dependency.

    Raises:
        ConfigurationError: its lifespan opened none.
    """
    # Asynchronous, as every dependency here: FastAPI calls others in a thread, where providers refuse their clients.
    return databases_of(connection.scope)


def databases_of(scope: Mapping[str, Any]) -> Databases:
    """Return the databases in an ASGI scope; raises ConfigurationError likewise."""
    found = (scope.get("state") or {}).get("databases")
    if not isinstance(found, Databases):
        raise ConfigurationError(
            "the application's lifespan has opened no databases",
            hint="FastAPI(lifespan=lifespan(service, env)), or a lifespan of your own that yields {'databases': …}; a"
            " test client runs it as a context manager only, httpx's ASGITransport not at all",
        )
    return found
