"""One line for FastAPI, Starlette and Flask: the real frameworks in front of a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from fastapi import FastAPI
from flask import Flask
from httpx import ASGITransport, AsyncClient, Client, WSGITransport
from tests.support.health import BEARER, PAGES, TOKEN, expect, seen
from tests.support.postgres import config, login_role
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from soa_db.health import AsgiHealthApp, AsyncHealthChecks, HealthCheck, HealthChecks, WsgiHealthApp
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment


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


def test_a_missing_django_is_said_with_the_command_that_installs_it() -> None:
    """When the URLs are asked for: the rest of soa_db.health needs no framework."""
    script = (
        "import sys\nsys.modules['django'] = None\nfrom soa_db import MissingExtra\nfrom soa_db.health import *\n"
        "try:\n    django_urls(HealthChecks(service='x'))\nexcept MissingExtra as error:\n    print(error.hint)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout == "pip install 'soa-db[django]'\n"
