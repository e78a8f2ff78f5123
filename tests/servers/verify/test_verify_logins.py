"""Ways of logging in that must not work, on servers that let them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
import trustme
from pydantic import SecretStr

from soa_db.access.postgres.probe_login import Refusal, probe_authentication, probe_token_of_another, refusal_of
from soa_db.access.report import Outcome
from soa_db.config import Dial, PasswordAuth, PostgresConfig, TlsConfig
from soa_db.errors import ServerUnavailable, TlsVerificationFailed
from soa_db.local.tls import ServerTls
from soa_db.postgres import connect

if TYPE_CHECKING:
    from tests.conftest import ServerFactory

    from soa_db.local.postgres import PostgresServer

PASSWORD = "password-of-somebody"
AUTHORITY = trustme.CA()


@pytest.fixture
def server(pg_server_factory: ServerFactory, request: pytest.FixtureRequest) -> PostgresServer:
    """A server with TLS, the lines of pg_hba.conf given, and a user ``somebody``."""
    certificate = AUTHORITY.issue_cert("localhost")
    made = pg_server_factory(
        hba=("local all postgres trust", *request.param),
        tls=ServerTls(b"".join(c.bytes() for c in certificate.cert_chain_pems), certificate.private_key_pem.bytes()),
    )
    with psycopg.connect(made.superuser_conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE somebody LOGIN PASSWORD '{PASSWORD}'".encode())
    return made


def _config(server: PostgresServer, *, tls: bool) -> PostgresConfig:
    return PostgresConfig(
        instance_name="test",
        host="localhost",
        port=server.port,
        dial=Dial(host="127.0.0.1", port=server.port),
        database="postgres",
        user="somebody",
        auth=PasswordAuth(password=SecretStr(PASSWORD)),
        tls=TlsConfig(ca_pem=AUTHORITY.cert_pem.bytes().decode()) if tls else None,
    )


def _asked(server: PostgresServer, *, iam: bool) -> dict[str, Outcome]:
    config = _config(server, tls=iam)
    connect(config).close()
    return {
        check.probe.what: check.outcome for check in probe_authentication(connect, config, user="somebody", iam=iam)
    }


OPEN = ("host all all 127.0.0.1/32 scram-sha-256",)
TLS_ONLY = ("hostssl all all 127.0.0.1/32 scram-sha-256", "hostnossl all all 127.0.0.1/32 reject")


@pytest.mark.parametrize("server", [OPEN], indirect=True, ids=["open"])
def test_plain_text_and_passwords_are_named_where_tokens_over_tls_are_due(server: PostgresServer) -> None:
    """A server that asks for a password, and asks without TLS too, violates both; neither fraud succeeds."""
    assert _asked(server, iam=True) == {
        "log in with a password": Outcome.VIOLATED,
        "connect in plain text": Outcome.VIOLATED,
        "be fooled by a certificate of an unknown authority": Outcome.OK,
        "be fooled by another host's certificate": Outcome.OK,
    }


@pytest.mark.parametrize("server", [TLS_ONLY], indirect=True, ids=["tls-only"])
def test_a_server_that_refuses_plain_text_before_it_asks_for_anything_is_in_order(server: PostgresServer) -> None:
    """The refusal names the missing encryption."""
    assert _asked(server, iam=True)["connect in plain text"] is Outcome.OK


@pytest.mark.parametrize("server", [("host all all 127.0.0.1/32 trust",)], indirect=True, ids=["trust"])
def test_a_server_that_trusts_everybody_is_named(server: PostgresServer) -> None:
    """Any password does, in dev and with TLS."""
    assert _asked(server, iam=False) == {
        "log in with a wrong password": Outcome.VIOLATED,
        "connect without TLS, or trust a wrong certificate": Outcome.NOT_APPLICABLE,
    }
    asked = _asked(server, iam=True)
    assert asked["log in with a password"] is Outcome.VIOLATED
    assert asked["connect in plain text"] is Outcome.VIOLATED


@pytest.mark.parametrize("server", [OPEN], indirect=True, ids=["verify-none"])
def test_a_client_that_does_not_verify_is_named(server: PostgresServer) -> None:
    """With verification off, any certificate will do: that is said for both kinds of fraud."""
    config = _config(server, tls=True).model_copy(update={"tls": TlsConfig(verify="none")})
    asked = {check.probe.what: check.outcome for check in probe_authentication(connect, config, user="x", iam=True)}
    assert asked["be fooled by another host's certificate"] is Outcome.VIOLATED
    assert asked["be fooled by a certificate of an unknown authority"] is Outcome.VIOLATED


@pytest.mark.parametrize("server", [OPEN], indirect=True, ids=["open"])
def test_a_token_is_refused_as_a_token_or_nothing_is_proved(server: PostgresServer) -> None:
    """A server that takes the token for a wrong password does not look at tokens: inconclusive, not a refusal."""
    wrong = _config(server, tls=True).model_copy(update={"auth": PasswordAuth(password=SecretStr("a-token"))})
    assert probe_token_of_another(connect, wrong, user="a", other="somebody").outcome is Outcome.INCONCLUSIVE
    right = _config(server, tls=True)
    assert probe_token_of_another(connect, right, user="a", other="somebody").outcome is Outcome.VIOLATED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('FATAL:  permission denied for database "d"\nDETAIL:  User does not have CONNECT.', Refusal.NO_CONNECT),
        ('FATAL:  PAM authentication failed for user "u"', Refusal.PAM),
        ('FATAL:  password authentication failed for user "u"', Refusal.PASSWORD),
        ("fe_sendauth: no password supplied", Refusal.PASSWORD),
        ('no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", no encryption', Refusal.NO_ENCRYPTION),
        ('pg_hba.conf rejects connection for host "::1", user "u", database "d", no encryption', Refusal.NO_ENCRYPTION),
        ('no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", SSL encryption', Refusal.NOT_ADMITTED),
        ("SSL error: certificate verify failed", Refusal.CERTIFICATE),
        ("Connection refused", Refusal.OTHER),
        ("FATAL:  Zugriff auf Datenbank »d« verweigert", Refusal.OTHER),
    ],
)  # fmt: skip
def test_a_refusal_is_known_by_the_servers_words(text: str, expected: Refusal) -> None:
    """Wherever the words stand: in our typed error or in the driver's under it."""
    assert refusal_of(psycopg.OperationalError(text)) is expected
    ours = ServerUnavailable("it failed")
    ours.__cause__ = psycopg.OperationalError(text)
    assert refusal_of(ours) is expected
    assert refusal_of(TlsVerificationFailed("the server speaks no TLS")) is Refusal.CERTIFICATE
