"""Engines on a blocking provider: whose connections they are, how they leave it and how they come back."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.types.json import Jsonb
from sqlalchemy import exc
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from tests.support.postgres import config, end_sessions, eventually, login_role, sessions

from soa_db.config import PoolConfig, SessionConfig
from soa_db.errors import ConfigurationError, MissingExtra, NotConnectedError, PoolTimeout
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider
from soa_db.sqlalchemy import create_async_engine_from_provider, create_engine_from_provider

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from soa_db.local.environment import LocalEnvironment

ONE = PoolConfig(max_size=1, timeout=5)
SELECT = sa.text("SELECT 1")


class Base(DeclarativeBase):
    """The tables of these tests."""


class Room(Base):
    """A table like any other."""

    __tablename__ = "rooms"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
def server(local_env: LocalEnvironment) -> Any:
    """A shared server."""
    return local_env.server("dev")


@pytest.fixture
def user(server: Any, unique_name: str) -> Iterator[str]:
    """A user with a schema of its own."""
    with login_role(server, unique_name) as name:
        yield name


@pytest.fixture
def provider(server: Any, user: str) -> Iterator[PostgresProvider]:
    """A provider of one connection: whoever keeps it is found out."""
    with PostgresProvider(config(server, user, pool=ONE)) as made:
        yield made


@pytest.fixture
def engine(provider: PostgresProvider) -> Engine:
    """An engine on it."""
    return create_engine_from_provider(provider)


def pid(conn: sa.Connection) -> int:
    """The server's process behind a connection."""
    return int(conn.scalar(sa.text("SELECT pg_backend_pid()")) or 0)


def is_whole(provider: PostgresProvider) -> bool:
    """Whether the one connection can be had, in autocommit and as the provider made it."""
    with provider.connection(timeout=3) as conn:
        return conn.autocommit and conn.is_as_made()  # type: ignore[attr-defined]  # the provider's own class


def test_a_rolled_back_transaction_leaves_nothing(engine: Engine, provider: PostgresProvider) -> None:
    """Autocommit is off while SQLAlchemy has the connection, and on again for the provider's other users."""
    with engine.begin() as conn:
        conn.execute(sa.text("CREATE TABLE t (n int)"))
    with engine.connect() as conn:
        conn.execute(sa.text("INSERT INTO t VALUES (1)"))
        assert conn.connection.driver_connection is not None
        assert not conn.connection.driver_connection.autocommit
    with pytest.raises(ZeroDivisionError), engine.begin() as conn:
        conn.execute(sa.text("INSERT INTO t VALUES (2)"))
        _ = 1 / 0
    with provider.connection() as native:
        assert native.autocommit
        assert native.execute("SELECT count(*) FROM t").fetchone() == (0,)
        native.execute("INSERT INTO t VALUES (3)")
    with engine.connect() as conn:
        assert conn.scalars(sa.text("SELECT n FROM t")).all() == [3]


def test_there_is_one_pool(engine: Engine, provider: PostgresProvider) -> None:
    """Who holds its one connection keeps out the other, whichever way it was taken."""
    with engine.connect() as conn:
        first = pid(conn)
        with pytest.raises(PoolTimeout), provider.connection(timeout=0.05):
            pass
    with provider.connection() as native:
        assert native.info.backend_pid == first
    assert provider.stats()["pool_size"] == 1


def test_an_exhausted_pool_and_a_missing_connection_are_typed_errors(server: Any, user: str) -> None:
    """The provider's own errors come through, before, during and after it is connected."""
    provider = PostgresProvider(config(server, user, pool=PoolConfig(max_size=1, timeout=0.05)))
    engine = create_engine_from_provider(provider)
    with pytest.raises(NotConnectedError), engine.connect():
        pass
    with provider:
        with engine.connect(), pytest.raises(PoolTimeout, match="no connection became free"), engine.connect():
            pass
        with engine.connect() as conn:
            assert conn.scalar(SELECT) == 1
    with pytest.raises(NotConnectedError), engine.connect():
        pass
    with provider, engine.connect() as conn:
        assert conn.scalar(SELECT) == 1


def test_connect_events_run_once_per_connection_and_touch_nobody_else(
    engine: Engine, provider: PostgresProvider
) -> None:
    """What they set in the driver is there each time the engine has the connection, and not for others."""
    seen: list[int] = []

    @sa.event.listens_for(engine, "connect")
    def on_connect(dbapi_connection: Any, record: Any) -> None:
        seen.append(dbapi_connection.info.backend_pid)
        record.info["seen"] = True
        dbapi_connection.prepare_threshold = 7
        dbapi_connection.adapters.register_loader("int4", psycopg.types.string.TextLoader)

    for _ in range(3):
        with engine.connect() as conn:
            assert conn.scalar(SELECT) == "1"
            assert conn.info["seen"]
            assert conn.connection.driver_connection is not None
            assert conn.connection.driver_connection.prepare_threshold == 7
        with provider.connection() as native:
            assert native.execute("SELECT 1").fetchone() == (1,)
            assert native.prepare_threshold == 5
    assert len(seen) == 1
    engine.dispose()
    with engine.connect():
        assert len(seen) == 2
    provider.drain()
    with engine.connect():
        assert len(seen) == 3
    assert len(set(seen)) == 2


def test_a_failing_connect_event_costs_no_connection(engine: Engine, provider: PostgresProvider) -> None:
    """Its connection is given up, and another made in its place."""

    def refuse(dbapi_connection: Any, record: Any) -> None:
        raise ZeroDivisionError

    sa.event.listen(engine, "connect", refuse)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), engine.connect():
            pass
    sa.event.remove(engine, "connect", refuse)
    with engine.connect() as conn:
        assert conn.scalar(SELECT) == 1
    assert is_whole(provider)


def test_two_engines_share_a_provider(engine: Engine, provider: PostgresProvider) -> None:
    """Each has the connection as it set it up: one decodes JSON its own way, the other does not."""
    other = create_engine_from_provider(provider, json_deserializer=lambda text: f"<{text!r}>")
    statement = sa.select(sa.literal({"a": 1}, sa.JSON))
    for _ in range(2):
        with engine.connect() as conn:
            assert conn.scalar(statement) == {"a": 1}
        with other.connect() as conn:
            assert str(conn.scalar(statement)).startswith("<")
        with provider.connection() as native:
            assert native.execute("SELECT %s", [Jsonb({"a": 1})]).fetchone() == ({"a": 1},)


def test_isolation_levels_end_with_their_connection(engine: Engine, provider: PostgresProvider) -> None:
    """Set for one connection, or for the engine; AUTOCOMMIT too."""
    show = sa.text("SHOW transaction_isolation")
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as conn:
        assert conn.scalar(show) == "serializable"
    with engine.connect() as conn:
        assert conn.scalar(show) == "read committed"
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as conn:
        conn.execute(sa.text("CREATE TABLE t (n int)"))
    strict = create_engine_from_provider(provider, isolation_level="REPEATABLE READ")
    for _ in range(2):
        with strict.connect() as conn:
            assert conn.scalar(show) == "repeatable read"
            assert conn.scalar(sa.text("SELECT count(*) FROM t")) == 0
        # psycopg keeps the BEGIN it made for the one, and would use it for the other.
        with provider.transaction() as native:
            assert native.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
        assert is_whole(provider)


def test_an_invalidated_connection_is_closed_and_replaced(engine: Engine, provider: PostgresProvider) -> None:
    """At once, or (soft) when it comes back; no place in the pool is lost."""
    for _ in range(2):
        with engine.connect() as conn:
            before = pid(conn)
            conn.invalidate()
            conn.rollback()
            assert pid(conn) != before
            before = pid(conn)
            conn.connection.invalidate(soft=True)
            assert pid(conn) == before
        with engine.connect() as conn:
            assert pid(conn) != before
    assert provider.stats()["generation"] == 0
    assert is_whole(provider)


def test_a_detached_connection_is_its_users_own(
    engine: Engine, provider: PostgresProvider, server: Any, user: str
) -> None:
    """Its place in the pool is free, and closing it closes it."""
    with engine.connect() as conn:
        kept = pid(conn)
        conn.detach()
        with engine.connect() as other:
            assert pid(other) != kept
        assert is_whole(provider)
        assert pid(conn) == kept
    eventually(lambda: sessions(server, user) == 1)


def test_a_connection_nobody_gave_back_returns_when_it_is_collected(engine: Engine, provider: PostgresProvider) -> None:
    """Also where the collector strikes within psycopg_pool's own lock, which this thread then holds."""
    conn = engine.connect()
    conn.execute(sa.text("CREATE TABLE lost (n int)"))
    cycle: list[Any] = [conn]
    cycle.append(cycle)
    pool = provider.pool
    with pool._lock:
        del conn, cycle
        gc.collect()
        # Given back now, it would be missed by whoever has found the pool empty and is about to queue.
        assert not pool.has_ready  # type: ignore[attr-defined]  # the provider's own class
    assert is_whole(provider)
    with engine.connect() as conn:
        assert conn.scalar(sa.text("SELECT to_regclass('lost')")) is None


def test_a_server_that_ends_the_connection_puts_the_pool_in_doubt(
    engine: Engine, provider: PostgresProvider, server: Any, user: str
) -> None:
    """SQLAlchemy's own error, marked as a disconnect; the provider learns of it as from its own users."""
    with engine.connect() as conn:
        before = pid(conn)
        end_sessions(server, user)
        with pytest.raises(exc.OperationalError) as caught:
            conn.execute(SELECT)
        assert caught.value.connection_invalidated
        assert isinstance(caught.value.orig, psycopg.errors.AdminShutdown)
        assert provider.stats()["generation"] == 1
        assert not provider.is_connected
    with engine.connect() as conn:
        assert pid(conn) != before
    assert provider.is_connected
    assert is_whole(provider)


def test_a_refusal_to_write_in_ones_own_read_only_transaction_is_no_disconnect(
    engine: Engine, provider: PostgresProvider
) -> None:
    """25006 means a demoted server only where the server says it is a standby."""
    with engine.connect().execution_options(postgresql_readonly=True) as conn:
        with pytest.raises(exc.InternalError) as caught:
            conn.execute(sa.text("CREATE TABLE t (n int)"))
        assert not caught.value.connection_invalidated
        conn.rollback()
        assert conn.scalar(SELECT) == 1
    assert provider.stats()["generation"] == 0
    assert is_whole(provider)


def test_a_server_that_turns_out_to_be_a_standby_is_a_disconnect(
    engine: Engine, provider: PostgresProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what the server reports is made up here: a real standby takes seconds to make."""
    monkeypatch.setattr("soa_db._psycopg.failures.is_standby", lambda _: True)
    with engine.connect().execution_options(postgresql_readonly=True) as conn:
        with pytest.raises(exc.InternalError) as caught:
            conn.execute(sa.text("CREATE TABLE t (n int)"))
        assert caught.value.connection_invalidated
    assert provider.stats()["generation"] == 1


def test_a_commit_that_would_commit_nothing_is_an_error(engine: Engine, provider: PostgresProvider) -> None:
    """The server answers COMMIT with ROLLBACK, and no error, once a statement has failed."""
    with engine.connect() as conn:
        conn.execute(sa.text("CREATE TABLE t (n int)"))
        with pytest.raises(exc.ProgrammingError):
            conn.execute(sa.text("SELECT nonsense"))
        with pytest.raises(exc.InternalError, match="nothing of it can be committed"):
            conn.commit()
    assert is_whole(provider)


def test_a_transaction_left_open_is_not_committed_even_without_a_reset(provider: PostgresProvider) -> None:
    """``pool_reset_on_return=None`` leaves it to the pool."""
    engine = create_engine_from_provider(provider, pool_reset_on_return=None)
    raw = engine.raw_connection()
    raw.cursor().execute("CREATE TABLE t (n int)")
    raw.close()
    assert is_whole(provider)
    with engine.connect() as conn:
        assert conn.scalar(sa.text("SELECT to_regclass('t')")) is None


def test_a_session_that_ended_within_a_transaction_is_replaced_even_without_a_reset(
    provider: PostgresProvider, server: Any, user: str
) -> None:
    """Giving it back finds out: it cannot be rolled back, and raises nothing at who is done with it."""
    engine = create_engine_from_provider(provider, pool_reset_on_return=None)
    raw = engine.raw_connection()
    raw.cursor().execute("CREATE TABLE t (n int)")
    end_sessions(server, user)
    raw.close()
    assert is_whole(provider)


def test_a_pipeline_left_open_costs_the_connection_and_no_place_in_the_pool(
    engine: Engine, provider: PostgresProvider
) -> None:
    """Nothing can end it for whoever opened it; the next one gets another connection."""
    with engine.connect() as conn:
        before = pid(conn)
        conn.rollback()
        native: Any = conn.connection.driver_connection
        pipeline = native.pipeline()
        pipeline.__enter__()
    with engine.connect() as conn:
        assert pid(conn) != before
    assert is_whole(provider)
    del pipeline  # which would have ended it


def test_a_collected_connection_comes_back_where_no_thread_can_be_started(
    engine: Engine, provider: PostgresProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are too many, or the interpreter is shutting down: its place is not lost for that."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("soa_db.sqlalchemy.pool._thread.start_new_thread", refuse)
    conn = engine.connect()
    conn.execute(sa.text("CREATE TABLE lost (n int)"))
    cycle: list[Any] = [conn]
    cycle.append(cycle)
    del conn, cycle
    gc.collect()
    monkeypatch.undo()
    assert is_whole(provider)
    with engine.connect() as conn:
        assert conn.scalar(sa.text("SELECT to_regclass('lost')")) is None


def test_server_side_cursors_and_raw_connections_work(engine: Engine, provider: PostgresProvider) -> None:
    """What pandas and its like use: a DBAPI cursor, or rows as a stream."""
    with engine.connect().execution_options(stream_results=True, max_row_buffer=10) as conn:
        rows = conn.execute(sa.text("SELECT generate_series(1, 1000)"))
        assert [next(rows)[0] for _ in range(3)] == [1, 2, 3]
        rows.close()
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("SELECT 1 AS one")
        assert [column[0] for column in cursor.description] == ["one"]
        assert cursor.fetchall() == [(1,)]
    finally:
        raw.close()
    assert is_whole(provider)


def test_the_orm_works_and_prepares_nothing_behind_a_proxy(server: Any, user: str) -> None:
    """``session.proxy`` turns server-side prepares off for the engine as well."""
    settings = config(server, user, pool=ONE, session=SessionConfig(proxy=True))
    with PostgresProvider(settings) as provider:
        engine = create_engine_from_provider(provider, pool_pre_ping=True)
        Base.metadata.create_all(engine)
        for number in range(8):
            with Session(engine) as session, session.begin():
                session.add(Room(id=number, name="a"))
        with Session(engine) as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(Room)) == 8
            assert session.scalar(sa.text("SELECT count(*) FROM pg_prepared_statements")) == 0
        assert is_whole(provider)


def test_threads_share_an_engine_and_lose_no_connection(server: Any, user: str) -> None:
    """Many more of them than connections, some of them failing, some invalidating."""
    faults: list[BaseException] = []
    with PostgresProvider(config(server, user, pool=PoolConfig(max_size=3, timeout=20))) as provider:
        engine = create_engine_from_provider(provider)

        def work(number: int) -> None:
            try:
                for turn in range(10):
                    with engine.connect() as conn:
                        assert conn.scalar(sa.text("SELECT :n"), {"n": turn}) == turn
                        if (turn + number) % 7 == 0:
                            conn.invalidate()
                        elif (turn + number) % 5 == 0:
                            with pytest.raises(exc.ProgrammingError):
                                conn.execute(sa.text("SELECT nonsense"))
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # ours, as QueuePool's
        held = [engine.connect() for _ in range(3)]
        for conn in held:
            conn.close()


def test_a_forked_child_has_connections_of_its_own(engine: Engine, server: Any, user: str) -> None:
    """The parent's, one of them in use at the fork, are left alone."""
    with engine.connect() as conn:
        before = pid(conn)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with engine.connect() as own:
                    status = 0 if pid(own) != before else 2
                conn.close()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert pid(conn) == before
    with engine.connect() as conn:
        assert pid(conn) == before


@pytest.mark.parametrize(
    "option", ["pool_size", "max_overflow", "poolclass", "creator", "connect_args", "client_encoding", "pool_timeout"]
)
def test_what_would_make_a_second_pool_is_refused(provider: PostgresProvider, option: str) -> None:
    """The hint says where it belongs."""
    with pytest.raises(ConfigurationError, match=option):
        create_engine_from_provider(provider, **{option: 5})


def test_the_wrong_kind_of_provider_is_refused(provider: PostgresProvider) -> None:
    """The message names the function that takes it."""
    with pytest.raises(ConfigurationError, match="create_async_engine_from_provider"):
        create_engine_from_provider(AsyncPostgresProvider(provider.config))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="create_engine_from_provider"):
        create_async_engine_from_provider(provider)  # type: ignore[arg-type]


def test_an_engine_says_where_it_leads_and_no_secret(engine: Engine, provider: PostgresProvider, user: str) -> None:
    """In its repr, its URL and its pool's status."""
    assert engine.url.username == user
    assert engine.url.password is None
    assert "0 connections" in engine.pool.status()
    unloaded = create_engine_from_provider(PostgresProvider.from_aws(env="dev", service="chat-api"))
    assert str(unloaded.url) == "soa_db+provider://"
    with pytest.raises(ConfigurationError, match="create_engine_from_provider"):
        sa.create_engine(engine.url).connect()


def test_a_ping_that_fails_takes_another_connection(provider: PostgresProvider, server: Any, user: str) -> None:
    """SQLAlchemy's ``pool_pre_ping``, for who wants it besides; also once the dead one is given up twice over."""
    engine = create_engine_from_provider(provider, pool_pre_ping=True)
    for _ in range(2):
        with engine.connect() as conn:
            before = pid(conn)
        end_sessions(server, user)
        with engine.connect() as conn:
            assert pid(conn) != before
    assert is_whole(provider)


def test_without_sqlalchemy_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a typed error with the pip line."""
    for name in [name for name in sys.modules if name.startswith("soa_db.sqlalchemy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtra, match=r"pip install 'soa-db\[sqlalchemy\]'"):
        importlib.import_module("soa_db.sqlalchemy")


def test_an_import_that_fails_for_another_reason_is_not_mistaken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named as it is."""
    for name in [name for name in sys.modules if name.startswith("soa_db.sqlalchemy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "soa_db.sqlalchemy.lending", None)
    with pytest.raises(ModuleNotFoundError, match=r"soa_db\.sqlalchemy\.lending"):
        importlib.import_module("soa_db.sqlalchemy")
