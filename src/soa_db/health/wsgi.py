"""The pages as a WSGI application, alone or in front of another (PEP 3333)."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from soa_db._sync.health import HealthChecks
from soa_db.health.pages import NOT_FOUND, HealthApp, json_response

__all__ = ["WsgiHealthApp"]


class WsgiHealthApp(HealthApp[WSGIApplication, HealthChecks]):
    """The health pages; everything else goes to ``app``.

    For Flask: ``app.wsgi_app = WsgiHealthApp(app.wsgi_app, checks=checks)``; for Django, in ``wsgi.py``:
    ``application = WsgiHealthApp(get_wsgi_application(), checks=checks)``.

    Args:
        app: the application behind; without one, other paths are 404.
        checks: what is checked.
        prefix: where the pages are; empty where something in front takes the prefix off and puts it in SCRIPT_NAME.
        details: who may see ``{prefix}/details``, which names hosts: nobody (False), everybody (True), who sends this
            token as ``Authorization: Bearer …``, or those for whose headers (a mapping, names in lower case) this
            function returns True.

    Raises:
        ConfigurationError: ``checks``, ``prefix`` or ``details`` cannot be used.
    """

    _kind = HealthChecks

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        method = environ["REQUEST_METHOD"]
        page = self._pages.at(environ.get("PATH_INFO", ""))
        if page is not None:
            headers = {
                name.removeprefix("HTTP_").replace("_", "-").lower(): value
                for name, value in environ.items()
                if name.startswith("HTTP_")
            }
            response = self._pages.refusal(page, method, headers) or json_response(*self._checks.answer(page))
        elif self._app is not None:
            return self._app(environ, start_response)
        else:
            response = NOT_FOUND
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", list(response.headers))
        return [b"" if method == "HEAD" else response.body]
