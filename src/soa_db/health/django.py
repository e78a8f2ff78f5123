"""The pages as URLs of a Django project, blocking or asynchronous."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from soa_db._async.health import AsyncHealthChecks
from soa_db.errors import MissingExtra
from soa_db.health.pages import NOT_FOUND, DetailsGuard, Pages, Response, json_response

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from soa_db._core.health import Page
    from soa_db._sync.health import HealthChecks

__all__ = ["django_urls"]


def django_urls(
    checks: HealthChecks | AsyncHealthChecks, *, prefix: str = "/health", details: DetailsGuard = False
) -> list[URLPattern]:
    """Return URL patterns for a project's ``urlpatterns``: ``urlpatterns = [*django_urls(checks), …]``.

    They need no login and no CSRF token. Django's middleware stands before them: a load balancer that probes by IP
    address is refused by ``ALLOWED_HOSTS``. ``WsgiHealthApp`` and ``AsgiHealthApp`` answer before Django does.

    Args:
        checks: what is checked; of ``AsyncHealthChecks`` the view is a coroutine, for ASGI.
        prefix: where the pages are; empty where ``include`` takes the prefix off.
        details: who may see ``{prefix}/details``, as for ``WsgiHealthApp``.

    Raises:
        ConfigurationError: ``prefix`` or ``details`` cannot be used.
        MissingExtra: Django is not installed.
    """
    try:
        from django.http import HttpResponse
        from django.urls import re_path
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "django":
            raise
        raise MissingExtra("django is not installed", hint="pip install 'soa-db[django]'") from error

    pages = Pages(prefix, details)

    def begun(request: HttpRequest, rest: str) -> Page | Response:
        page = pages.at(prefix + (rest if rest[:1] in {"", "/"} else f"/{rest}"))
        if page is None:
            return NOT_FOUND
        headers = {name.lower(): value for name, value in request.headers.items()}
        return pages.refusal(page, request.method or "", headers) or page

    def ended(response: Response) -> HttpResponse:
        # Django itself leaves the body out of the answer to HEAD.
        return HttpResponse(response.body, status=response.status, headers=dict(response.headers))

    view: Any
    if isinstance(checks, AsyncHealthChecks):

        async def awaited(request: HttpRequest, rest: str) -> HttpResponse:
            page = begun(request, rest)
            return ended(page if isinstance(page, Response) else json_response(*await checks.answer(page)))

        view = awaited
    else:

        def blocking(request: HttpRequest, rest: str) -> HttpResponse:
            page = begun(request, rest)
            return ended(page if isinstance(page, Response) else json_response(*checks.answer(page)))

        view = blocking
    # What `csrf_exempt` and `login_not_required` set.
    view.csrf_exempt, view.login_required = True, False
    # Django matches what follows a slash; where `include("health/", …)` has taken the prefix off, no slash is left.
    slash = "/" if prefix else "/?"
    return [re_path(rf"^{re.escape(prefix[1:])}(?P<rest>(?:{slash}(?:live|ready|details)?)?/?)$", view)]
