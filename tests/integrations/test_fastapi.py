"""`open_databases` and FastAPI on real servers: what is open, when it is committed, what a client is told."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import fastapi.exceptions
import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse, StreamingResponse
from psycopg import AsyncConnection  # noqa: TC002 - FastAPI reads annotations
from tests.support.environment import only
from tests.support.postgres import eventually, superuser

from soa_db.access import apply, load_spec, load_specs
from soa_db.aws import AsyncAwsClients
from soa_db.config import PoolConfig
from soa_db.databases import Databases, open_databases
from soa_db.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    NotConnectedError,
    PoolTimeout,
    SecretNotFound,
    ServerUnavailable,
    SpecError,
)
from soa_db.fastapi import (
    MongoDatabase,
    OpenDatabases,
    PostgresConnection,
    PostgresTransaction,
    Redis,
    add_error_handlers,
    add_health_routes,
    connection_to,
    lifespan,
    transaction_on,
)
from soa_db.postgres import AsyncPostgresProvider, connect, load_postgres_config_from_aws

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
COACH = EXAMPLES / "coach" / "db-access.yaml"


@pytest.fixture(scope="module")
def provisioned(local_env: LocalEnvironment) -> Iterator[LocalEnvironment]:
    """coach in dev and mirror with its tables, iam-api in dev."""
    with pytest.MonkeyPatch.context() as patch:
        only(patch, local_env.exports())
        apply(load_specs([COACH]), env="dev")
        apply(load_specs([EXAMPLES / "rostering"]), env="dev", engines=("postgres",))
        apply(load_specs([COACH]), env="mirror")
        for env in ("dev", "mirror"):
            tables(env, (EXAMPLES / "coach" / "migrations" / "001_sessions.sql").read_text(), "main")
            tables(env, (EXAMPLES / "coach" / "migrations" / "events" / "001_events.sql").read_text(), "events")
        yield local_env
        for env in ("dev", "mirror"):
            tables(env, "drop table sessions; drop procedure close_old_sessions", "main")
            tables(env, "drop table events", "events")


def tables(env: str, statements: str, db_id: str) -> None:
    """Run something as coach's owner."""
    spec = load_spec(COACH)
    owner = load_postgres_config_from_aws(env=env, service="coach", role="owner", db_id=db_id, spec=spec)
    with connect(owner) as conn:
        conn.execute(statements.encode())


@pytest.fixture
def coach(provisioned: LocalEnvironment, local_aws: LocalEnvironment) -> LocalEnvironment:
    """The environment, for a test."""
    return local_aws


@asynccontextmanager
async def client_of(app: FastAPI, sent: Any = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose lifespan runs; ``sent`` is called when a response starts."""
    async with app.router.lifespan_context(app) as state:

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            async def watched(message: Any) -> None:
                if message["type"] == "http.response.start" and sent is not None:
                    await sent()
                await send(message)

            # As the ASGI specification has a server do it.
            await app({**scope, "state": dict(state or {})}, receive, watched)

        transport = httpx.ASGITransport(app=serve, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://coach") as client:
            yield client


def service(**options: Any) -> FastAPI:
    """An application on coach's databases in dev."""
    app = FastAPI(lifespan=lifespan("coach", "dev", specs=COACH, **options))
    add_error_handlers(app)
    return app


INSERT = "insert into sessions (id, coach, student) values (%s, 'c', 's')"
COUNT = "select count(*) from sessions where id = %s"


def recorded(env: LocalEnvironment, session: object) -> bool:
    """Whether it is committed, as somebody else sees it."""
    config = load_postgres_config_from_aws(env="dev", service="coach", spec=load_spec(COACH))
    with connect(config) as conn:
        return conn.execute(COUNT, (session,)).fetchone() == (1,)


# --- open_databases


async def test_every_database_of_the_spec_is_opened_as_its_own_user(coach: LocalEnvironment) -> None:
    """Named as the spec says; with one set of AWS clients, which is closed at the end."""
    pool = PoolConfig(max_size=3)
    async with open_databases("coach", "dev", specs=COACH, postgres={"pool": pool}) as databases:
        assert list(databases.providers) == ["postgres", "postgres:events", "redis", "mongo"]
        assert (databases.service, databases.env) == ("coach", "dev")
        assert "postgres:events" in repr(databases)
        names = []
        for provider in (databases.postgres, databases.postgres_for("events")):
            assert provider.config.pool == pool
            async with provider.connection() as conn:
                row = await (await conn.execute("select current_user, current_database()")).fetchone()
                names.append(row)
        assert names == [("coach_app", "coach"), ("coach_app", "coach_events_db")]
        assert databases.postgres_for("events").config.instance_name == "coach/events"
        await databases.redis.set("coach:here", 1, ttl=5)
        assert databases.mongo.database.name == "coach_db"
        assert databases.postgres_for() is databases.postgres_for("main", "app") is databases.postgres
        with pytest.raises(ConfigurationError, match="'pii'"):
            databases.postgres_for("pii")
        with pytest.raises(ConfigurationError, match="as ro"):
            databases.postgres_for("main", "ro")
    assert not any(provider.is_connected for provider in databases.providers.values())  # type: ignore[attr-defined]
    with pytest.raises(NotConnectedError):
        async with databases.postgres.connection():
            pass


async def test_an_isolated_database_is_opened_as_the_user_its_identities_name(coach: LocalEnvironment) -> None:
    """The loader alone would derive another; several roles of one database are several providers."""
    roles = {"main": ("app", "ro"), "pii": ("app",)}
    async with open_databases("iam-api", "dev", specs=[EXAMPLES], roles=roles, engines={"postgres"}) as databases:
        assert list(databases.providers) == ["postgres", "postgres:main:ro", "postgres:pii"]
        async with databases.postgres_for("pii").connection() as conn:
            row = await (await conn.execute("select current_user, current_database()")).fetchone()
        assert row == ("iam_pii_app", "iam_pii_db")
        async with databases.postgres_for("main", "ro").connection() as conn:
            assert await (await conn.execute("select current_user")).fetchone() == ("iam_api_ro",)
        with pytest.raises(ConfigurationError, match="Redis is not"):
            _ = databases.redis
        with pytest.raises(ConfigurationError, match="MongoDB is not"):
            _ = databases.mongo
    only = {"main": (), "pii": "app"}
    async with open_databases("iam-api", "dev", specs=load_specs([EXAMPLES]), roles=only, engines=["postgres"]) as one:
        assert one.postgres is one.postgres_for("pii")


async def test_the_spec_is_found_in_the_working_directory(
    coach: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And said to be missing where there is none."""
    monkeypatch.chdir(COACH.parent)
    async with AsyncAwsClients() as aws, open_databases("coach", "dev", engines=["mongo"], aws=aws) as databases:
        assert list(databases.providers) == ["mongo"]
    monkeypatch.chdir(ROOT / "src")
    with pytest.raises(SpecError):
        async with open_databases("coach", "dev"):
            pass


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"service": "chat-api"}, "coach"),
        ({"env": "production"}, "production"),
        ({"nonsense": 1}, "known are"),
        ({"engines": ["mysql"]}, "no part 'mysql'"),
        ({"engines": "mysql"}, "no part 'mysql'"),
        ({"roles": {"pii": "app"}}, "pii"),
        ({"roles": {"main": "admin"}}, "admin"),
        ({"postgres": {"role": "ro"}}, "role"),
        ({"redis": {"nonsense": 1}}, "known are"),
        ({"mongo": {"service": "x"}}, "service"),
    ],
)
async def test_an_argument_that_does_not_fit_the_spec_opens_nothing(options: dict[str, Any], told: str) -> None:
    """Said before AWS is asked anything: there is none here."""
    arguments = {"service": "coach", "env": "dev", "specs": COACH, **options}
    with pytest.raises(ConfigurationError, match=told):
        async with open_databases(**arguments):
            pass


@pytest.mark.parametrize("specs", [load_spec(COACH), load_specs([COACH]), str(COACH), COACH.parent, [COACH]])
async def test_specs_may_be_given_in_every_form(specs: Any) -> None:
    """A file, a folder, several, or what is loaded already."""
    with pytest.raises(ConfigurationError, match="those given are of coach"):
        async with open_databases("chat-api", "dev", specs=specs):
            pass


def test_without_pyyaml_it_is_named() -> None:
    """Specs are read with it."""
    code = (
        "import asyncio, sys; sys.modules['yaml'] = None\n"
        "from soa_db.databases import open_databases\n"
        "asyncio.run(open_databases('coach', 'dev').__aenter__())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra: PyYAML is not installed" in run.stderr


async def test_an_error_that_is_none_of_ours_is_raised_as_it_is(
    coach: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was opened is closed, also when closing one of them fails."""
    from soa_db.mongo import AsyncMongoProvider
    from soa_db.redis import AsyncRedisConnectionManager

    async def broken(_self: object) -> None:
        raise KeyError("a fault")

    before = server_sessions(coach)
    monkeypatch.setattr(AsyncRedisConnectionManager, "connect", broken)
    with pytest.raises(KeyError, match="a fault"):
        async with open_databases("coach", "dev", specs=COACH):
            pass
    monkeypatch.undo()
    monkeypatch.setattr(AsyncMongoProvider, "disconnect", broken)
    for name, value in coach.exports().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KeyError, match="a fault"):
        async with open_databases("coach", "dev", specs=COACH, engines=["postgres", "mongo"]) as databases:
            mongo = databases.mongo
    monkeypatch.undo()
    await mongo.disconnect()
    eventually(lambda: server_sessions(coach) == before)


async def test_nobody_in_a_role_is_said_before_anything_is_opened() -> None:
    """janus has no reader."""
    with pytest.raises(ConfigurationError, match="nobody plays"):
        async with open_databases("janus", "dev", specs=EXAMPLES / "janus", roles={"main": "ro"}):
            pass


async def test_one_database_that_cannot_be_opened_closes_the_others(
    coach: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own error is raised; nothing stays open."""
    closed, opened = watch_close(monkeypatch), []
    real = AsyncPostgresProvider.connect

    async def connected(self: AsyncPostgresProvider) -> None:
        await real(self)
        opened.append(self)

    monkeypatch.setattr(AsyncPostgresProvider, "connect", connected)
    before = server_sessions(coach)
    with pytest.raises(AuthenticationFailed):
        # Its user is another database's.
        async with open_databases("coach", "dev", specs=COACH, mongo={"auth_source": "admin"}):
            pytest.fail("it cannot have been opened")
    assert len(opened) == 2
    assert not any(provider.is_connected for provider in opened)
    assert len(closed) == 1
    eventually(lambda: server_sessions(coach) == before)


async def test_several_that_cannot_be_opened_are_named_in_one_error(coach: LocalEnvironment) -> None:
    """With each error behind it."""
    with pytest.raises(ConnectionFailed) as caught:
        unreachable = {"dial": "localhost:1"}
        async with open_databases("saga-dash", "dev", specs=EXAMPLES, postgres=unreachable, redis=unreachable):
            pass
    told = str(caught.value)
    assert "2 of 2 databases of saga-dash" in told
    assert "postgres: " in told
    assert "redis: " in told
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2


async def test_cancelled_while_opening_it_leaves_nothing_open(
    coach: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever had been opened by then."""
    from soa_db.redis import AsyncRedisConnectionManager

    closed = watch_close(monkeypatch)
    before = server_sessions(coach)

    async def hang(_self: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(AsyncRedisConnectionManager, "connect", hang)

    async def run() -> None:
        async with open_databases("coach", "dev", specs=COACH):
            pytest.fail("it cannot have been opened")

    task = asyncio.create_task(run())
    async with asyncio.timeout(20):
        while await asyncio.to_thread(server_sessions, coach) == before:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(closed) == 1
    eventually(lambda: server_sessions(coach) == before)


def watch_close(monkeypatch: pytest.MonkeyPatch) -> list[AsyncAwsClients]:
    """Who closes AWS clients."""
    closed: list[AsyncAwsClients] = []
    real = AsyncAwsClients.close

    async def close(self: AsyncAwsClients) -> None:
        closed.append(self)
        await real(self)

    monkeypatch.setattr(AsyncAwsClients, "close", close)
    return closed


def server_sessions(env: LocalEnvironment) -> int:
    """How many sessions coach has on dev's server."""
    query = "select count(*) from pg_stat_activity where usename like 'coach%'"
    return int(str(superuser(env.server("dev"), query)[0][0]))


# --- dependencies


async def repository(conn: PostgresConnection) -> AsyncConnection[Any]:
    """A dependency that has no end of its own."""
    return conn


async def unit_of_work(conn: PostgresTransaction) -> AsyncIterator[Any]:
    """One that ends after the response."""
    yield conn


async def test_a_transaction_is_committed_before_the_response_is_sent(coach: LocalEnvironment) -> None:
    """Somebody who asks when the response starts sees what was written; the other database has one of its own."""
    session, seen = uuid4(), []
    app = service()

    @app.put("/{session}")
    async def put(session: UUID, conn: PostgresTransaction, other: Annotated[Any, transaction_on("events")]) -> str:
        await conn.execute(INSERT, (session,))
        row = await (await other.execute("select current_database()")).fetchone()
        return str(row[0])

    async def sent() -> None:
        seen.append(await asyncio.to_thread(recorded, coach, session))

    async with client_of(app, sent) as client:
        response = await client.put(f"/{session}")
    assert (response.status_code, response.json()) == (200, "coach_events_db")
    assert seen == [True]


@pytest.mark.parametrize("kind", ["http", "error", "database", "swallowed", "returned"])
async def test_a_transaction_is_rolled_back_when_the_function_raises(coach: LocalEnvironment, kind: str) -> None:
    """An HTTPException too; an error's response that is returned commits; a failed statement is not committed."""
    session = uuid4()
    app = service()

    @app.put("/{session}")
    async def put(session: UUID, conn: PostgresTransaction) -> JSONResponse:
        await conn.execute(INSERT, (session,))
        if kind == "http":
            raise HTTPException(409)
        if kind == "error":
            raise KeyError(kind)
        if kind == "database":
            await conn.execute(INSERT, (session,))
        if kind == "swallowed":
            with suppress(Exception):
                await conn.execute("select 1/0")
        return JSONResponse({}, 402)

    async with client_of(app) as client:
        response = await client.put(f"/{session}")
        assert response.status_code == {"http": 409, "returned": 402}.get(kind, 500)
        assert await asyncio.to_thread(recorded, coach, session) is (kind == "returned")


async def test_a_failed_commit_is_the_answer(coach: LocalEnvironment) -> None:
    """Nobody is told of a write that was not made: here the server goes away before COMMIT."""
    session = uuid4()
    app = service()

    @app.put("/{session}", status_code=201)
    async def put(session: UUID, conn: PostgresTransaction) -> None:
        await conn.execute(INSERT, (session,))
        pid = conn.info.backend_pid
        await asyncio.to_thread(superuser, coach.server("dev"), f"select pg_terminate_backend({pid}, 5000)")

    async with client_of(app) as client:
        response = await client.put(f"/{session}")
    assert response.status_code == 503
    assert "may or may not" in response.json()["detail"]
    assert not recorded(coach, session)


async def test_a_cancelled_request_leaves_no_transaction_and_no_connection(coach: LocalEnvironment) -> None:
    """A server that shuts down cancels what is under way."""
    session, entered = uuid4(), asyncio.Event()
    app = service(postgres={"pool": PoolConfig(max_size=1, timeout=5)}, engines=["postgres"])

    @app.put("/{session}")
    async def put(session: UUID, conn: PostgresTransaction) -> None:
        await conn.execute(INSERT, (session,))
        entered.set()
        await asyncio.sleep(60)

    @app.get("/{session}")
    async def get(session: UUID, conn: PostgresConnection) -> int:
        row = await (await conn.execute(COUNT, (session,))).fetchone()
        assert row is not None
        return int(row[0])

    async with client_of(app) as client:
        task = asyncio.create_task(client.put(f"/{session}"))
        await asyncio.wait_for(entered.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        response = await client.get(f"/{session}")
    assert response.json() == 0


async def test_a_connection_is_back_before_a_slow_client_has_read_the_response(coach: LocalEnvironment) -> None:
    """And before background tasks run; in between it is one for all who depend on it."""
    app = service(postgres={"pool": PoolConfig(max_size=1, timeout=0.5)}, engines=["postgres"])
    pids: list[int] = []

    async def later(databases: Databases) -> None:
        async with databases.postgres.connection() as conn:
            pids.append(conn.info.backend_pid)

    @app.get("/")
    async def get(
        conn: PostgresConnection,
        same: Annotated[Any, Depends(repository)],
        databases: OpenDatabases,
        tasks: BackgroundTasks,
    ) -> StreamingResponse:
        assert conn is same
        pids.append(conn.info.backend_pid)

        async def rows() -> AsyncIterator[bytes]:
            async with databases.postgres.connection() as own:
                pids.append(own.info.backend_pid)
            yield b"done"

        tasks.add_task(later, databases)
        return StreamingResponse(rows(), background=tasks)

    async with client_of(app) as client:
        response = await client.get("/")
    assert response.text == "done"
    assert len(pids) == 3
    assert len(set(pids)) == 1


def test_a_dependency_that_would_outlive_the_transaction_is_refused_when_the_application_is_made() -> None:
    """FastAPI says so: it would use a connection that has been given back."""
    app = FastAPI()

    with pytest.raises(fastapi.exceptions.FastAPIError, match="scope"):

        @app.get("/")
        async def get(work: Annotated[Any, Depends(unit_of_work)]) -> None: ...


async def test_redis_mongo_roles_and_isolation_are_dependencies_too(coach: LocalEnvironment) -> None:
    """Native objects, of the right user."""
    app = service(roles={"main": ("app", "ro")})

    @app.get("/")
    async def get(
        cache: Redis,
        mongo: MongoDatabase,
        reader: Annotated[AsyncConnection[Any], connection_to(role="ro")],
        serial: Annotated[AsyncConnection[Any], transaction_on(isolation="serializable", timeout=3)],
    ) -> list[Any]:
        await cache.set("coach:answer", 42, ttl=5)
        await mongo["notes"].replace_one({"_id": "n"}, {"text": "t"}, upsert=True)
        found = await mongo["notes"].find_one_and_delete({"_id": "n"})
        assert found is not None
        who = await (await reader.execute("select current_user::text")).fetchone()
        level = await (await serial.execute("show transaction_isolation")).fetchone()
        assert who is not None
        assert level is not None
        return [await cache.get("coach:answer"), found["text"], who[0], level[0]]

    async with client_of(app) as client:
        assert (await client.get("/")).json() == [42, "t", "coach_ro", "serializable"]
    with pytest.raises(ConfigurationError):
        transaction_on("no such id!")
    with pytest.raises(ConfigurationError):
        connection_to(role="admin")  # type: ignore[arg-type]  # what is tested


async def test_a_role_alone_means_the_only_database_there_is(coach: LocalEnvironment) -> None:
    """Left out, the id means the same whether a role is given or not."""
    app = service(engines=["postgres"], roles={"main": (), "events": ("app", "ro")})

    @app.get("/")
    async def get(
        reader: Annotated[AsyncConnection[Any], connection_to(role="ro")],
        writer: Annotated[AsyncConnection[Any], transaction_on(role="app")],
    ) -> list[Any]:
        query = "select current_user::text, current_database()::text"
        return [await (await conn.execute(query)).fetchone() for conn in (reader, writer)]

    async with client_of(app) as client:
        answer = (await client.get("/")).json()
    assert answer == [["coach_ro", "coach_events_db"], ["coach_app", "coach_events_db"]]


async def test_a_lifespan_of_ones_own_opens_them_among_other_things(coach: LocalEnvironment) -> None:
    """They are open before its own things, and still open when those end."""
    order: list[str] = []

    @asynccontextmanager
    async def own(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with open_databases("coach", "dev", specs=COACH, engines=["postgres"]) as databases:
            assert await databases.postgres.ping()
            yield {"databases": databases, "greeting": "hello"}
            order.append("open" if await databases.postgres.ping() else "closed")

    app = FastAPI(lifespan=own)

    @app.get("/")
    async def get(request: fastapi.Request, databases: OpenDatabases) -> list[Any]:
        return [request.state.greeting, await databases.postgres.ping()]

    for _ in range(2):
        async with client_of(app) as client:
            assert (await client.get("/")).json() == ["hello", True]
    assert order == ["open", "open"]


async def test_applications_with_one_lifespan_have_databases_of_their_own(coach: LocalEnvironment) -> None:
    """Two of them, and one that is started twice: whichever ends first closes nobody else's."""
    both = lifespan("coach", "dev", specs=COACH, engines=["postgres"], roles={"events": ()})
    first, second = FastAPI(lifespan=both), FastAPI(lifespan=both)
    for app in (first, second):
        add_health_routes(app, max_age=0)

        @app.get("/")
        async def get(databases: OpenDatabases) -> int:
            return id(databases)

    async with client_of(first) as longest:
        async with client_of(second) as other, client_of(first) as again:
            found = {(await client.get("/")).json() for client in (longest, other, again)}
            assert len(found) == 3
        assert (await longest.get("/health/ready")).status_code == 200
        assert (await longest.get("/")).json() in found


async def test_an_application_without_the_lifespan_says_what_is_missing() -> None:
    """A test client that does not run it, mostly."""
    app = FastAPI()

    @app.get("/")
    async def get(databases: OpenDatabases) -> None: ...

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        with pytest.raises(ConfigurationError, match="lifespan"):
            await client.get("/")


# --- errors and health


@pytest.mark.parametrize(
    "error",
    [ServerUnavailable("db.internal:5432 is down", host="db.internal"), PoolTimeout("30 s"), SecretNotFound("dev/x")],
)
async def test_a_database_that_is_not_there_is_a_503_that_names_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what happened, with the route's path: the request's may hold whose data it is about."""
    app = FastAPI()
    add_error_handlers(app, retry_after=7)

    @app.get("/people/{name}")
    async def get(name: str) -> None:
        raise error

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        with caplog.at_level(logging.WARNING, "soa_db.fastapi"):
            response = await client.get("/people/ada")
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert list(response.json()) == ["detail"]
    assert str(error)[:5] not in response.text
    assert str(error) in caplog.text
    assert "/people/{name}" in caplog.text
    assert "ada" not in caplog.text


async def test_what_is_the_callers_own_error_stays_what_it_was() -> None:
    """Only further classes that are named become 503."""
    app = FastAPI()
    add_error_handlers(app, also=(TimeoutError,))

    @app.get("/{kind}")
    async def get(kind: str) -> None:
        raise {"late": TimeoutError("x"), "wrong": ConfigurationError("x")}[kind]

    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/late")).status_code == 503
        assert (await client.get("/wrong")).status_code == 500
    for wrong in (-1, 1.5, True):
        with pytest.raises(ConfigurationError):
            add_error_handlers(app, retry_after=wrong)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("state", ["new", "accepted", "closed", "left"])
async def test_a_websocket_is_told_to_try_again_later(state: str) -> None:
    """Before it is accepted, that is a refusal; closed already, nothing more is sent."""
    app = FastAPI()
    add_error_handlers(app)

    @app.websocket("/")
    async def talk(socket: fastapi.WebSocket) -> None:
        if state != "new":
            await socket.accept()
        if state == "closed":
            await socket.close(1000)
        if state == "left":
            await socket.receive()
        raise ServerUnavailable("gone")

    sent: list[Any] = []
    received = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]

    async def receive() -> Any:
        return received.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": [], "scheme": "ws"}
    await app(scope, receive, send)
    told = [message.get("code") for message in sent if message["type"] == "websocket.close"]
    assert told == {"closed": [1000], "left": []}.get(state, [1013])
    assert [message["type"] for message in sent].count("websocket.accept") == (state != "new")


async def test_the_health_pages_check_every_open_database(coach: LocalEnvironment) -> None:
    """By name; an optional one that fails degrades the service only. Other paths are the application's."""
    app = service(engines=["postgres", "redis"])
    add_health_routes(app, prefix="/_health", details="a token", optional=["redis"], max_age=0)

    @app.get("/other/_health")
    async def get(databases: OpenDatabases) -> str:
        await databases.redis.disconnect()
        return "mine"

    bearer = {"Authorization": "Bearer a token"}
    for _ in range(2):
        async with client_of(app) as client:
            assert (await client.get("/_health")).status_code == 200
            assert (await client.get("/_health/details")).status_code in {401, 403}
            details = await client.get("/_health/details", headers=bearer)
            assert all(name in details.text for name in ("postgres", "postgres:events", "redis"))
            assert (await client.get("/other/_health")).json() == "mine"
            ready = await client.get("/_health/ready")
            assert ready.status_code == 200
            assert "degraded" in (await client.get("/_health/details", headers=bearer)).text


async def test_health_pages_that_cannot_be_are_refused(coach: LocalEnvironment) -> None:
    """When they are added, or, where that is not known before, by an error of the first page."""
    for wrong in ({"prefix": "health"}, {"details": ""}, {"deadline": 0}):
        with pytest.raises(ConfigurationError):
            add_health_routes(FastAPI(), **wrong)
    app = service(engines=["mongo"])
    add_health_routes(app, optional=["redis"])
    async with client_of(app) as client:
        assert (await client.get("/health/ready")).status_code == 500


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("fastapi", "MissingExtra: FastAPI is not installed"),
        ("starlette.websockets", "ModuleNotFoundError: import of starlette.websockets halted"),
    ],
)
def test_without_fastapi_the_extra_is_named(missing: str, told: str) -> None:
    """`soa_db.databases` needs none of it. One that is broken is another matter."""
    code = f"import sys; sys.modules[{missing!r}] = None; import soa_db.databases; import soa_db.fastapi"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told in run.stderr
    assert ("pip install 'soa-db[fastapi]'" in run.stderr) is (missing == "fastapi")
