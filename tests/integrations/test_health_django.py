"""One line for Django, in front of a real PostgreSQL.

Django's settings, its registry of apps and asgiref's thread are a process's: these tests have an interpreter of their
own, so that neither they nor those of the back end notice which came first. A fork would inherit all of it, and not the
thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.health import BEARER, PAGES, TOKEN, expect, seen
from tests.support.postgres import config, login_role

from soa_db.config import PostgresConfig
from soa_db.health import AsgiHealthApp, AsyncHealthChecks, HealthCheck, HealthChecks, WsgiHealthApp, django_urls
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

Elsewhere = Callable[[Callable[[PostgresConfig], None]], None]


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """A fresh one, shared by these tests."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.fixture
def elsewhere(interpreter: ProcessPoolExecutor, local_env: LocalEnvironment, unique_name: str) -> Iterator[Elsewhere]:
    """Call a function of this module there, with the config of a user of the test's own."""
    with login_role(local_env.server("dev"), unique_name) as user:
        wanted = config(local_env.server("dev"), user)  # type: ignore[arg-type]  # it has what is needed
        yield lambda work: interpreter.submit(work, wanted).result(timeout=60)


@contextlib.contextmanager
def connected(wanted: PostgresConfig) -> Iterator[HealthChecks]:
    """Blocking checks of one connected provider."""
    with PostgresProvider(wanted) as provider:
        yield HealthChecks(service="chat-api", checks=[HealthCheck("db", provider)], max_age=0)


class Urls:
    """A root URL configuration."""

    def __init__(self, patterns: Any) -> None:
        self.urlpatterns = patterns


@contextlib.contextmanager
def project(patterns: Any, **more: Any) -> Iterator[None]:
    """A Django project with these URLs, and Django's usual middleware."""
    import django
    from django.conf import settings
    from django.test import override_settings

    if not settings.configured:
        settings.configure(SECRET_KEY="x")
        django.setup()
    middleware = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]
    hosts = ["chat.test", "testserver"]
    given = {"ROOT_URLCONF": Urls(patterns), "MIDDLEWARE": middleware, "ALLOWED_HOSTS": hosts}
    with override_settings(**given, **more):
        yield


def in_front_of_wsgi(wanted: PostgresConfig) -> None:
    """In wsgi.py."""
    from django.core.wsgi import get_wsgi_application
    from httpx import Client, WSGITransport

    with connected(wanted) as checks, project([]):
        application = WsgiHealthApp(get_wsgi_application(), checks=checks, details=TOKEN)  # the line
        with Client(transport=WSGITransport(application), base_url="http://10.0.0.7") as client:
            expect(seen(client))
            assert client.get("/elsewhere").status_code == 400


def test_one_line_for_django_wsgi(elsewhere: Elsewhere) -> None:
    """In wsgi.py; a load balancer that probes by IP address is answered, although ALLOWED_HOSTS would refuse it."""
    elsewhere(in_front_of_wsgi)


def within_urls(wanted: PostgresConfig) -> None:
    """In urls.py."""
    from django.test import Client

    with connected(wanted) as checks, project([*django_urls(checks, details=TOKEN)]):  # the line
        client = Client(enforce_csrf_checks=True, headers={"host": "chat.test"})
        expect(seen(client))
        assert client.head("/health/ready").content == b""
        assert client.get("/health/ready/").status_code == 200
        assert client.get("/health/own").status_code == 404
        assert client.get("/health//").json() == {"error": "not found"}
        assert client.get("/health/ready")["Cache-Control"] == "no-store"
        assert Client(headers={"host": "10.0.0.7"}).get("/health/ready").status_code == 400


def test_one_line_of_django_urls(elsewhere: Elsewhere) -> None:
    """Within Django: its middleware stands before them, and no CSRF token is asked for."""
    elsewhere(within_urls)


class Anonymous:
    """What the authentication middleware finds."""

    is_authenticated = False


def behind_a_login(wanted: PostgresConfig) -> None:
    """With Django's own middleware that wants one."""
    from django.test import Client, RequestFactory
    from django.urls import resolve

    apps = ["django.contrib.contenttypes", "django.contrib.auth"]
    with connected(wanted) as checks, project(django_urls(checks, prefix="/-/health.d"), INSTALLED_APPS=apps):
        from django.contrib.auth.middleware import LoginRequiredMiddleware

        client = Client(headers={"host": "chat.test"})
        assert client.get("/-/health.d").status_code == 200
        assert client.get("/-/healthxd").status_code == 404
        view = resolve("/-/health.d/ready").func
        request = RequestFactory().get("/-/health.d/ready")
        request.user = Anonymous()  # type: ignore[assignment]
        assert LoginRequiredMiddleware(view).process_view(request, view, (), {}) is None


def test_django_urls_under_another_prefix_and_behind_a_login(elsewhere: Elsewhere) -> None:
    """They are exempt from Django's own LoginRequiredMiddleware."""
    elsewhere(behind_a_login)


def included(wanted: PostgresConfig) -> None:
    """By `include`, under several routes."""
    from django.test import Client
    from django.urls import include, path

    with connected(wanted) as checks:
        for route in ("internal", "internal/", "", "internal/health"):
            with project([path(route, include(django_urls(checks, prefix="")))]):
                client = Client(headers={"host": "chat.test"})
                for page in ("live", "ready", "ready/"):
                    found = client.get(f"/{route.removesuffix('/')}/{page}".replace("//", "/"))
                    assert (route, page, found.status_code) == (route, page, 200)
                assert client.get(f"/{route}").json()["service"] == "chat-api"
                assert client.get("/internal/own").status_code == 404


def test_django_urls_that_another_configuration_includes(elsewhere: Elsewhere) -> None:
    """With a slash at the end of the route, as Django's documentation has it, and without."""
    elsewhere(included)


async def with_coroutines(wanted: PostgresConfig) -> None:
    """In urls.py, and in asgi.py."""
    from django.core.asgi import get_asgi_application
    from django.test import AsyncClient as DjangoClient
    from httpx import ASGITransport, AsyncClient

    async with AsyncPostgresProvider(wanted) as provider:
        checks = AsyncHealthChecks(service="chat-api", checks=[HealthCheck("db", provider)], max_age=0)
        with project(django_urls(checks, details=TOKEN)):
            client = DjangoClient()
            found = {}
            for path in PAGES:
                answer = await client.get(path, headers=BEARER)
                found[path] = (answer.status_code, answer.json())
            expect(found)
            assert (await client.get("/health/details")).status_code == 401
            application = AsgiHealthApp(get_asgi_application(), checks=checks)  # the line
            async with AsyncClient(transport=ASGITransport(application), base_url="http://10.0.0.7") as balancer:
                assert (await balancer.get("/health/ready")).status_code == 200
                assert (await balancer.get("/elsewhere")).status_code == 400


def asynchronously(wanted: PostgresConfig) -> None:
    """In a loop of its own."""
    asyncio.run(with_coroutines(wanted))


def test_django_with_asynchronous_checks(elsewhere: Elsewhere) -> None:
    """The views are coroutines then; and one line in asgi.py."""
    elsewhere(asynchronously)
