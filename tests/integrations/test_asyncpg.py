"""asyncpg's own pool, made from a config: credentials, TLS, timeouts and errors as with psycopg, on real servers."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import trustme
from psycopg import sql
from tests.support.postgres import PASSWORD, config, end_sessions, login_role, sessions, set_password, superuser
from tests.support.tcp import FaultyProxy

from soa_db.asyncpg import aload_postgres_config_from_aws, create_asyncpg_pool
from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.config import Dial, NoAuth, PasswordAuth, PoolConfig, PostgresConfig, SecretAuth, SessionConfig, TlsConfig
from soa_db.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ServerUnavailable,
    TlsVerificationFailed,
)
from soa_db.local.ports import free_port
from soa_db.local.postgres import PostgresServer
from soa_db.local.tls import ServerTls

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

NAME = "db.prod.example"
WRONG = "the-wrong-password-1234"
AT_ONCE = PoolConfig(max_size=2, timeout=10, connect_timeout=5)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three attempts, without the seconds in between."""
    monkeypatch.setattr("soa_db.asyncpg.connector._FIRST_BASE", 0.001)


@pytest.fixture
def server(pg_servers: Callable[[int], PostgresServer]) -> PostgresServer:
    """The shared server."""
    return pg_servers(17)


@pytest.fixture
def user(server: PostgresServer, unique_name: str) -> Iterator[str]:
    """A login role of the test's own."""
    with login_role(server, unique_name) as name:
        yield name


@dataclass(frozen=True)
class Secured:
    """A server that speaks TLS under the name NAME, and its authority."""

    server: PostgresServer
    ca_pem: str
    user: str
    certificate: str
    key: str


@pytest.fixture(scope="module")
def secured(server_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A server of the module's own; user ``certified`` must show a client certificate."""
    ca = trustme.CA()
    certificate = ca.issue_cert(NAME)
    tls = ServerTls(
        cert_pem=certificate.cert_chain_pems[0].bytes(),
        key_pem=certificate.private_key_pem.bytes(),
        client_ca_pem=ca.cert_pem.bytes(),
    )
    hba = (
        "local all postgres trust",
        "hostssl all certified 127.0.0.1/32 cert",
        "hostssl all all 127.0.0.1/32 scram-sha-256",
    )
    server = PostgresServer(server_folder / "asyncpg-tls", version=17, master_password="x", tls=tls, hba=hba)
    folder = tmp_path_factory.mktemp("certificates")
    client = ca.issue_cert(common_name="certified")
    client.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    client.private_key_pem.write_to_path(str(folder / "key.pem"))
    try:
        server.start()
        superuser(server, "CREATE ROLE certified LOGIN")
        with login_role(server, "asyncpg_tls") as user:
            files = str(folder / "cert.pem"), str(folder / "key.pem")
            yield Secured(server, ca.cert_pem.bytes().decode(), user, *files)
    finally:
        server.remove()


def tunnelled(secured: Secured, **changes: object) -> PostgresConfig:
    """A config for the name in the certificate, dialled at 127.0.0.1."""
    dial = Dial(host="127.0.0.1", port=secured.server.port)
    return config(secured.server, secured.user, **{"host": NAME, "port": 5432, "dial": dial, **changes})


@pytest.fixture
def iam_user(local_aws: LocalEnvironment, unique_name: str) -> Iterator[str]:
    """A user of mirror's server who logs in with IAM tokens."""
    server = local_aws.server("mirror")
    with login_role(server, unique_name) as name:
        superuser(server, sql.SQL("GRANT rds_iam TO {}").format(sql.Identifier(name)))
        yield name


@pytest.fixture
def dev_service(local_aws: LocalEnvironment, unique_name: str) -> Iterator[str]:
    """A service whose parity secret is there, and whose user is on dev's server."""
    server = local_aws.server("dev")
    with login_role(server, f"{unique_name}_app") as user, AwsClients() as aws:
        set_password(server, user, "the password at first")
        payload = {
            "password": "the password at first",
            "host": "localhost",
            "port": server.port,
            "database": "postgres",
        }
        name = f"dev/postgres-shared/{unique_name}/app"
        aws.call("secretsmanager", "create_secret", Name=name, SecretString=json.dumps(payload))
        yield unique_name


# --- credentials


async def test_an_iam_user_connects_by_token_over_verified_tls(local_aws: LocalEnvironment, iam_user: str) -> None:
    """Past the gate, which checks the signature; a new physical connection asks anew."""
    wanted = await aload_postgres_config_from_aws(env="mirror", service="chat-api", user=iam_user, database="postgres")
    assert wanted.auth.kind == "iam"
    assert wanted.tls is not None
    async with create_asyncpg_pool(wanted) as pool:
        assert await pool.fetchval("SELECT current_user") == iam_user
        await pool.expire_connections()
        assert await pool.fetchval("SELECT current_user") == iam_user


async def test_a_refused_token_names_the_way_it_logged_in(local_aws: LocalEnvironment, iam_user: str) -> None:
    """The user is there but no member of rds_iam any more."""
    superuser(local_aws.server("mirror"), sql.SQL("REVOKE rds_iam FROM {}").format(sql.Identifier(iam_user)))
    wanted = await aload_postgres_config_from_aws(env="mirror", service="chat-api", user=iam_user, database="postgres")
    with pytest.raises(AuthenticationFailed) as caught:
        await create_asyncpg_pool(wanted)
    assert caught.value.context["credentials"] == "rds-iam"
    assert "rds-db:connect" in caught.value.hint


async def test_a_rotated_secret_is_read_again_once_it_is_refused(local_aws: LocalEnvironment, dev_service: str) -> None:
    """First as AWSPENDING, while AWSCURRENT is stale; then promoted, with a password set in between."""
    server, secret_id = local_aws.server("dev"), f"dev/postgres-shared/{dev_service}/app"
    async with AsyncAwsClients() as aws:
        wanted = await aload_postgres_config_from_aws(env="dev", service=dev_service, aws=aws)
        async with create_asyncpg_pool(wanted, aws=aws) as pool:
            assert await pool.fetchval("SELECT current_user") == f"{dev_service}_app"
            stages = {"AWSPENDING": "the pending one", "AWSCURRENT": "the current one"}
            for stage, password in stages.items():
                await aws.call(
                    "secretsmanager",
                    "put_secret_value",
                    SecretId=secret_id,
                    SecretString=json.dumps({"password": password, "host": "localhost"}),
                    VersionStages=[stage],
                )
                set_password(server, f"{dev_service}_app", password)
                await pool.expire_connections()
                crowd = await asyncio.gather(*(pool.fetchval("SELECT 1") for _ in range(20)))
                assert crowd == [1] * 20


async def test_the_pool_makes_the_aws_clients_it_is_not_given_and_closes_them(
    local_aws: LocalEnvironment, dev_service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it cannot be opened."""
    closed: list[AsyncAwsClients] = []

    async def close(self: AsyncAwsClients) -> None:
        closed.append(self)
        await real(self)

    real = AsyncAwsClients.close
    server = local_aws.server("dev")
    secret = SecretAuth(secret_id=f"dev/postgres-shared/{dev_service}/app")
    user = f"{dev_service}_app"
    wanted = PostgresConfig(
        instance_name="dash", host="localhost", port=server.port, database="postgres", user=user, auth=secret, tls=None
    )
    monkeypatch.setattr(AsyncAwsClients, "close", close)
    async with create_asyncpg_pool(wanted) as pool:
        assert await pool.fetchval("SELECT 1") == 1
        assert closed == []
    assert len(closed) == 1
    set_password(server, user, "something else")
    with pytest.raises(AuthenticationFailed, match=dev_service):
        await create_asyncpg_pool(wanted)
    assert len(closed) == 2


async def test_a_terminated_pool_closes_the_aws_clients_it_made(
    local_aws: LocalEnvironment, dev_service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a task, once however often it is terminated: asyncpg's terminate does not wait."""
    wanted = await aload_postgres_config_from_aws(env="dev", service=dev_service)
    closed: list[AsyncAwsClients] = []
    done = asyncio.Event()

    async def close(self: AsyncAwsClients) -> None:
        closed.append(self)
        await real(self)
        done.set()

    real = AsyncAwsClients.close
    monkeypatch.setattr(AsyncAwsClients, "close", close)
    pool = await create_asyncpg_pool(wanted)
    pool.terminate()
    pool.terminate()
    await asyncio.wait_for(done.wait(), 10)
    assert len(closed) == 1


async def test_a_wrong_password_is_named_and_never_shown(server: PostgresServer, user: str) -> None:
    """Neither in the text nor in the locals of any frame behind the error, of ours or of asyncpg's."""
    with pytest.raises(AuthenticationFailed) as caught:
        await create_asyncpg_pool(config(server, user, auth=PasswordAuth(password=WRONG)))
    assert caught.value.context["user"] == user
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    told = "".join(report.format())
    assert "password authentication failed" in told
    assert WRONG not in told


async def test_the_password_is_not_kept_where_query_loggers_see_it(server: PostgresServer, user: str) -> None:
    """asyncpg hands them the parameters of the connection."""
    seen: list[Any] = []
    async with create_asyncpg_pool(config(server, user)) as pool, pool.acquire() as conn:
        conn.add_query_logger(seen.append)
        await conn.fetchval("SELECT 1")
        conn.remove_query_logger(seen.append)
    assert seen
    assert repr(PASSWORD) not in repr(seen)


async def test_without_credentials_the_variables_of_libpq_are_not_asked(
    server: PostgresServer, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGPASSWORD would log in as somebody the config does not say."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with pytest.raises(AuthenticationFailed) as caught:
        await create_asyncpg_pool(config(server, user, auth=NoAuth()))
    assert "holds no credentials" in caught.value.hint


async def test_a_secret_no_server_can_take_is_refused_before_it_is_sent(server: PostgresServer, user: str) -> None:
    """A NUL would end the packet's field."""
    with pytest.raises(ConfigurationError, match="password holds a character"):
        await create_asyncpg_pool(config(server, user, auth=PasswordAuth(password="a\0b")))


# --- TLS


async def test_the_name_is_verified_although_another_address_is_dialled(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a tunnel verify-full holds; libpq's variables change nothing about it."""
    for name, value in {
        "PGSSLMODE": "disable",
        "PGSSLNEGOTIATION": "direct",
        "PGTARGETSESSIONATTRS": "standby",
    }.items():
        monkeypatch.setenv(name, value)
    async with create_asyncpg_pool(tunnelled(secured, tls=TlsConfig(ca_pem=secured.ca_pem))) as pool:
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert await pool.fetchval(query) is True
        async with pool.acquire() as conn:
            # A cancellation makes a connection of its own, with the same TLS.
            with pytest.raises(TimeoutError):
                await conn.execute("SELECT pg_sleep(10)", timeout=0.1)
            assert await conn.fetchval(query) is True


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"host": "db.evil.example"}, "does not match host name", "dial"),
        ({"tls": "unrelated"}, "certificate verify failed", "SOA_DB_CA_FILE"),
    ],
)
async def test_a_certificate_that_does_not_stand_up_is_refused(
    secured: Secured, changes: dict[str, Any], message: str, hint: str
) -> None:
    """Another name than the one in it, though that is the one dialled; another authority."""
    pem = trustme.CA().cert_pem.bytes().decode() if changes.pop("tls", None) else secured.ca_pem
    with pytest.raises(TlsVerificationFailed, match=message) as caught:
        await create_asyncpg_pool(tunnelled(secured, tls=TlsConfig(ca_pem=pem), **changes))
    assert hint in caught.value.hint


async def test_verify_ca_takes_another_name_and_none_takes_everything(secured: Secured) -> None:
    """As far as they say, and no further."""
    other = trustme.CA().cert_pem.bytes().decode()
    for tls in (TlsConfig(ca_pem=secured.ca_pem, verify="ca"), TlsConfig(verify="none")):
        async with create_asyncpg_pool(tunnelled(secured, host="elsewhere.example", tls=tls)) as pool:
            assert await pool.fetchval("SELECT 1") == 1
    with pytest.raises(TlsVerificationFailed):
        await create_asyncpg_pool(tunnelled(secured, tls=TlsConfig(ca_pem=other, verify="ca")))


async def test_a_client_certificate_is_shown(secured: Secured) -> None:
    """And its files are named when they cannot be used."""
    shown = {"ca_pem": secured.ca_pem, "cert": secured.certificate}
    tls = TlsConfig(**shown, key=secured.key)
    async with create_asyncpg_pool(
        tunnelled(secured, auth=NoAuth(), tls=tls).model_copy(update={"user": "certified"})
    ) as pool:
        assert await pool.fetchval("SELECT current_user") == "certified"
    with pytest.raises(ConfigurationError, match=r"tls\.cert and tls\.key"):
        await create_asyncpg_pool(tunnelled(secured, tls=TlsConfig(**shown, key=secured.certificate)))


async def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(secured: Secured, tmp_path: Path) -> None:
    """OpenSSL would ask on the terminal, and the service would hang."""
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(Path(secured.key).read_bytes(), None)
    locked = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret"))
    (tmp_path / "locked.pem").write_bytes(locked)
    tls = TlsConfig(ca_pem=secured.ca_pem, cert=secured.certificate, key=str(tmp_path / "locked.pem"))
    with pytest.raises(ConfigurationError, match="encrypted"):
        await create_asyncpg_pool(tunnelled(secured, tls=tls))


async def test_a_server_without_tls_is_never_talked_to_in_clear(server: PostgresServer, user: str) -> None:
    """Nothing like ``prefer``."""
    with pytest.raises(TlsVerificationFailed, match="does not support SSL"):
        await create_asyncpg_pool(config(server, user, tls=TlsConfig(verify="none")))


# --- sessions and limits


async def test_a_session_starts_with_its_timeouts_and_keeps_them(server: PostgresServer, user: str) -> None:
    """What a user sets is reset, to what the startup packet said."""
    session = SessionConfig(statement_timeout=7, lock_timeout=3, application_name="reports")
    wanted = config(server, user, session=session, pool=PoolConfig(max_size=1))
    async with create_asyncpg_pool(wanted, server_settings={"TimeZone": "UTC"}) as pool:
        for _ in range(2):
            async with pool.acquire() as conn:
                names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
                assert [await conn.fetchval(f"SHOW {name}") for name in names] == ["7s", "3s", "30s"]
                assert await conn.fetchval("SHOW application_name") == "reports"
                assert await conn.fetchval("SHOW TimeZone") == "UTC"
                await conn.execute("SET statement_timeout = 0")


async def test_behind_a_proxy_timeouts_are_set_and_nothing_is_prepared(server: PostgresServer, user: str) -> None:
    """asyncpg's reset on release would take the timeouts away; a reset of the user's own runs before ours."""
    calls: list[str] = []

    async def reset(conn: Any) -> None:
        calls.append("own")
        await conn.execute("RESET ALL")

    session = SessionConfig(statement_timeout=9, proxy=True)
    wanted = config(server, user, session=session, pool=PoolConfig(max_size=1))
    for own in (None, reset):
        async with create_asyncpg_pool(wanted, reset=own) as pool:
            for _ in range(3):
                async with pool.acquire() as conn:
                    assert await conn.fetchval("SELECT current_setting('statement_timeout')") == "9s"
                    assert await conn.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0
    assert len(calls) == 4


async def test_the_pools_limits_are_the_configs(server: PostgresServer, user: str) -> None:
    """Sizes, the wait for a connection, and how long one lives."""
    limits = PoolConfig(min_size=1, max_size=2, timeout=0.05, max_lifetime=0.05)
    async with create_asyncpg_pool(config(server, user, pool=limits)) as pool:
        assert (pool.get_min_size(), pool.get_max_size()) == (1, 2)
        async with pool.acquire(timeout=5) as one, pool.acquire(timeout=5) as other:
            pids = {one.get_server_pid(), other.get_server_pid()}
            with pytest.raises(TimeoutError):
                await pool.fetchval("SELECT 1")
        await asyncio.sleep(0.06)
        for _ in range(3):
            async with pool.acquire(timeout=5) as conn:
                last = conn.get_server_pid()
        assert last not in pids
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await pool.fetchval("SELECT 1")


async def test_the_wait_for_a_connection_does_not_limit_its_reset(server: PostgresServer, user: str) -> None:
    """asyncpg takes the one for the other: a caller whose statement was done would be told of a TimeoutError."""
    limits = PoolConfig(min_size=1, max_size=1, timeout=0.1)
    async with create_asyncpg_pool(config(server, user, pool=limits), reset=_slow_reset) as pool:
        async with pool.acquire() as conn:
            pid = conn.get_server_pid()
        async with pool.acquire() as conn:
            assert conn.get_server_pid() == pid
        # Who says how long is taken at their word, as asyncpg's documentation has it.
        with pytest.raises(TimeoutError):
            async with pool.acquire(timeout=0.12):
                pass


async def _slow_reset(_conn: Any) -> None:
    await asyncio.sleep(0.15)


async def test_the_kernel_looks_after_silent_peers(server: PostgresServer, user: str) -> None:
    """asyncpg itself leaves the kernel's two hours."""
    async with create_asyncpg_pool(config(server, user)) as pool, pool.acquire() as conn:
        sock = conn._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


async def test_a_pool_opened_twice_at_once_is_opened_once(server: PostgresServer, user: str) -> None:
    """And a second ``await`` of an open pool asks nobody."""
    pool = create_asyncpg_pool(config(server, user, pool=AT_ONCE))
    assert await asyncio.gather(*(_opened(pool) for _ in range(3))) == [pool] * 3
    assert sessions(server, user) == 1
    await pool.close()
    await pool.close()
    assert sessions(server, user) == 0


async def _opened(pool: Any) -> Any:
    return await pool


# --- servers that are away


async def test_a_server_that_is_away_is_tried_three_times_and_is_typed(user: str) -> None:
    """So is one whose name does not resolve, or is none."""
    with FaultyProxy("127.0.0.1", free_port()) as proxy:
        proxy.mode = "hang_up"
        wanted = PostgresConfig(
            instance_name="chat", host="127.0.0.1", port=proxy.port, database="d", user=user, tls=None
        )
        with pytest.raises(ServerUnavailable) as caught:
            await create_asyncpg_pool(wanted)
        assert proxy.accepted == 3
    assert caught.value.context["instance"] == "chat"
    for host in ("nobody.invalid", f"{'a' * 70}.example"):
        with pytest.raises(ServerUnavailable):
            await create_asyncpg_pool(wanted.model_copy(update={"host": host}))


async def test_a_missing_database_is_typed_in_every_language(server: PostgresServer, user: str) -> None:
    """asyncpg hands on the SQLSTATE."""
    with pytest.raises(ConnectionFailed, match="database does not exist"):
        await create_asyncpg_pool(config(server, user, database="none_such"))


async def test_a_setting_the_server_refuses_is_a_fault_of_the_configuration(server: PostgresServer, user: str) -> None:
    """It would be refused at the next connect too."""
    with pytest.raises(ConfigurationError, match="none_such"):
        await create_asyncpg_pool(config(server, user), server_settings={"none_such": "1"})


async def test_a_silent_server_costs_the_connect_timeout_and_no_socket(server: PostgresServer, user: str) -> None:
    """Likewise when the caller is cancelled; nothing in the error's frames holds the password."""
    with FaultyProxy(server.host, server.port) as proxy:
        limits = PoolConfig(max_size=2, connect_timeout=0.2)
        wanted = config(server, user, host="127.0.0.1", port=proxy.port, pool=limits)
        async with create_asyncpg_pool(wanted) as pool:
            await pool.expire_connections()
            proxy.mode = "blackhole"
            with pytest.raises(ServerUnavailable, match="timeout") as caught:
                await pool.fetchval("SELECT 1")
            report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
            assert repr(PASSWORD) not in "".join(report.format())
            waiting = asyncio.create_task(pool.fetchval("SELECT 1"))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            proxy.mode = "pass"
            assert await pool.fetchval("SELECT 1") == 1
    assert sessions(server, user) == 0


async def test_a_pool_whose_server_ended_its_sessions_goes_on(server: PostgresServer, user: str) -> None:
    """Whose statement was under way, and who had one in hand, see asyncpg's own errors; the next gets a new one."""
    async with create_asyncpg_pool(config(server, user, pool=AT_ONCE)) as pool:
        async with pool.acquire() as conn:
            under_way = asyncio.create_task(conn.fetchval("SELECT pg_sleep(30)"))
            while not await asyncio.to_thread(sessions, server, user, "active"):
                await asyncio.sleep(0.01)
            await asyncio.to_thread(end_sessions, server, user)
            with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError)):
                await under_way
        assert await pool.fetchval("SELECT 1") == 1
        async with pool.acquire() as conn:
            ended = asyncio.Event()
            conn.add_termination_listener(lambda _: ended.set())
            await asyncio.to_thread(end_sessions, server, user)
            # Between the server's last words and the end of its stream asyncpg raises InternalClientError.
            await asyncio.wait_for(ended.wait(), 10)
            with pytest.raises(asyncpg.InterfaceError, match="released back to the pool"):
                await conn.fetchval("SELECT 1")
        assert await pool.fetchval("SELECT 1") == 1


async def test_the_errors_a_caller_was_handling_keep_their_frames(user: str) -> None:
    """Only what is asyncpg's is dropped."""
    wanted = PostgresConfig(instance_name="c", host="127.0.0.1", port=free_port(), database="d", user=user, tls=None)
    seen: list[BaseException] = []

    async def ask() -> None:
        try:
            raise KeyError(user)
        except KeyError as handled:
            seen.append(handled)
            await create_asyncpg_pool(wanted)

    with pytest.raises(ServerUnavailable):
        await ask()
    assert seen[0].__traceback__ is not None


# --- options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"password": "x"}, "auth"),
        ({"ssl": False}, "tls"),
        ({"max_size": 3}, "pool.max_size"),
        ({"nonsense": 1}, "known are"),
        ({"command_timeout": 0}, "command_timeout"),
        ({"command_timeout": float("nan")}, "command_timeout"),
        ({"statement_cache_size": True}, "statement_cache_size"),
        ({"max_queries": 0}, "max_queries"),
        ({"connection_class": int}, "connection_class"),
        ({"server_settings": {"statement_timeout": "1"}}, "session"),
        ({"server_settings": {"work_mem": 1}}, "text"),
        ({"server_settings": {"idle_in_transaction_session_timeout": "1"}}, "session"),
        ({"server_settings": {"application_name": "x"}}, "session"),
        ({"server_settings": {"Statement_Timeout": "1"}}, "session"),
        ({"server_settings": {"user": "postgres"}}, "as whom"),
        ({"server_settings": {"options": "-c statement_timeout=0"}}, "as whom"),
    ],
)
async def test_an_option_that_cannot_be_is_refused_at_once(options: dict[str, Any], told: str) -> None:
    """With where to set it instead."""
    wanted = PostgresConfig(instance_name="c", host="h", database="d", session=SessionConfig(statement_timeout=1))
    with pytest.raises(ConfigurationError, match=told):
        create_asyncpg_pool(wanted, **options)


@pytest.mark.parametrize("options", [{"statement_cache_size": 5}, {"server_settings": {"work_mem": "1MB"}}])
async def test_what_no_proxy_takes_is_refused_in_proxy_mode(options: dict[str, Any]) -> None:
    """Prepared statements, and settings in the startup packet."""
    wanted = PostgresConfig(instance_name="c", host="h", database="d", session=SessionConfig(proxy=True))
    with pytest.raises(ConfigurationError, match="proxy"):
        create_asyncpg_pool(wanted, **options)


async def test_asyncpgs_own_hooks_and_classes_are_used(server: PostgresServer, user: str) -> None:
    """Whoever prefers asyncpg has codecs to set, say."""

    class Row(asyncpg.Record):  # type: ignore[misc]  # asyncpg has no types
        pass

    class Conn(asyncpg.Connection):  # type: ignore[misc]  # likewise
        pass

    made: list[Any] = []

    async def init(conn: Any) -> None:
        made.append(conn)

    async with create_asyncpg_pool(config(server, user), init=init, record_class=Row, connection_class=Conn) as pool:
        assert isinstance(await pool.fetchrow("SELECT 1 AS one"), Row)
    assert [type(conn) for conn in made] == [Conn]


async def test_what_the_pool_connects_to_is_not_changed_behind_the_config(server: PostgresServer, user: str) -> None:
    """asyncpg lets one do that."""
    async with create_asyncpg_pool(config(server, user)) as pool:
        with pytest.raises(ConfigurationError):
            pool.set_connect_args("postgresql://elsewhere/")
        assert await pool.fetchval("SELECT 1") == 1


def test_without_asyncpg_the_extra_is_named() -> None:
    """psycopg is not needed for it, nor it for psycopg."""
    code = "import sys; sys.modules['asyncpg'] = None; import soa_db.postgres; import soa_db.asyncpg"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra: asyncpg is not installed" in run.stderr
    assert "pip install 'soa-db[asyncpg]'" in run.stderr
