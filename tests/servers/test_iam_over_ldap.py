"""The token we send, judged without the gate of soa_db.local: a stock PostgreSQL asks an LDAP server about it.

PostgreSQL's ``ldap`` method takes the password in clear, as RDS takes a token, and binds with it. So the server's own
code, and none of ours, stands between the driver and whoever checks the signature.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import trustme
from tests.servers.aws_kit import ACCOUNT, REGION, CountingAws, allow, trust
from tests.support.ldap import LdapServer

from soa_db.aws import AsyncAwsClients, AwsClients
from soa_db.config import Dial, IamAuth, PostgresConfig, TlsConfig
from soa_db.errors import AuthenticationFailed
from soa_db.local.sigv4 import Fault
from soa_db.local.tls import ServerTls
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider

if TYPE_CHECKING:
    from tests.conftest import ServerFactory

    from soa_db.local.postgres import PostgresServer

# What is signed for and verified; what is dialled is the server on this machine, as through a tunnel.
HOST, PORT = "mirror.abc.us-west-2.rds.amazonaws.com", 5432
USER = "chat_api_app"
RESOURCE_ID = "db-ABCDEFGHIJKL"


@dataclass(frozen=True)
class Rds:
    """A PostgreSQL that takes tokens as RDS does, and what its LDAP server was asked."""

    server: PostgresServer
    ldap: LdapServer
    aws: CountingAws
    roots: str

    def config(self, **changes: Any) -> PostgresConfig:
        return PostgresConfig(
            **{
                "instance_name": "chat-api",
                "host": HOST,
                "port": PORT,
                "database": "postgres",
                "user": USER,
                "auth": IamAuth(region=REGION),
                "tls": TlsConfig(ca_pem=self.roots),
                "dial": Dial(host=self.server.host, port=self.server.port),
                **changes,
            }
        )

    def role(self, name: str, database_user: str) -> str:
        """An AWS role that may connect as one database user."""
        resource = f"arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:{RESOURCE_ID}/{database_user}"
        return self.aws.create_role(ACCOUNT, name, trust=trust(ACCOUNT), policy=allow(("rds-db:connect", resource)))


@pytest.fixture
def rds(aws: CountingAws, pg_server_factory: ServerFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rds]:
    """Debian's PostgreSQL 15: the builds from PyPI have no LDAP."""
    # STS gives tokens of such a length, moto shorter ones.
    monkeypatch.setattr("moto.sts.models.random_session_token", lambda: base64.b64encode(os.urandom(900)).decode())

    def check(name: str, token: str) -> bool:
        user = name.removeprefix("cn=")
        try:
            aws.may_connect(token, user=user, host=HOST, port=PORT, account=ACCOUNT, resource_id=RESOURCE_ID)
        except Fault:
            return False
        return True

    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    with LdapServer(check) as ldap:
        server = pg_server_factory(
            version=15,
            tls=ServerTls(certificate.cert_chain_pems[0].bytes(), certificate.private_key_pem.bytes()),
            hba=[
                "local all postgres trust",
                f'hostssl all +rds_iam 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport={ldap.port} ldapprefix="cn="',
            ],
        )
        with psycopg.connect(server.superuser_conninfo, autocommit=True) as superuser:
            superuser.execute(f"CREATE ROLE {USER} LOGIN IN ROLE rds_iam")
        yield Rds(server, ldap, aws, authority.cert_pem.bytes().decode())


def _identity(connection: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
    return connection.execute("SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()


async def test_the_token_with_its_session_token_opens_a_stock_server(rds: Rds, unique_name: str) -> None:
    """Over a kilobyte, one bind a connection, from both providers; the server sees TLS and the user itself."""
    role = rds.role(unique_name, USER)
    with (
        AwsClients(region=REGION, role_arn=role) as aws,
        PostgresProvider(rds.config(), aws=aws) as provider,
        provider.connection() as connection,
    ):
        assert _identity(connection) == (USER, True)
    async with (
        AsyncAwsClients(region=REGION, role_arn=role) as clients,
        AsyncPostgresProvider(rds.config(), aws=clients) as asynchronous,
        asynchronous.connection() as other,
    ):
        assert await (await other.execute("SELECT current_user")).fetchone() == (USER,)
    assert rds.ldap.binds
    for name, token in rds.ldap.binds:
        assert name == f"cn={USER}"
        assert token.startswith(f"{HOST}:{PORT}/?")
        assert "X-Amz-Security-Token=" in token
        assert len(token) > 1024


async def test_a_token_that_may_not_connect_as_this_user_is_refused(rds: Rds, unique_name: str) -> None:
    """The right signature of somebody with rights on another user: typed, and naming the way it logged in."""
    role = rds.role(unique_name, "ledger_api_app")
    with AwsClients(region=REGION, role_arn=role) as aws, pytest.raises(AuthenticationFailed) as caught:
        PostgresProvider(rds.config(), aws=aws).connect()
    async with AsyncAwsClients(region=REGION, role_arn=role) as clients:
        with pytest.raises(AuthenticationFailed):
            await AsyncPostgresProvider(rds.config(), aws=clients).connect()
    assert caught.value.context["credentials"] == "rds-iam"
    assert "rds-db:connect" in caught.value.hint
    assert rds.ldap.binds
    for _, token in rds.ldap.binds:
        assert token.startswith(f"{HOST}:{PORT}/?")
        assert token not in str(caught.value)


def test_a_token_for_another_address_or_tampered_with_is_refused(rds: Rds, unique_name: str) -> None:
    """The check is one: the very token that opened the door does not once a character of it is another."""
    role = rds.role(unique_name, USER)
    with AwsClients(region=REGION, role_arn=role) as aws:
        with pytest.raises(AuthenticationFailed):
            PostgresProvider(rds.config(port=PORT + 1), aws=aws).connect()
        with PostgresProvider(rds.config(), aws=aws):
            pass
    _, good = rds.ldap.binds[-1]
    last = "1" if good.endswith("0") else "0"
    for token, opens in ((good, True), (good[:-1] + last, False)):
        conninfo = rds.server.conninfo(USER, token)
        if opens:
            with psycopg.connect(conninfo, sslmode="require") as connection:
                assert _identity(connection) == (USER, True)
        else:
            with pytest.raises(psycopg.OperationalError, match="LDAP authentication failed"):
                psycopg.connect(conninfo, sslmode="require")
