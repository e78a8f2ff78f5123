"""The health pages as ASGI and WSGI applications, without a framework and without a socket."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from wsgiref.validate import validator

import pytest

from soa_db.errors import ConfigurationError
from soa_db.health import AsgiHealthApp, AsyncHealthChecks, HealthCheck, HealthChecks, WsgiHealthApp

TOKEN = "tökén-of-the-tests"


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The document."""
        return json.loads(self.body)


Ask = Callable[..., Awaitable[Answer]]


async def ask_asgi(app: Any, method: str, path: str, headers: Mapping[str, str], root: str = "") -> Answer:
    """One request as an ASGI server makes it."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "method": method,
        "path": root + path,
        "root_path": root,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    start, body = sent
    return Answer(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, body["body"])


async def ask_wsgi(app: Any, method: str, path: str, headers: Mapping[str, str], root: str = "") -> Answer:
    """One request as a WSGI server makes it, with the standard library watching that PEP 3333 is kept."""
    started: list[Any] = []

    def start_response(status: str, headers: Any, *_: Any) -> Any:
        started.append((status, headers))
        return lambda _: None

    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": root,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **{f"HTTP_{n.upper().replace('-', '_')}": v.encode().decode("latin-1") for n, v in headers.items()},
    }
    result = validator(app)(environ, start_response)
    body = b"".join(result)
    result.close()  # type: ignore[attr-defined]
    ((status, sent),) = started
    return Answer(int(status.split()[0]), {name.lower(): value for name, value in sent}, body)


class Kind(NamedTuple):
    """One kind of application."""

    app: type[Any]
    checks: type[Any]
    ask: Ask


KINDS = {
    "asgi": Kind(AsgiHealthApp, AsyncHealthChecks, ask_asgi),
    "wsgi": Kind(WsgiHealthApp, HealthChecks, ask_wsgi),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind in turn."""
    return KINDS[request.param]


def app_of(kind: Kind, target: Callable[[], object] = lambda: True, app: Any = None, **options: Any) -> Any:
    """An application with one check."""
    checks = kind.checks(service="chat-api", checks=[HealthCheck("db", target)], max_age=0)
    return kind.app(app, checks=checks, **options)


async def get(kind: Kind, app: Any, path: str, method: str = "GET", root: str = "", **headers: str) -> Answer:
    """Ask for a page."""
    return await kind.ask(app, method, path, headers, root)


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_pages_are_json_that_nobody_keeps(kind: Kind, slash: str) -> None:
    """With or without a slash at the end; the details are not there unless they are asked for."""
    app = app_of(kind)
    for path, status in (("/health", 200), ("/health/live", 200), ("/health/ready", 200), ("/health/details", 404)):
        answer = await get(kind, app, path + slash)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-length"] == str(len(answer.body))
        assert answer.json.get("error") == (None if status == 200 else "not found")


async def test_ready_is_503_when_a_check_fails_and_the_others_are_200(kind: Kind) -> None:
    """What a load balancer goes by."""
    app = app_of(kind, lambda: False, details=True)
    assert (await get(kind, app, "/health/ready")).status == 503
    for path in ("/health", "/health/live", "/health/details"):
        assert (await get(kind, app, path)).status == 200
    assert (await get(kind, app, "/health/details")).json["dependencies"]["db"]["status"] == "unhealthy"


async def test_head_is_get_without_its_body(kind: Kind) -> None:
    """Status and headers are the same."""
    app = app_of(kind, lambda: False)
    for path in ("/health", "/health/ready", "/nowhere"):
        full, head = await get(kind, app, path), await get(kind, app, path, "HEAD")
        assert head.body == b""
        assert head[:2] == full[:2]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_not_allowed_and_run_no_check(kind: Kind, method: str) -> None:
    """405, with what is."""
    made: list[int] = []
    answer = await get(kind, app_of(kind, lambda: made.append(1)), "/health/ready", method)
    assert (answer.status, answer.headers["allow"], made) == (405, "GET, HEAD", [])


@pytest.mark.parametrize(
    "path",
    ["/", "", "/healthy", "/health/nothing", "/health//", "/health/ready/x", "/HEALTH", "/x/health", "/health/é"],
)
async def test_other_paths_are_not_found(kind: Kind, path: str) -> None:
    """Unless there is an application behind."""
    assert (await get(kind, app_of(kind), path.encode().decode("latin-1"))).status == 404


@pytest.mark.parametrize("prefix", ["/internal/health", ""])
async def test_the_prefix_can_be_another(kind: Kind, prefix: str) -> None:
    """Empty for a mount that takes it off."""
    app = app_of(kind, prefix=prefix)
    assert (await get(kind, app, f"{prefix}/ready")).status == 200
    assert (await get(kind, app, prefix or "/")).json["service"] == "chat-api"
    assert (await get(kind, app, "/health/ready")).status == 404


async def test_a_root_path_is_no_part_of_the_path(kind: Kind) -> None:
    """Behind a proxy that adds one, and mounted by a framework."""
    assert (await get(kind, app_of(kind), "/health/ready", root="/api")).status == 200
    assert (await get(kind, app_of(kind, prefix=""), "/ready", root="/health")).status == 200
    assert (await get(kind, app_of(kind, prefix=""), "", root="/health")).status == 200


async def test_an_old_server_leaves_the_root_path_out_of_the_path() -> None:
    """As uvicorn did before 0.26."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/health/live", "root_path": "/api", "headers": []}
    await app_of(KINDS["asgi"])(scope, None, send)
    assert sent[0]["status"] == 200


# --- who sees the details


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
    ],
)
async def test_a_token_opens_the_details(kind: Kind, authorization: str | None, status: int) -> None:
    """And nothing else does; the other pages stay open."""
    app = app_of(kind, details=TOKEN)
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await get(kind, app, "/health/details", **headers)
    assert answer.status == status
    assert ("dependencies" in answer.json) == (status == 200)
    assert answer.headers.get("www-authenticate") == (None if status == 200 else 'Bearer realm="health"')
    assert (await get(kind, app, "/health/ready")).status == 200


@pytest.mark.parametrize(
    ("says", "status"),
    [
        (lambda headers: headers.get("x-ops") == "yes", 200),
        (lambda headers: headers.get("x-ops") == "no", 403),
        (lambda headers: headers["no-such"] == "yes", 403),
        (lambda _: "yes", 403),
    ],
)
async def test_a_function_opens_the_details_by_true_alone(kind: Kind, says: Any, status: int) -> None:
    """Raising, or anything else that counts as true, does not."""
    assert (await get(kind, app_of(kind, details=says), "/health/details", **{"X-Ops": "yes"})).status == status


@pytest.mark.parametrize(
    "options",
    [{"prefix": "health"}, {"prefix": "/health/"}, {"details": " "}, {"details": None}, {"details": "tok\ud800en"}],
)
def test_options_that_would_open_or_lose_pages_are_refused(kind: Kind, options: dict[str, Any]) -> None:
    """A variable that is not set is no token."""
    with pytest.raises(ConfigurationError) as caught:
        app_of(kind, **options)
    assert caught.value.hint
    assert "tok" not in str(caught.value).replace("token", "")


def test_a_coroutine_function_guards_nothing(kind: Kind) -> None:
    """What it returns would count as true."""

    async def allow(_: object) -> bool:
        return False

    with pytest.raises(ConfigurationError, match="plain function"):
        app_of(kind, details=allow)


def test_the_other_kind_of_checks_is_refused() -> None:
    """Not at the first request."""
    with pytest.raises(ConfigurationError, match="HealthChecks"):
        AsgiHealthApp(checks=HealthChecks(service="x"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="AsyncHealthChecks"):
        WsgiHealthApp(checks=AsyncHealthChecks(service="x"))  # type: ignore[arg-type]


# --- in front of another application


async def test_everything_else_goes_to_the_application_behind() -> None:
    """Also paths below the prefix, the details while they are off, and what is no request."""
    seen: list[Any] = []

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope.get("path", scope["type"]))
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ["PATH_INFO"])
        start_response("418 Teapot", [("Content-Type", "text/plain")])
        return [b"{}"]

    for name, behind in (("asgi", asgi), ("wsgi", wsgi)):
        kind, seen[:] = KINDS[name], []
        app = app_of(kind, app=behind)
        for path in ("/", "/health/own", "/health/details"):
            assert (await get(kind, app, path)).status == 418
        assert (await get(kind, app, "/health/ready")).status == 200
        assert seen == ["/", "/health/own", "/health/details"]
    app = app_of(KINDS["asgi"], app=asgi)
    for scope in ({"type": "lifespan"}, {"type": "websocket", "path": "/health"}):
        await app(scope, None, None)
    assert seen[-2:] == ["lifespan", "/health"]


async def test_alone_it_lives_and_dies_with_its_server_and_takes_no_websocket() -> None:
    """Lifespan's two phases are confirmed; a websocket is closed before it is accepted."""
    app = app_of(KINDS["asgi"])
    sent: list[str] = []

    def receive(*messages: str) -> Callable[[], Awaitable[Any]]:
        pending = iter(messages)

        async def following() -> Any:
            return {"type": next(pending)}

        return following

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive("lifespan.startup", "lifespan.shutdown"), send)
    await app({"type": "websocket", "path": "/health"}, receive("websocket.connect"), send)
    await app({"type": "unheard-of"}, receive(), send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


async def test_variables_that_are_no_utf_8_do_not_break_an_answer(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python reads such bytes as half a surrogate pair."""
    monkeypatch.setenv("DD_VERSION", "a\udcff\n<b>")
    assert (await get(kind, app_of(kind), "/health")).json["version"] == "a\udcff\n<b>"
