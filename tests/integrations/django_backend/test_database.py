"""The PostgreSQL back end on real servers: who connects, how often credentials are asked for, what failures say."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import secrets
import threading
import warnings
from typing import TYPE_CHECKING, Any

import certifi
import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, ProgrammingError, connections, transaction
from django.test.utils import override_settings
from django.views.debug import ExceptionReporter
from psycopg import sql

from soa_db import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    PoolTimeout,
    SecretNotFound,
    ServerUnavailable,
    SoaDbError,
    TlsVerificationFailed,
)
from soa_db.aws import AwsClients
from soa_db.django import DatabaseFailure, SettingsError
from soa_db.names import dev_secret_name
from soa_db.postgres import load_postgres_config_from_aws

if TYPE_CHECKING:
    from tests.integrations.django_backend.conftest import Wrapper

    from soa_db.credentials import Credentials
    from soa_db.django.postgresql.base import DatabaseWrapper
    from soa_db.django.target import Target
    from soa_db.local.environment import LocalEnvironment


def one(connection: DatabaseWrapper, sql: str) -> object:
    """The first column of the first row."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


@pytest.mark.parametrize(("env", "role"), [("dev", "app"), ("mirror", "app"), ("mirror", "ro"), ("dev", "owner")])
def test_a_connection_is_the_roles(wrapper: Wrapper, service: str, env: str, role: str) -> None:
    """By password in dev, by an IAM token over verified TLS in mirror; autocommit, UTC, the session's timeouts."""
    connection = wrapper(OPTIONS={"env": env, "role": role, "statement_timeout": 7, "application_name": "n"})
    snake = service.replace("-", "_")
    assert one(connection, "SELECT current_user") == f"{snake}_{role}"
    assert one(connection, "SELECT current_database()") == snake
    assert one(connection, "SHOW statement_timeout") == "7s"
    assert one(connection, "SHOW idle_in_transaction_session_timeout") == "30s"
    assert one(connection, "SHOW application_name") == "n"
    assert one(connection, "SHOW timezone") == "UTC"
    assert connection.get_autocommit()
    assert connection.connection is not None
    assert bool(connection.connection.pgconn.ssl_in_use) is (env == "mirror")


def test_migrations_run_as_the_owner_and_the_app_works_with_what_they_made(
    wrapper: Wrapper, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`migrate --database owner` (the fixture ran it) makes the tables; run again it does nothing; app may not."""
    wrapper("owner", OPTIONS={"role": "owner"})
    wrapper()
    call_command("migrate", database="owner")
    assert "No migrations to apply" in capsys.readouterr().out
    connection = wrapper("notes")
    note = apps.get_model("notes", "Note")
    made = note.objects.using("notes").create(title="of the app")
    assert note.objects.using("notes").get(pk=made.pk).title == "of the app"
    table = "SELECT tableowner FROM pg_tables WHERE tablename = 'notes_note'"
    assert one(connection, table) == f"{service.replace('-', '_')}_owner"
    with pytest.raises(ProgrammingError, match="permission denied"):
        one(connection, "CREATE TABLE public.of_the_app (id integer)")


def test_every_physical_connect_asks_for_credentials(wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed connection and a second thread's ask again; a query does not."""
    connection = wrapper(OPTIONS={"env": "mirror"})
    asked = counted(connection, monkeypatch)
    for _ in range(2):
        one(connection, "SELECT 1")
        one(connection, "SELECT 1")
        connection.close()
    assert len(asked) == 2

    def elsewhere() -> None:
        one(connections["default"], "SELECT 1")  # type: ignore[arg-type]  # a proxy's type
        connections["default"].close()

    other = threading.Thread(target=elsewhere)
    other.start()
    other.join()
    assert len(asked) == 3


def test_telemetry_tells_a_threads_own_connection_from_a_pools(wrapper: Wrapper, service: str) -> None:
    """A pool that is not there has no connects, refusals and errors."""
    alone, pooled = wrapper(), wrapper("pooled", OPTIONS={"pool": True})
    assert alone.target.connector(alone.database, {}).measured.name is None
    assert pooled.pool is not None
    assert pooled.pool.source.measured.name == service


def counted(connection: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each time the credentials of a target are asked for."""
    target = connection.target
    asked: list[str] = []
    get = target.credentials.get

    def noted() -> Credentials:
        asked.append(threading.current_thread().name)
        return get()

    monkeypatch.setattr(target.credentials, "get", noted, raising=False)
    return asked


def test_threads_and_aliases_of_one_identity_share_its_credentials(wrapper: Wrapper) -> None:
    """Asked for by any number of threads at once, AWS is asked by one; another role is another identity."""
    seen: list[Target] = []
    first = wrapper()
    barrier = threading.Barrier(8)

    def look() -> None:
        barrier.wait()
        seen.append(first.target)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(target) for target in seen}) == 1
    assert wrapper("again").target is seen[0]
    assert wrapper("ro", OPTIONS={"role": "ro"}).target is not seen[0]


def test_a_refused_password_is_read_again_and_the_connection_succeeds(
    wrapper: Wrapper, local_aws: LocalEnvironment, service: str
) -> None:
    """After a rotation the next connect reads the secret again; nobody has to restart the service."""
    connection = wrapper(OPTIONS={"role": "ro"})
    one(connection, "SELECT 1")
    connection.close()
    user, password = f"{service.replace('-', '_')}_ro", secrets.token_hex(16)
    with AwsClients() as aws:
        name = dev_secret_name(service, "ro")
        payload = {**aws.secret(name), "password": password}
        aws.call("secretsmanager", "put_secret_value", SecretId=name, SecretString=json.dumps(payload))
    with psycopg.connect(local_aws.server("dev").superuser_conninfo, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), password))
    assert one(connection, "SELECT current_user") == user


# --- failures


def broken(wrapper: Wrapper, **entry: Any) -> tuple[Exception, DatabaseWrapper]:
    """The error of the first query."""
    connection = wrapper("broken", **entry)
    with pytest.raises((OperationalError, ImproperlyConfigured)) as info:
        one(connection, "SELECT 1")
    return info.value, connection


@pytest.mark.parametrize(
    ("entry", "kind", "text"),
    [
        ({"HOST": "127.0.0.1", "PORT": "1"}, ServerUnavailable, "127.0.0.1:1"),
        ({"NAME": "no_such_database"}, ConnectionFailed, "no_such_database"),
        ({"OPTIONS": {"service": "never-provisioned"}}, SecretNotFound, "never-provisioned"),
        ({"USER": "nobody_known"}, AuthenticationFailed, "nobody_known"),
        (
            {"OPTIONS": {"env": "mirror", "tls": {"verify": "full", "ca_file": certifi.where()}}},
            TlsVerificationFailed,
            "",
        ),
    ],
    ids=["away", "database", "secret", "user", "tls"],
)
def test_a_failed_connect_is_djangos_error_and_ours(
    wrapper: Wrapper, entry: dict[str, Any], kind: type[SoaDbError], text: str
) -> None:
    """Code that catches OperationalError catches it; it names the place and the next step; and it can be pickled."""
    error, _ = broken(wrapper, **entry)
    assert isinstance(error, OperationalError)
    assert isinstance(error, kind)
    assert isinstance(error, DatabaseFailure)
    assert text in str(error)
    assert error.hint
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


def test_djangos_error_page_shows_no_secret(wrapper: Wrapper, local_aws: LocalEnvironment, service: str) -> None:
    """It prints the locals of every frame, of the causes too, and the settings."""
    with AwsClients() as aws:
        password = str(aws.secret(dev_secret_name(service, "app"))["password"])
    pages: list[str] = []
    for entry in ({"NAME": "no_such_database"}, {"OPTIONS": {"env": "mirror"}, "NAME": "no_such_database"}):
        error, connection = broken(wrapper, **entry)
        kind, value, traceback = type(error), error, error.__traceback__
        with override_settings(DEBUG=True, DATABASE={"default": connection.settings_dict}):
            pages.append(ExceptionReporter(None, kind, value, traceback).get_traceback_html())
            pages.append(ExceptionReporter(None, kind, value, traceback).get_traceback_text())
        pages.append(repr(connection.settings_dict) + repr(connection.get_connection_params()) + repr(vars(connection)))
    assert "no_such_database" in pages[0]
    for page in pages:
        assert password not in page
        assert "X-Amz-Signature" not in page


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"PASSWORD": "hunter2hunter2"}, "PASSWORD is set"),
        ({"OPTIONS": {"password": "hunter2hunter2"}}, "unknown 'password'"),
        ({"OPTIONS": {"sslmode": "disable"}}, "unknown 'sslmode'"),
        ({"OPTIONS": {"user": "x"}}, "USER"),
        ({"OPTIONS": {"service": None}}, "has no 'service'"),
        ({"OPTIONS": {"env": "production"}}, "production"),
        ({"OPTIONS": {"role": "admin"}}, "role"),
        ({"OPTIONS": {"statement_timeout": "soon"}}, "statement_timeout"),
        ({"OPTIONS": {"tls": "off"}}, "'tls'"),
        ({"OPTIONS": {"aws": 7}}, "'aws'"),
        ({"OPTIONS": {"aws": {"profil": "x"}}}, "profil"),
        ({"OPTIONS": {"config": {}}}, "'config'"),
        ({"OPTIONS": {"isolation_level": 77}}, "isolation level 77"),
        ({"OPTIONS": {"pool": 5}}, "'pool'"),
        ({"OPTIONS": {"pool": {"kwargs": {}}}}, "unknown 'kwargs'"),
        ({"OPTIONS": {"pool": {"min_size": 9, "max_size": 1}}}, "'pool'"),
        ({"OPTIONS": {"pool": True}, "CONN_MAX_AGE": 5}, "persistent"),
        ({"NAME": "a" * 64}, "database"),
    ],
)
def test_settings_that_cannot_be_used_are_told(wrapper: Wrapper, entry: dict[str, Any], said: str) -> None:
    """As Django's ImproperlyConfigured and our ConfigurationError, quoting no secret."""
    error, _ = broken(wrapper, **entry)
    assert isinstance(error, SettingsError)
    assert isinstance(error, ConfigurationError)
    assert said in str(error)
    assert "hunter2" not in str(error)


def test_a_config_of_its_own_takes_the_place_of_service_and_env(wrapper: Wrapper, service: str) -> None:
    """For databases outside the naming contract; said twice is an error."""
    config = load_postgres_config_from_aws(env="dev", service=service, role="ro")
    connection = wrapper(OPTIONS={"config": config, "service": None, "env": None})
    assert one(connection, "SELECT current_user") == config.user
    error, _ = broken(wrapper, OPTIONS={"config": config})
    assert "also env, service" in str(error)


def test_options_of_djangos_own_are_honoured(wrapper: Wrapper, service: str) -> None:
    """Isolation, a role to take, placeholders bound by the server, a cursor class."""
    role = f"{service.replace('-', '_')}_owner"
    connection = wrapper(
        OPTIONS={
            "role": "owner",
            "isolation_level": psycopg.IsolationLevel.SERIALIZABLE,
            "assume_role": role,
            "server_side_binding": True,
        }
    )
    with transaction.atomic("default"):
        assert one(connection, "SHOW transaction_isolation") == "serializable"
    assert one(connection, "SELECT current_user") == role
    assert connection.connection is not None
    assert connection.connection.cursor_factory.__name__ == "ServerBindingCursor"
    assert connection.connection.prepare_threshold is None


def test_behind_a_proxy_nothing_is_prepared(wrapper: Wrapper) -> None:
    """Whatever the settings say; and timeouts are set after the login."""
    connection = wrapper(OPTIONS={"proxy": True, "prepare_threshold": 1, "lock_timeout": 3})
    assert one(connection, "SHOW lock_timeout") == "3s"
    assert connection.connection is not None
    assert connection.connection.prepare_threshold is None


# --- connections that last


def test_a_persistent_connection_survives_a_killed_session(wrapper: Wrapper, local_aws: LocalEnvironment) -> None:
    """With health checks the next request gets a new one; without, the request that met the death ends it."""
    for checks in (True, False):
        connection = wrapper(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=checks)
        kill(local_aws, one(connection, "SELECT pg_backend_pid()"))
        if not checks:
            with pytest.raises(OperationalError):
                one(connection, "SELECT 1")
        # What Django does between two requests.
        connection.close_if_unusable_or_obsolete()
        assert one(connection, "SELECT 1") == 1


def kill(local: LocalEnvironment, pid: object) -> None:
    """End a session of dev's."""
    with psycopg.connect(local.server("dev").superuser_conninfo, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_a_health_check_of_a_server_that_hangs_ends(
    wrapper: Wrapper, local_aws: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's own would wait for the kernel's limits."""
    monkeypatch.setattr("soa_db.django.postgresql.base.CHECK_TIMEOUT", 0.2)
    connection = wrapper(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    assert connection.is_usable() is False
    one(connection, "SELECT 1")
    local_aws.pause_server("dev")
    try:
        assert connection.is_usable() is False
    finally:
        local_aws.resume_server("dev")
        connection.close()


def test_a_transaction_rolls_back_and_savepoints_work(wrapper: Wrapper) -> None:
    """`atomic`, nested, on a connection that leaves us in autocommit."""
    wrapper("notes")
    notes = apps.get_model("notes", "Note").objects.using("notes")
    title = secrets.token_hex(8)
    with pytest.raises(ZeroDivisionError), transaction.atomic("notes"):
        notes.create(title=title)
        raise ZeroDivisionError
    assert not notes.filter(title=title).exists()
    with transaction.atomic("notes"):
        notes.create(title=title)
        with pytest.raises(IntegrityError), transaction.atomic("notes"):
            notes.create(title=title)
    assert notes.filter(title=title).count() == 1


async def test_the_asynchronous_orm_works(wrapper: Wrapper) -> None:
    """Its calls go through `sync_to_async`, which has a thread and so a connection of its own."""
    title = secrets.token_hex(8)
    await sync_to_async(wrapper)("notes")
    notes = apps.get_model("notes", "Note").objects.using("notes")
    made = await notes.acreate(title=title)
    assert [note.pk async for note in notes.filter(title=title)] == [made.pk]
    await sync_to_async(lambda alias: connections[alias].close())("notes")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("pool", [False, {"min_size": 1, "max_size": 2}], ids=["plain", "pool"])
def test_a_forked_child_connects_anew_and_leaves_the_parents_connection_alone(wrapper: Wrapper, pool: object) -> None:
    """gunicorn's preload: a connection or a pool that was opened before the workers were forked."""
    connection = wrapper(OPTIONS={"pool": pool, "env": "mirror"})
    before = one(connection, "SELECT pg_backend_pid()")
    receive, send = multiprocessing.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork while there are threads
        child = os.fork()
    if child == 0:
        try:
            send.send((one(connection, "SELECT pg_backend_pid()"), connection.get_autocommit()))
            connection.close()
        finally:
            os._exit(0)
    assert receive.poll(20)
    assert receive.recv() != (before, True)
    os.waitpid(child, 0)
    assert one(connection, "SELECT pg_backend_pid()") == before


def test_a_block_that_a_fork_cut_can_only_be_rolled_back(wrapper: Wrapper) -> None:
    """What a child does about a transaction that is its parent's: nothing more is written in it, nor after it."""
    connection = wrapper("notes")
    notes = apps.get_model("notes", "Note").objects.using("notes")
    title = secrets.token_hex(8)
    connection.after_fork_in_child()
    with pytest.raises(OperationalError), transaction.atomic("notes"):
        notes.create(title=title)
        connection.after_fork_in_child()
        notes.count()
    assert not notes.filter(title=title).exists()


# --- Django's own pool


def test_the_pool_is_shared_by_threads_and_asks_for_credentials_at_each_connect(
    wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four threads, two connections, two tokens asked for; given back at the end of a request."""
    connection = wrapper(OPTIONS={"pool": {"min_size": 0, "max_size": 2, "timeout": 20}, "env": "mirror"})
    asked = counted(connection, monkeypatch)
    pids: list[object] = []

    def request() -> None:
        pids.append(one(connections["default"], "SELECT pg_backend_pid()"))  # type: ignore[arg-type]
        connections["default"].close()

    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 8
    assert len(set(pids)) <= len(asked) <= 2
    assert one(connection, "SHOW timezone") == "UTC"


def test_a_pool_that_is_refused_says_so_at_once(wrapper: Wrapper) -> None:
    """Not a PoolTimeout half a minute later; and each time anew."""
    connection = wrapper(USER="nobody_known", OPTIONS={"pool": {"min_size": 1, "timeout": 20}})
    for _ in range(2):
        with pytest.raises(OperationalError) as info:
            one(connection, "SELECT 1")
        assert isinstance(info.value, AuthenticationFailed)


def test_a_pool_that_is_used_up_says_so(wrapper: Wrapper) -> None:
    """As Django's error and ours."""
    wrapper(OPTIONS={"pool": {"min_size": 1, "max_size": 1, "timeout": 0.2}})
    one(connections["default"], "SELECT 1")  # type: ignore[arg-type]
    caught: list[BaseException] = []

    def request() -> None:
        try:
            connections["default"].ensure_connection()
        except OperationalError as error:
            caught.append(error)

    thread = threading.Thread(target=request)
    thread.start()
    thread.join()
    assert isinstance(caught[0], PoolTimeout)
    assert "no connection became free within 0.2 s" in str(caught[0])


def test_after_a_killed_session_the_pools_other_connections_are_doubted(
    wrapper: Wrapper, local_aws: LocalEnvironment
) -> None:
    """One request meets the death; the next one's connection, killed as well, is found out before it is handed out."""
    connection = wrapper(OPTIONS={"pool": {"min_size": 2, "max_size": 2}})
    pids = {one(connection, "SELECT pg_backend_pid()")}
    pool = connection.pool
    assert pool is not None
    other = pool.take()
    pids.add(other.info.backend_pid)
    pool.putconn(other)
    assert len(pids) == 2
    for pid in pids:
        kill(local_aws, pid)
    with pytest.raises(OperationalError):
        one(connection, "SELECT 1")
    connection.close_if_unusable_or_obsolete()
    assert one(connection, "SELECT 1") == 1
    connection.close()


@pytest.mark.parametrize("checks", [True, False])
def test_health_checks_of_a_pool_find_a_dead_connection(
    wrapper: Wrapper, local_aws: LocalEnvironment, checks: bool
) -> None:
    """With them no request meets a death between two requests; without, the request does."""
    connection = wrapper(CONN_HEALTH_CHECKS=checks, OPTIONS={"pool": {"min_size": 1, "max_size": 1}})
    pid = one(connection, "SELECT pg_backend_pid()")
    connection.close()
    kill(local_aws, pid)
    if checks:
        assert one(connection, "SELECT 1") == 1
    else:
        with pytest.raises(OperationalError):
            one(connection, "SELECT 1")


def test_a_session_that_cannot_be_set_up_is_told(wrapper: Wrapper) -> None:
    """At once, and not as a pool's timeout."""
    connection = wrapper(OPTIONS={"pool": {"min_size": 1, "timeout": 20}, "assume_role": "no_such_role"})
    with pytest.raises(OperationalError, match="no_such_role") as info:
        one(connection, "SELECT 1")
    assert isinstance(info.value, ConnectionFailed)


def test_an_inherited_pool_is_replaced(wrapper: Wrapper) -> None:
    """What a child does about a pool that is its parent's."""
    connection = wrapper(OPTIONS={"pool": {"min_size": 1}})
    one(connection, "SELECT 1")
    before = connection.pool
    assert before is not None
    connection.after_fork_in_child()
    before.after_fork_in_child()
    assert one(connection, "SELECT 1") == 1
    assert connection.pool is not before


def test_another_name_in_the_settings_is_not_given_the_old_names_connections(wrapper: Wrapper) -> None:
    """As Django's test runner does it: a pool that was opened before leads to the real database."""
    connection = wrapper(OPTIONS={"pool": {"min_size": 1}})
    one(connection, "SELECT 1")
    before = connection.pool
    assert before is not None
    connection.close()
    connection.settings_dict["NAME"] = "test_no_such_database"
    with pytest.raises(OperationalError, match="test_no_such_database"):
        one(connection, "SELECT 1")
    assert before.closed


async def test_a_thread_of_ones_own_keeps_its_connection_until_it_closes_it(wrapper: Wrapper) -> None:
    """What docs/django.md says of asgiref: by default one thread; of others each has a connection, a pool's too."""
    await sync_to_async(wrapper)("notes", OPTIONS={"pool": {"min_size": 1, "max_size": 1, "timeout": 0.3}})

    def backend(*, close: bool) -> tuple[int, object]:
        connection: Any = connections["notes"]
        try:
            return threading.get_ident(), one(connection, "SELECT pg_backend_pid()")
        finally:
            if close:
                connection.close()

    found = {await sync_to_async(backend)(close=False) for _ in range(3)}
    assert len(found) == 1
    with pytest.raises(PoolTimeout):
        await sync_to_async(backend, thread_sensitive=False)(close=True)
    await sync_to_async(backend)(close=True)
    apart = await sync_to_async(backend, thread_sensitive=False)(close=True)
    assert apart[0] != next(iter(found))[0]
    assert await sync_to_async(backend)(close=True)
