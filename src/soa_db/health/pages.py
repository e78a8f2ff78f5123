"""What the ASGI app, the WSGI app and the Django view have in common: which page is asked for, and who may see it."""

from __future__ import annotations

import hmac
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeAlias, TypeVar

from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db._core.health import Page

__all__ = ["NOT_FOUND", "DetailsGuard", "HealthApp", "Pages", "Response", "json_response"]

AppT = TypeVar("AppT")
ChecksT = TypeVar("ChecksT")

# Who may see /health/details: nobody, everybody, who sends this bearer token, or those whose request headers (names in
# lower case) the function returns True for.
DetailsGuard: TypeAlias = bool | str | Callable[[Mapping[str, str]], bool]

_METHODS = ("GET", "HEAD")
_PAGES: Mapping[str, Page] = {"": "health", "/live": "live", "/ready": "ready", "/details": "details"}


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response.

    Attributes:
        status: the status code.
        headers: names in lower case.
        body: the content; that of GET, also in the answer to HEAD.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def json_response(status: int, document: Mapping[str, object], *more: tuple[str, str]) -> Response:
    """Return a response that no cache keeps."""
    # ASCII: a variable of the environment may hold bytes that are no UTF-8.
    body = json.dumps(document, separators=(",", ":"), default=str).encode("ascii")
    headers = (("content-type", "application/json"), ("content-length", str(len(body))), ("cache-control", "no-store"))
    return Response(status, (*headers, *more), body)


NOT_FOUND = json_response(404, {"error": "not found"})


class Pages:
    """The pages under a prefix.

    Args:
        prefix: where they are; empty when something in front takes the prefix off.
        details: who may see ``/details``. While that is nobody, there is no such page.

    Raises:
        ConfigurationError: either cannot be used.
    """

    def __init__(self, prefix: str, details: DetailsGuard) -> None:
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ConfigurationError(f"the prefix is {prefix!r}", hint="'/health', or '' for none")
        given: object = details
        self._token = b""
        if isinstance(given, str):
            if not given.strip():
                # Of a variable that is not set, say: everybody would know it.
                raise ConfigurationError("the token for the details is empty", hint="give one, or details=False")
            try:
                self._token = given.strip().encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                # `from None`: that error shows the token.
                raise ConfigurationError("the token for the details is no text", hint="give another one") from None
        elif not (isinstance(given, bool) or callable(given)) or inspect.iscoroutinefunction(given):
            raise ConfigurationError(
                "details is neither a bool nor a token nor a plain function", hint="a function gets the headers"
            )
        self._prefix = prefix
        self._details = details

    def at(self, path: str) -> Page | None:
        """Return the page at a path, with or without a slash at its end; None if there is none."""
        if not path.startswith(self._prefix):
            return None
        page = _PAGES.get(path.removeprefix(self._prefix).removesuffix("/"))
        return None if page == "details" and self._details is False else page

    def refusal(self, page: Page, method: str, headers: Mapping[str, str]) -> Response | None:
        """Return the response to who may not have the page; None to who may.

        Args:
            page: what is asked for.
            method: the request's.
            headers: the request's, names in lower case.
        """
        if method not in _METHODS:
            return json_response(405, {"error": "method not allowed"}, ("allow", ", ".join(_METHODS)))
        details = self._details
        if page != "details" or details is True:
            return None
        if isinstance(details, str):
            scheme, _, token = headers.get("authorization", "").partition(" ")
            # Headers are read as Latin-1, byte by byte.
            sent = token.strip().encode("latin-1", "replace")
            if scheme.lower() == "bearer" and hmac.compare_digest(sent, self._token):
                return None
            return json_response(401, {"error": "unauthorized"}, ("www-authenticate", 'Bearer realm="health"'))
        try:
            # Only True: a coroutine, say, is no permission.
            allowed = callable(details) and details(headers) is True
        except Exception:  # noqa: BLE001 - whatever it raises, it did not say yes
            allowed = False
        return None if allowed else json_response(403, {"error": "forbidden"})


class HealthApp(Generic[AppT, ChecksT]):
    """The pages, alone or in front of another application; ASGI and WSGI say how they are asked for.

    Args:
        app: the application behind.
        checks: what is checked.
        prefix: where the pages are.
        details: who may see the details.

    Raises:
        ConfigurationError: ``checks``, ``prefix`` or ``details`` cannot be used.
    """

    _kind: ClassVar[type]

    def __init__(
        self, app: AppT | None = None, *, checks: ChecksT, prefix: str = "/health", details: DetailsGuard = False
    ) -> None:
        if not isinstance(checks, self._kind):
            raise ConfigurationError(f"checks is a {type(checks).__name__}", hint=f"give it {self._kind.__name__}")
        self._app = app
        self._checks = checks
        self._pages = Pages(prefix, details)
