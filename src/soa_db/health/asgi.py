"""The pages as an ASGI application, alone or in front of another (ASGI 3; HTTP and Lifespan specifications)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from soa_db._async.health import AsyncHealthChecks
from soa_db.health.pages import NOT_FOUND, HealthApp, Response, json_response

__all__ = ["AsgiHealthApp"]

_Message: TypeAlias = MutableMapping[str, Any]
_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
# Every framework has types of its own for the three arguments.
_App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


class AsgiHealthApp(HealthApp[_App, AsyncHealthChecks]):
    """The health pages; everything else goes to ``app``.

    For FastAPI and Starlette: ``app.add_middleware(AsgiHealthApp, checks=checks)``.

    Args:
        app: the application behind; without one, other paths are 404.
        checks: what is checked.
        prefix: where the pages are; empty where something in front takes the prefix off, as ``Mount`` does.
        details: who may see ``{prefix}/details``, which names hosts: nobody (False), everybody (True), who sends this
            token as ``Authorization: Bearer …``, or those for whose headers (a mapping, names in lower case) this
            function returns True.

    Raises:
        ConfigurationError: ``checks``, ``prefix`` or ``details`` cannot be used.
    """

    _kind = AsyncHealthChecks

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one connection."""
        page = None
        if scope["type"] == "http":
            path, root = scope["path"], scope.get("root_path", "").rstrip("/")
            # By the specification `path` begins with `root_path`; older servers leave it out.
            page = self._pages.at(path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path)
        if page is not None:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            response = self._pages.refusal(page, scope["method"], headers)
            await _send(send, scope, response or json_response(*await self._checks.answer(page)))
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _send(send, scope, NOT_FOUND)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "lifespan":
            await _live(receive, send)


async def _send(send: _Send, scope: _Scope, response: Response) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})


async def _live(receive: _Receive, send: _Send) -> None:
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return
