"""What a client is told when a database is not there: 503, and nothing that names one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketState

from soa_db.errors import ConfigurationError, ConnectionFailed, CredentialError, NotConnectedError, PoolTimeout

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import HTTPConnection

__all__ = ["add_error_handlers"]

_log = logging.getLogger("soa_db.fastapi")

_UNAVAILABLE: tuple[type[Exception], ...] = (ConnectionFailed, PoolTimeout, CredentialError, NotConnectedError)
# RFC 6455's registry: "Try Again Later".
_TRY_AGAIN_LATER = 1013
# Not "nothing happened": a server may be gone after it has committed and before it has said so.
_TOLD = "A database of this service is not available now. The request may or may not have taken effect."


def add_error_handlers(app: FastAPI, *, retry_after: int = 5, also: tuple[type[Exception], ...] = ()) -> None:
    """Have an application answer 503 when a database cannot be reached, refuses it, or has no connection left.

    The answer has ``Retry-After`` and names no host, user or secret. What happened is one line in the log
    ``soa_db.fastapi``. A websocket is closed with code 1013. Errors of the caller's own, such as a statement that is
    wrong, stay what they were.

    Args:
        app: the application.
        retry_after: seconds after which a client may try again.
        also: further classes of errors, such as ``pymongo.errors.ConnectionFailure`` of the native client.

    Raises:
        ConfigurationError: ``retry_after`` is no whole number of seconds.
    """
    if type(retry_after) is not int or retry_after < 0:
        raise ConfigurationError("retry_after is no whole number of seconds", hint="give 0 or more")

    async def unavailable(connection: HTTPConnection, error: Exception) -> JSONResponse | None:
        # The route's path, not the request's: that may hold whose data it is about.
        route = getattr(connection.scope.get("route"), "path", "")
        _log.warning("%s %s: %s: %s", connection.scope.get("method", "websocket"), route, type(error).__name__, error)
        if isinstance(connection, WebSocket):
            if WebSocketState.DISCONNECTED not in {connection.application_state, connection.client_state}:
                await connection.close(_TRY_AGAIN_LATER)
            return None
        return JSONResponse({"detail": _TOLD}, 503, headers={"Retry-After": str(retry_after)})

    for kind in (*_UNAVAILABLE, *also):
        app.add_exception_handler(kind, unavailable)  # type: ignore[arg-type]  # of a request or a websocket
