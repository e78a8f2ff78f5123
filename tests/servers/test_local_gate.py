"""The RDS IAM gate: who gets in, who does not, and that it is otherwise as if it were not there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import quote

import boto3
import psycopg
import pytest
from botocore import auth
from tests.servers.test_local_environment import client

from soa_db.local.gate import Backend, IamGate, TokenRefused

if TYPE_CHECKING:
    from tests.conftest import ServerFactory

    from soa_db.local.environment import LocalEnvironment
    from soa_db.names import Env

ENV: Env = "mirror"


@dataclass(frozen=True)
class IamUser:
    """A database user on IAM, and the AWS session that may connect as it."""

    environment: LocalEnvironment
    name: str
    role: str
    session: boto3.Session

    @property
    def port(self) -> int:
        return self.environment.server(ENV).port

    def token(self, *, user: str = "", host: str = "localhost", port: int = 0, region: str = "us-west-2") -> str:
        rds = self.session.client("rds", region_name=region)
        made = rds.generate_db_auth_token(host, port or self.port, user or self.name, Region=region)
        assert isinstance(made, str)
        return made

    def connect(self, token: str | None = None, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="localhost",
            port=self.port,
            user=options.pop("user", self.name),
            password=self.token() if token is None else token,
            dbname="postgres",
            autocommit=True,
            **{"sslmode": "verify-full", "sslrootcert": self.environment.exports()["SOA_DB_CA_FILE"], **options},
        )


@pytest.fixture
def iam_user(local_env: LocalEnvironment, unique_name: str) -> Iterator[IamUser]:
    """A fresh one, with a policy for exactly its user and the instance's resource id."""
    server = local_env.server(ENV)
    iam = client(local_env, "iam")
    allow = {
        "Effect": "Allow",
        "Action": "rds-db:connect",
        "Resource": f"arn:aws:rds-db:us-west-2:{server.account}:dbuser:{server.resource_id}/{unique_name}",
    }
    trust = {"Effect": "Allow", "Principal": {"AWS": f"{server.account}"}, "Action": "sts:AssumeRole"}
    arn = iam.create_role(RoleName=unique_name, AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=unique_name, PolicyName="p", PolicyDocument=_policy(allow))
    keys = client(local_env, "sts").assume_role(RoleArn=arn, RoleSessionName="tests")["Credentials"]
    session = boto3.Session(
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    with psycopg.connect(server.superuser_conninfo, autocommit=True) as superuser:
        superuser.execute(f"create role {unique_name} login")
        superuser.execute(f"grant rds_iam to {unique_name}")
    yield IamUser(local_env, unique_name, unique_name, session)
    with psycopg.connect(server.superuser_conninfo, autocommit=True) as superuser:
        superuser.execute(f"drop role {unique_name}")


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _other(digit: str) -> str:
    return "1" if digit == "0" else "0"


REFUSED = "PAM authentication failed for user"


def test_a_token_opens_the_door(iam_user: IamUser) -> None:
    """With a session token in it, over verified TLS."""
    with iam_user.connect() as connection:
        assert connection.execute("select current_user").fetchone() == (iam_user.name,)
        assert connection.pgconn.ssl_in_use


@pytest.mark.parametrize(
    "tampered",
    [
        pytest.param(lambda u: re.sub("Signature=.", lambda m: "Signature=" + _other(m[0][-1]), u.token()), id="sign"),
        pytest.param(lambda u: u.token(host="127.0.0.1"), id="host"),
        pytest.param(lambda u: u.token(port=5432), id="port"),
        pytest.param(lambda u: u.token(user="somebody"), id="user"),
        pytest.param(lambda u: u.token(region="us-east-1"), id="region"),
        pytest.param(lambda u: u.token().replace("Action=connect", "Action=Connect"), id="action"),
        pytest.param(lambda u: u.token().replace("X-Amz-Expires=900", "X-Amz-Expires=90000"), id="lifetime"),
        pytest.param(lambda u: u.token() + "&DBUser=master", id="duplicate"),
        pytest.param(lambda u: u.token().split("&X-Amz-Security-Token=")[0], id="cut"),
        pytest.param(lambda _: "a-password", id="password"),
        pytest.param(lambda _: "t\N{LATIN SMALL LETTER O WITH STROKE}ken", id="not-ascii"),
    ],
)
def test_a_token_for_anything_else_does_not(iam_user: IamUser, tampered: Callable[[IamUser], str]) -> None:
    """Refused in the words of RDS, whatever is wrong with it."""
    with pytest.raises(psycopg.OperationalError, match=f'{REFUSED} "{iam_user.name}"'):
        iam_user.connect(tampered(iam_user))


@pytest.mark.parametrize("age", [-400, 901])
def test_a_token_out_of_its_time_is_refused(iam_user: IamUser, age: int) -> None:
    """Fifteen minutes, whatever else; and none from the future."""
    signed_at = datetime.now(UTC) - timedelta(seconds=age)

    with mock.patch.object(auth, "get_current_datetime", return_value=signed_at.replace(tzinfo=None)):
        token = iam_user.token()
    assert signed_at.strftime("%Y%m%dT%H%M%SZ") in token
    with pytest.raises(psycopg.OperationalError, match=REFUSED):
        iam_user.connect(token)


def test_a_token_is_no_use_for_another_user(iam_user: IamUser, local_env: LocalEnvironment) -> None:
    """Signed rightly for a user the policy does not name."""
    other = f"{iam_user.name}_b"
    with psycopg.connect(local_env.server(ENV).superuser_conninfo, autocommit=True) as superuser:
        superuser.execute(f"create role {other} login")
        superuser.execute(f"grant rds_iam to {other}")
        with pytest.raises(psycopg.OperationalError, match=f'{REFUSED} "{other}"'):
            iam_user.connect(iam_user.token(user=other), user=other)
        superuser.execute(f"drop role {other}")


def test_a_policy_taken_away_closes_the_door(iam_user: IamUser, local_env: LocalEnvironment) -> None:
    """The policy of the moment counts, not that of when the token was signed."""
    token = iam_user.token()
    client(local_env, "iam").delete_role_policy(RoleName=iam_user.role, PolicyName="p")
    with pytest.raises(psycopg.OperationalError, match=REFUSED):
        iam_user.connect(token)


def test_another_account_may_not_connect(iam_user: IamUser, local_env: LocalEnvironment) -> None:
    """Prod's administrator may do everything there, and nothing in the mirror."""
    sts = client(local_env, "sts", "prod")
    credentials = sts._request_signer._credentials
    session = boto3.Session(
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.token,
    )
    stranger = IamUser(local_env, iam_user.name, "", session)
    with pytest.raises(psycopg.OperationalError, match=REFUSED):
        stranger.connect()


def test_a_password_does_not_get_a_member_of_rds_iam_in(iam_user: IamUser, local_env: LocalEnvironment) -> None:
    """As on RDS, IAM takes precedence over a password the role has too."""
    with psycopg.connect(local_env.server(ENV).superuser_conninfo, autocommit=True) as superuser:
        superuser.execute(f"alter role {iam_user.name} password 'known'")
    with pytest.raises(psycopg.OperationalError, match=REFUSED):
        iam_user.connect("known")


def test_an_expired_session_cannot_connect(iam_user: IamUser) -> None:
    """A token outlives nothing: when the credentials that signed it are gone, so is it."""
    with pytest.raises(psycopg.OperationalError, match=REFUSED):
        iam_user.connect(iam_user.token().replace("X-Amz-Security-Token=", "X-Amz-Security-Token=x"))


def test_others_log_in_by_password_end_to_end(iam_user: IamUser, local_env: LocalEnvironment) -> None:
    """SCRAM passes through: right and wrong are the server's own words."""
    name = f"{iam_user.name}_pw"
    with psycopg.connect(local_env.server(ENV).superuser_conninfo, autocommit=True) as superuser:
        superuser.execute(f"create role {name} login password 'right'")
        with iam_user.connect("right", user=name) as connection:
            assert connection.execute("select current_user").fetchone() == (name,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            iam_user.connect("wrong", user=name)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            iam_user.connect("wrong", user="nobody_here")
        superuser.execute(f"drop role {name}")


def test_plain_text_is_refused(iam_user: IamUser) -> None:
    """As with rds.force_ssl."""
    text = f'no pg_hba.conf entry for host "127.0.0.1", user "{iam_user.name}", database "postgres", no encryption'
    with pytest.raises(psycopg.OperationalError, match=text):
        iam_user.connect(sslmode="disable", sslrootcert="")


def test_the_certificate_is_no_other_authority_s(iam_user: IamUser) -> None:
    """Without this environment's CA there is no trust."""
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        iam_user.connect(sslrootcert="system")


def test_cancel_reaches_the_server(iam_user: IamUser) -> None:
    """The key was the server's own, so the request is passed on."""
    with iam_user.connect() as connection:
        timer = threading.Timer(0.2, connection.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(30)")
        timer.join()
        assert connection.execute("select 1").fetchone() == (1,)


def test_large_results_and_copies_pass(iam_user: IamUser) -> None:
    """Both ways, and far more than any buffer."""
    size = 20_000_000
    with iam_user.connect() as connection:
        row = connection.execute("select repeat('x', %s)", (size,)).fetchone()
        assert row is not None
        assert len(row[0]) == size
        connection.execute("create temp table big (a text)")
        with connection.cursor().copy("copy big from stdin") as copy:
            for _ in range(200):
                copy.write("y" * 100_000 + "\n")
        assert connection.execute("select sum(length(a)) from big").fetchone() == (size,)


def test_a_client_that_reads_slowly_holds_up_the_server_not_the_gate(iam_user: IamUser) -> None:
    """Backpressure: the server waits (ClientWrite), instead of the gate storing what it sends."""
    with iam_user.connect() as slow, iam_user.connect() as other:
        slow.pgconn.send_query(b"select repeat('x', 1000) from generate_series(1, 300000)")
        while slow.pgconn.flush():
            pass
        query = "select wait_event from pg_stat_activity where pid = %s"
        deadline = time.monotonic() + 20
        while other.execute(query, (slow.info.backend_pid,)).fetchone() != ("ClientWrite",):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # Whoever else is connected notices nothing.
        assert other.execute("select 1").fetchone() == (1,)
        while (result := slow.pgconn.get_result()) is not None:
            assert result.ntuples == 300_000


def test_a_client_that_is_gone_ends_its_session(iam_user: IamUser, local_env: LocalEnvironment) -> None:
    """A connection that breaks within a transaction leaves no session, and so no lock, behind."""
    connection = iam_user.connect()
    connection.execute("begin")
    pid = connection.info.backend_pid
    with socket.socket(fileno=os.dup(connection.fileno())) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.shutdown(socket.SHUT_RDWR)
    with psycopg.connect(local_env.server(ENV).superuser_conninfo, autocommit=True) as superuser:
        deadline = time.monotonic() + 20
        while superuser.execute("select 1 from pg_stat_activity where pid = %s", (pid,)).fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    connection.close()


def test_the_last_words_of_the_server_reach_the_client(iam_user: IamUser, local_env: LocalEnvironment) -> None:
    """An administrator's disconnect is 57P01, not a broken socket."""
    with iam_user.connect() as connection:
        with psycopg.connect(local_env.server(ENV).superuser_conninfo, autocommit=True) as superuser:
            superuser.execute("select pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("select 1")


def test_a_dead_server_hangs_up(iam_user: IamUser, local_env: LocalEnvironment) -> None:
    """Those connected and those who come are cut off; when it is back, all is as before."""
    connection = iam_user.connect()
    local_env.kill_server(ENV)
    try:
        with pytest.raises(psycopg.OperationalError, match="closed"):
            connection.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match=r"closed the connection|reset by peer"):
            iam_user.connect()
    finally:
        local_env.start_server(ENV)
        connection.close()
    with iam_user.connect() as again:
        assert again.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack("!II", 4, 80877103),
        struct.pack("!II", 0xFFFFFFFF, 196608),
        struct.pack("!II", 8, 80877104) * 3,
        b"\x00",
        b"",
    ],
)
def test_nonsense_is_hung_up_on(iam_user: IamUser, greeting: bytes) -> None:
    """And does no harm to anybody else."""
    with socket.create_connection(("127.0.0.1", iam_user.port), timeout=20) as raw:
        raw.sendall(greeting)
        with suppress(OSError):  # hung up on already: not connected
            raw.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert raw.recv(100) in {b"", b"N", b"NN", b"NNN"}
    with iam_user.connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_what_is_sent_before_tls_is_not_taken_for_sent_within(iam_user: IamUser) -> None:
    """A man in the middle cannot slip a query in front of the encrypted ones (CVE-2021-23214)."""
    context = ssl.create_default_context(cafile=iam_user.environment.exports()["SOA_DB_CA_FILE"])
    with socket.create_connection(("127.0.0.1", iam_user.port), timeout=20) as raw:
        raw.sendall(struct.pack("!II", 8, 80877103) + struct.pack("!II", 8, 196608))
        assert raw.recv(1) == b"S"
        with pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(raw, server_hostname="localhost")


async def test_a_token_of_35_kilobytes_is_read_whole_and_conversations_end(
    pg_server_factory: ServerFactory, local_env: LocalEnvironment
) -> None:
    """Session tokens grow with session policies and tags; afterwards the gate holds nobody."""
    server = pg_server_factory(auth="iam")
    with psycopg.connect(server.superuser_conninfo, autocommit=True) as superuser:
        superuser.execute("create role member login in role rds_iam")
    seen: list[tuple[int, str]] = []

    def check(token: str, user: str) -> None:
        seen.append((len(token), user))
        if not token.startswith("good"):
            raise TokenRefused("not good")

    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    gate = IamGate(Backend(server.host, server.port, server.socket_directory), check=check, tls=context)
    port = await gate.open()
    try:
        target = f"host=localhost port={port} user=member dbname=postgres sslmode=require"
        for size, good in ((35_000, True), (35_000, False), (70_000, True)):
            password = ("good" if good else "bad_").ljust(size, "x")
            attempt = psycopg.AsyncConnection.connect(target, password=quote(password), autocommit=True)
            if good and size < 65_536:
                async with await attempt as connection:
                    row = await (await connection.execute("select current_user")).fetchone()
                    assert row == ("member",)
                    assert gate.connections == 1
            else:
                with pytest.raises(psycopg.OperationalError):
                    await attempt
        assert seen == [(35_000, "member"), (35_000, "member")]
        for _ in range(500):
            if not gate.connections:
                break
            await asyncio.sleep(0.01)
        assert gate.connections == 0
        lingering = await psycopg.AsyncConnection.connect(target, password="good")
    finally:
        await gate.close()
    assert gate.connections == 0
    with pytest.raises(psycopg.OperationalError):
        await lingering.execute("select 1")
    await lingering.close()
