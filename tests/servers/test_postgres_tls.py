"""TLS on a real server: what is verified, against what, and what is left behind."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import trustme
from pydantic import SecretStr
from tests.support.postgres import PASSWORD, config, login_role, superuser

from soa_db._runtime.pem import PemFile
from soa_db.config import Dial, PasswordAuth, PostgresConfig, TlsConfig
from soa_db.errors import AuthenticationFailed, ConfigurationError, ServerUnavailable, TlsVerificationFailed
from soa_db.local.postgres import PostgresServer
from soa_db.local.tls import ServerTls
from soa_db.postgres import AsyncPostgresProvider, PostgresProvider, aconnect, connect

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "db.prod.example"


@dataclass(frozen=True)
class Secured:
    """A server that speaks TLS, and its authority."""

    server: PostgresServer
    ca: trustme.CA
    ca_file: str

    @property
    def ca_pem(self) -> str:
        """The authority's certificate."""
        return self.ca.cert_pem.bytes().decode()


@pytest.fixture(scope="module")
def secured(server_folder: Path) -> Iterator[Secured]:
    """One server with a certificate for NAME; user ``certified`` must show a client certificate."""
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
    server = PostgresServer(server_folder / "tls", version=17, master_password="x", tls=tls, hba=hba)
    with tempfile.TemporaryDirectory() as folder:
        ca_file = Path(folder) / "ca.pem"
        ca.cert_pem.write_to_path(str(ca_file))
        try:
            server.start()
            yield Secured(server, ca, str(ca_file))
        finally:
            server.remove()


@pytest.fixture
def user(secured: Secured, unique_name: str) -> Iterator[str]:
    """A login role of the test's own."""
    with login_role(secured.server, unique_name) as name:
        yield name


@pytest.fixture(autouse=True)
def own_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Nothing may be left behind in it."""
    monkeypatch.delenv("SOA_DB_CA_FILE", raising=False)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def tunnelled(secured: Secured, user: str, **changes: object) -> PostgresConfig:
    """A config for the name in the certificate, dialled at 127.0.0.1."""
    dial = Dial(host="localhost", port=secured.server.port)
    return config(secured.server, user, **{"host": NAME, "port": 5432, "dial": dial, **changes})


async def test_the_name_is_verified_although_another_address_is_dialled(
    secured: Secured, user: str, own_temporary_folder: Path
) -> None:
    """Through a tunnel, verify-full holds; the roots stand in a private file as long as the provider is connected."""
    provider = AsyncPostgresProvider(tunnelled(secured, user, tls=TlsConfig(ca_pem=secured.ca_pem)))
    async with provider:
        async with provider.connection() as conn:
            assert conn.pgconn.ssl_in_use
            assert conn.info.host == NAME
        (folder,) = own_temporary_folder.iterdir()
        (file,) = folder.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_text() == secured.ca_pem
        await provider.drain()
        async with provider.connection() as conn:
            assert conn.pgconn.ssl_in_use


async def test_one_connection_leaves_no_file(secured: Secured, user: str) -> None:
    """Neither on success nor on failure."""
    async with await aconnect(tunnelled(secured, user, tls=TlsConfig(ca_pem=secured.ca_pem))) as conn:
        assert conn.pgconn.ssl_in_use
    refused = tunnelled(secured, user, tls=TlsConfig(ca_pem=secured.ca_pem), auth=PasswordAuth(password="no"))
    with pytest.raises(AuthenticationFailed):
        await aconnect(refused)
    with pytest.raises(AuthenticationFailed):
        connect(refused)
    with pytest.raises(AuthenticationFailed):
        PostgresProvider(refused).connect()


@pytest.mark.parametrize("source", ["ca_file", "environment"])
def test_the_roots_may_be_a_file(secured: Secured, user: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in the configuration or by SOA_DB_CA_FILE; it is left where it is."""
    if source == "environment":
        monkeypatch.setenv("SOA_DB_CA_FILE", secured.ca_file)
    tls = TlsConfig() if source == "environment" else TlsConfig(ca_file=secured.ca_file)
    with PostgresProvider(tunnelled(secured, user, tls=tls)) as provider:
        assert provider.ping()
    assert Path(secured.ca_file).exists()


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"tls": TlsConfig(ca_pem=trustme.CA().cert_pem.bytes().decode())}, "verify failed", "SOA_DB_CA_FILE"),
        ({"tls": TlsConfig()}, "verify failed", "SOA_DB_CA_FILE"),
        ({"host": "other.example"}, "does not match host name", "dial"),
    ],
)
async def test_what_does_not_verify_is_refused_at_once(
    secured: Secured, user: str, changes: dict[str, object], message: str, hint: str
) -> None:
    """Another authority, the public ones, another name."""
    base: dict[str, object] = {"tls": TlsConfig(ca_pem=secured.ca_pem)}
    provider = AsyncPostgresProvider(tunnelled(secured, user, **{**base, **changes}))
    with pytest.raises(TlsVerificationFailed, match=message) as caught:
        await provider.connect()
    assert hint in caught.value.hint


async def test_weaker_verification_is_what_was_asked_for(secured: Secured, user: str) -> None:
    """The chain only, or nothing; but still TLS."""
    for tls in (TlsConfig(ca_pem=secured.ca_pem, verify="ca"), TlsConfig(verify="none")):
        async with await aconnect(tunnelled(secured, user, host="other.example", tls=tls)) as conn:
            assert conn.pgconn.ssl_in_use


async def test_plain_text_is_refused_by_a_server_that_wants_tls(secured: Secured, user: str) -> None:
    """Said as such."""
    with pytest.raises(AuthenticationFailed, match="pg_hba") as caught:
        await aconnect(tunnelled(secured, user, tls=None))
    assert "turn TLS on" in caught.value.hint


async def test_a_server_without_tls_is_refused(pg_servers: Callable[[int], PostgresServer], unique_name: str) -> None:
    """Rather than spoken to in plain text."""
    server = pg_servers(17)
    with login_role(server, unique_name) as user, pytest.raises(TlsVerificationFailed, match="SSL") as caught:
        await aconnect(config(server, user, host="localhost", tls=TlsConfig(verify="none")))
    assert "speaks no TLS" in caught.value.hint


async def test_a_client_certificate_logs_in(secured: Secured, tmp_path: Path) -> None:
    """Without any password; a missing file is named before anything is tried."""
    certificate = secured.ca.issue_cert(common_name="certified")
    cert, key = tmp_path / "client.crt", tmp_path / "client.key"
    certificate.cert_chain_pems[0].write_to_path(str(cert))
    key.touch(mode=0o600)
    certificate.private_key_pem.write_to_path(str(key))
    with login_role(secured.server, "certified"):
        tls = TlsConfig(ca_pem=secured.ca_pem, cert=str(cert), key=str(key))
        from soa_db.config import NoAuth

        async with await aconnect(tunnelled(secured, "certified", tls=tls, auth=NoAuth())) as conn:
            row = await (await conn.execute("SELECT current_user")).fetchone()
            assert row == ("certified",)
        with pytest.raises(ConfigurationError, match=r"tls\.key"):
            await aconnect(
                tunnelled(secured, "certified", tls=TlsConfig(ca_pem=secured.ca_pem, cert=str(cert), key="/no/such"))
            )


@pytest.mark.parametrize(
    ("tls", "variable", "named"),
    [
        (TlsConfig(ca_file="/no/such/ca.pem"), "", "tls.ca_file"),
        (TlsConfig(), "/no/such/ca.pem", "SOA_DB_CA_FILE"),
        (TlsConfig(ca_pem="rubbish"), "", "tls.ca_pem"),
    ],
)
async def test_roots_that_cannot_be_used_are_named(
    secured: Secured, tls: TlsConfig, variable: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is dialled."""
    if variable:
        monkeypatch.setenv("SOA_DB_CA_FILE", variable)
    with pytest.raises(ConfigurationError, match=named):
        await aconnect(tunnelled(secured, "u", tls=tls))


async def test_a_region_without_bundled_roots_is_refused_before_anything_is_dialled(secured: Secured) -> None:
    """With the way out."""
    host = "db1.abc.ca-west-1.rds.amazonaws.com"
    with pytest.raises(TlsVerificationFailed, match="ca-west-1"):
        await AsyncPostgresProvider(tunnelled(secured, "u", host=host, tls=TlsConfig())).connect()


async def test_a_dialled_name_that_does_not_resolve_is_said(secured: Secured) -> None:
    """It is the tunnel's name that is wrong, not the database's."""
    dial = Dial(host="no-such-host.invalid", port=1)
    with pytest.raises(ServerUnavailable, match=r"no-such-host\.invalid") as caught:
        await aconnect(tunnelled(secured, "u", dial=dial, tls=None))
    assert "dial" in caught.value.hint


def test_a_forgotten_root_file_goes_with_its_owner(own_temporary_folder: Path) -> None:
    """A provider that is deleted without disconnect() leaves nothing."""
    file = PemFile(pem="-----BEGIN CERTIFICATE-----")
    assert os.path.dirname(file.path).startswith(str(own_temporary_folder))  # noqa: PTH120 - a string on both sides
    del file
    assert list(own_temporary_folder.iterdir()) == []


async def test_no_secret_is_in_what_a_refused_login_leaves(secured: Secured, user: str) -> None:
    """Not in the error's texts, not in those of its causes, not in the server's log."""
    superuser(secured.server, "ALTER SYSTEM SET log_statement = 'all'")
    superuser(secured.server, "SELECT pg_reload_conf()")
    secret = SecretStr("canary-" + PASSWORD)
    wanted = tunnelled(secured, user, tls=TlsConfig(ca_pem=secured.ca_pem), auth=PasswordAuth(password=secret))
    with pytest.raises(AuthenticationFailed) as caught:
        await aconnect(wanted)
    error: BaseException | None = caught.value
    seen = secured.server.log_file.read_text("utf-8", errors="replace")
    while error is not None:
        seen += f"{error}{error!r}"
        seen += "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        error = error.__cause__ or error.__context__
    assert "canary" not in seen
    assert isinstance(caught.value.__cause__, psycopg.Error)
