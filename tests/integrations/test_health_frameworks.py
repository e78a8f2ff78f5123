"""One line for FastAPI, Starlette, Django and Flask: the real frameworks in front of a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import django
import pytest
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.test import AsyncClient as DjangoAsyncClient
from django.test import Client as DjangoClient
from django.test import RequestFactory, override_settings
from django.urls import include, path, resolve
from fastapi import FastAPI
from flask import Flask
from httpx import ASGITransport, AsyncClient, Client, WSGITransport
from tests.support.postgres import config, login_role
from tests.support.processes import in_child, succeeded
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from soa_db.health import AsgiHealthApp, AsyncHealthChecks, HealthCheck, HealthChecks, WsgiHealthApp, django_urls
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

TOKEN = "token-of-the-tests"
PAGES = ("/health", "/health/live", "/health/ready", "/health/details")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def wanted(local_env: LocalEnvironment, unique_name: str) -> Iterator[Any]:
    """The config of a user of the test's own."""
    with login_role(local_env.server("dev"), unique_name) as user:
        yield config(local_env.server("dev"), user)  # type: ignore[arg-type]  # it has what is needed


@pytest.fixture
def checks(wanted: Any) -> Iterator[HealthChecks]:
    """Blocking checks of one connected provider."""
    with PostgresProvider(wanted) as provider:
        yield HealthChecks(service="chat-api", checks=[HealthCheck("db", provider)], max_age=0)


@pytest.fixture
async def achecks(wanted: Any) -> AsyncIterator[AsyncHealthChecks]:
    """Asynchronous ones."""
    async with AsyncPostgresProvider(wanted) as provider:
        yield AsyncHealthChecks(service="chat-api", checks=[HealthCheck("db", provider)], max_age=0)


def seen(client: Any) -> dict[str, Any]:
    """What a client of any framework gets: status and document by page, HEAD and POST of one."""
    found = {page: client.get(page, headers=BEARER) for page in PAGES}
    assert client.get("/health/details").status_code == 401
    assert client.post("/health/ready").status_code == 405
    assert client.head("/health/ready").status_code == 200
    return {page: (answer.status_code, answer.json()) for page, answer in found.items()}


def expect(found: dict[str, Any]) -> None:
    """The same of all frameworks."""
    details = found["/health/details"][1]
    assert found["/health/live"] == (200, {"status": "ok"})
    assert found["/health"][1].items() >= {"status": "ok", "service": "chat-api"}.items()
    ready = {"db": {"ready": True, "status": "healthy", "detail": "connected"}}
    assert found["/health/ready"] == (200, {"status": "ready", "checks": ready})
    assert details["dependencies"]["db"]["stats"]["pool_size"] >= 1


# --- ASGI


async def test_one_line_for_fastapi(achecks: AsyncHealthChecks) -> None:
    """As middleware, in front of what the application itself has."""
    app = FastAPI()
    app.add_middleware(AsgiHealthApp, checks=achecks, details=TOKEN)  # the line

    @app.get("/items")
    def items() -> list[str]:
        return ["one"]

    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        found = {}
        for page in PAGES:
            answer = await client.get(page, headers=BEARER)
            found[page] = (answer.status_code, answer.json())
        expect(found)
        assert (await client.get("/health/details")).status_code == 401
        assert (await client.post("/health/ready")).status_code == 405
        head = await client.head("/health/ready")
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.get("/items")).json() == ["one"]
        assert (await client.get("/health/own")).json() == {"detail": "Not Found"}


async def test_fastapi_behind_a_proxy_that_adds_a_root_path(achecks: AsyncHealthChecks) -> None:
    """The pages stay where they are for the application."""
    app = FastAPI()
    app.add_middleware(AsgiHealthApp, checks=achecks)
    async with AsyncClient(transport=ASGITransport(app, root_path="/api"), base_url="http://test") as client:
        assert (await client.get("/api/health/ready")).status_code == 200


async def test_a_mount_takes_the_prefix_off(achecks: AsyncHealthChecks) -> None:
    """Then there is none left; `/health` itself is redirected by Starlette, which a mount does."""
    app = FastAPI()
    app.mount("/health", AsgiHealthApp(checks=achecks, prefix=""))
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/health/")).json()["service"] == "chat-api"
        assert (await client.get("/health")).status_code == 307


async def test_alone_it_is_what_uvicorn_serves(achecks: AsyncHealthChecks) -> None:
    """A worker without HTTP routes of its own; over a real socket, lifespan included."""
    server = uvicorn.Server(
        uvicorn.Config(AsgiHealthApp(checks=achecks), port=0, lifespan="on", log_config=None, loop="asyncio")
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            full, head = await client.get("/health/ready"), await client.head("/health/ready")
            assert full.json()["status"] == "ready"
            assert head.headers["content-length"] == full.headers["content-length"]
            assert (await client.get("/")).status_code == 404
        server.should_exit = True
        await serving


# --- WSGI


def test_one_line_for_flask(checks: HealthChecks) -> None:
    """Around its WSGI application, as Flask's documentation has it for middleware."""
    app = Flask("service")
    app.wsgi_app = WsgiHealthApp(app.wsgi_app, checks=checks, details=TOKEN)  # type: ignore[method-assign]  # the line

    @app.get("/items")
    def items() -> list[str]:
        return ["one"]

    with Client(transport=WSGITransport(app), base_url="http://test") as client:
        expect(seen(client))
        assert client.head("/health/ready").content == b""
        assert client.get("/items").json() == ["one"]
        assert client.get("/health/own").status_code == 404
    assert app.test_client().get("/health/ready").json["status"] == "ready"  # type: ignore[index]


def test_a_dispatcher_takes_the_prefix_off(checks: HealthChecks) -> None:
    """Werkzeug's, which puts it into SCRIPT_NAME."""
    app = DispatcherMiddleware(Flask("service"), {"/health": WsgiHealthApp(checks=checks, prefix="")})
    with Client(transport=WSGITransport(app), base_url="http://test") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/health/ready").json()["status"] == "ready"


# --- Django, whose settings are a process's: in forked children, so that each of them is a project of its own


class Urls:
    """A root URL configuration."""

    def __init__(self, patterns: Any) -> None:
        self.urlpatterns = patterns


@contextlib.contextmanager
def project(patterns: Any, **more: Any) -> Iterator[None]:
    """A Django project with these URLs, and Django's usual middleware."""
    if not settings.configured:
        settings.configure()
        django.setup()
    settings.SECRET_KEY = "x"
    middleware = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]
    hosts = ["chat.test", "testserver"]
    given = {"ROOT_URLCONF": Urls(patterns), "MIDDLEWARE": middleware, "ALLOWED_HOSTS": hosts}
    with override_settings(**given, **more):
        yield


def test_one_line_for_django_wsgi(checks: HealthChecks) -> None:
    """In wsgi.py; a load balancer that probes by IP address is answered, although ALLOWED_HOSTS would refuse it."""

    def work() -> None:
        with project([]):
            application = WsgiHealthApp(get_wsgi_application(), checks=checks, details=TOKEN)  # the line
            with Client(transport=WSGITransport(application), base_url="http://10.0.0.7") as client:
                expect(seen(client))
                assert client.get("/elsewhere").status_code == 400

    assert succeeded(in_child(work))


def test_one_line_of_django_urls(checks: HealthChecks) -> None:
    """Within Django: its middleware stands before them, and no CSRF token is asked for."""

    def work() -> None:
        with project([*django_urls(checks, details=TOKEN)]):  # the line
            client = DjangoClient(enforce_csrf_checks=True, headers={"host": "chat.test"})
            expect(seen(client))
            assert client.head("/health/ready").content == b""
            assert client.get("/health/ready/").status_code == 200
            assert client.get("/health/own").status_code == 404
            assert client.get("/health//").json() == {"error": "not found"}
            assert client.get("/health/ready")["Cache-Control"] == "no-store"
            assert DjangoClient(headers={"host": "10.0.0.7"}).get("/health/ready").status_code == 400

    assert succeeded(in_child(work))


@pytest.mark.parametrize("route", ["internal", "internal/", "", "internal/health"])
def test_django_urls_that_another_configuration_includes(checks: HealthChecks, route: str) -> None:
    """With a slash at the end of the route, as Django's documentation has it, and without."""

    def work() -> None:
        with project([path(route, include(django_urls(checks, prefix="")))]):
            client = DjangoClient(headers={"host": "chat.test"})
            for page in ("live", "ready", "ready/"):
                found = client.get(f"/{route.removesuffix('/')}/{page}".replace("//", "/"))
                assert (page, found.status_code) == (page, 200)
            assert client.get(f"/{route}").json()["service"] == "chat-api"
            assert client.get("/internal/own").status_code == 404

    assert succeeded(in_child(work))


def test_django_urls_under_another_prefix_and_behind_a_login(checks: HealthChecks) -> None:
    """They are exempt from Django's own LoginRequiredMiddleware."""

    class Anonymous:
        """What the authentication middleware finds."""

        is_authenticated = False

    def work() -> None:
        apps = ["django.contrib.contenttypes", "django.contrib.auth"]
        with project(django_urls(checks, prefix="/-/health.d"), INSTALLED_APPS=apps):
            from django.contrib.auth.middleware import LoginRequiredMiddleware

            client = DjangoClient(headers={"host": "chat.test"})
            assert client.get("/-/health.d").status_code == 200
            assert client.get("/-/healthxd").status_code == 404
            view = resolve("/-/health.d/ready").func
            request = RequestFactory().get("/-/health.d/ready")
            request.user = Anonymous()  # type: ignore[assignment]
            assert LoginRequiredMiddleware(view).process_view(request, view, (), {}) is None

    assert succeeded(in_child(work))


def test_django_with_asynchronous_checks(wanted: Any) -> None:
    """The views are coroutines then; and one line in asgi.py."""

    async def ask() -> None:
        async with AsyncPostgresProvider(wanted) as provider:
            checks = AsyncHealthChecks(service="chat-api", checks=[HealthCheck("db", provider)], max_age=0)
            with project(django_urls(checks, details=TOKEN)):
                client = DjangoAsyncClient()
                found = {}
                for page in PAGES:
                    answer = await client.get(page, headers=BEARER)
                    found[page] = (answer.status_code, answer.json())
                expect(found)
                assert (await client.get("/health/details")).status_code == 401
                application = AsgiHealthApp(get_asgi_application(), checks=checks)  # the line
                async with AsyncClient(transport=ASGITransport(application), base_url="http://10.0.0.7") as balancer:
                    assert (await balancer.get("/health/ready")).status_code == 200
                    assert (await balancer.get("/elsewhere")).status_code == 400

    assert succeeded(in_child(lambda: asyncio.run(ask())))


def test_a_missing_django_is_said_with_the_command_that_installs_it() -> None:
    """When the URLs are asked for: the rest of soa_db.health needs no framework."""
    script = (
        "import sys\nsys.modules['django'] = None\nfrom soa_db import MissingExtra\nfrom soa_db.health import *\n"
        "try:\n    django_urls(HealthChecks(service='x'))\nexcept MissingExtra as error:\n    print(error.hint)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout == "pip install 'soa-db[django]'\n"
