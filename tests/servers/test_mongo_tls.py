"""TLS between a MongoDB provider and its server: what is trusted, and where it lies meanwhile."""

from __future__ import annotations

import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.servers.aws_kit import settle
from tests.servers.mongo_kit import KINDS, config_of, connected

from soa_db import ConfigurationError, MongoConfig, MongoOptions, ServerUnavailable, TlsConfig, TlsVerificationFailed
from soa_db._mongo.options import client_options
from soa_db.config import Dial
from soa_db.local.mongo import MongoServer
from soa_db.local.tls import ServerTls


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of provider in turn."""
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go during the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def ca_pem(server_tls: ServerTls) -> str:
    """The CA of the session's servers."""
    assert server_tls.ca_pem is not None
    return server_tls.ca_pem.decode()


@pytest.mark.parametrize("source", ["ca_pem", "ca_file", "variable"])
async def test_a_certificate_is_verified_by_what_is_given(
    mongo_tls_server: MongoServer, server_tls: ServerTls, kind: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As text, as a file, or by SOA_DB_CA_FILE."""
    if source == "variable":
        monkeypatch.setenv("SOA_DB_CA_FILE", str(mongo_tls_server.ca_file))
    given = {"ca_pem": ca_pem(server_tls), "ca_file": str(mongo_tls_server.ca_file)}
    tls = TlsConfig(**{source: given[source]} if source in given else {})
    async with connected(kind, config_of(mongo_tls_server, tls=tls)) as provider:
        assert await settle(provider.ping())
        assert provider.client.options.retry_writes is True


def test_the_files_are_private_nowhere_guessable_and_gone_once_read(
    server_tls: ServerTls, folder: Path, tmp_path: Path
) -> None:
    """Two of one name at once do not meet; the client certificate's key is as private as the CA."""
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    cert.write_bytes(server_tls.cert_pem)
    key.write_bytes(server_tls.key_pem)
    tls = TlsConfig(ca_pem=ca_pem(server_tls), cert=str(cert), key=str(key))
    config = MongoConfig(instance_name="one", hosts=[{"host": "h"}], database="d", tls=tls)
    with ExitStack() as stack:
        found = [stack.enter_context(client_options(config)) for _ in range(2)]
        paths = [Path(one[name]) for one in found for name in ("tlsCAFile", "tlsCertificateKeyFile")]
        assert len({path.parent for path in paths}) == 4
        for path in paths:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert "one" not in path.name
        assert paths[0].read_text() == ca_pem(server_tls)
        assert server_tls.key_pem.decode().strip() in paths[1].read_text()
    assert not any(path.parent.exists() for path in paths)


async def test_nothing_is_on_disk_while_connected(
    mongo_tls_server: MongoServer, server_tls: ServerTls, kind: str, folder: Path
) -> None:
    """New connections need no file, and a restart finds none."""
    config = config_of(mongo_tls_server, tls=TlsConfig(ca_pem=ca_pem(server_tls)))
    for _ in range(2):
        async with connected(kind, config) as provider:
            assert list(folder.iterdir()) == []
            await settle(provider.drain())
            assert await settle(provider.ping())


@pytest.fixture(scope="module")
def other_ca() -> str:
    """A CA that signed nothing here."""
    return trustme.CA().cert_pem.bytes().decode()


@pytest.mark.parametrize("how", ["wrong CA", "certifi", "wrong name"])
async def test_a_certificate_that_does_not_stand_up_fails_at_once(
    mongo_tls_server: MongoServer, server_tls: ServerTls, kind: str, how: str, other_ca: str
) -> None:
    """Long before the driver would give up, which here would take ten seconds for each of three attempts."""
    changes: dict[str, dict[str, Any]] = {
        "wrong CA": {"tls": TlsConfig(ca_pem=other_ca)},
        "certifi": {"tls": TlsConfig()},
        # Another spelling of the address, which the certificate does not hold.
        "wrong name": {
            "tls": TlsConfig(ca_pem=ca_pem(server_tls)),
            "dial": Dial(host="127.1", port=mongo_tls_server.port),
        },
    }
    start = time.monotonic()
    with pytest.raises(TlsVerificationFailed) as caught:
        await settle(KINDS[kind](config_of(mongo_tls_server, **changes[how])).connect())
    assert time.monotonic() - start < 8
    assert caught.value.hint


@pytest.mark.parametrize("verify", ["ca", "none"])
async def test_verification_can_be_weakened_on_request(
    mongo_tls_server: MongoServer, server_tls: ServerTls, kind: str, verify: Any
) -> None:
    """The chain only, or nothing."""
    tls = TlsConfig(ca_pem=ca_pem(server_tls) if verify == "ca" else None, verify=verify)
    async with connected(kind, config_of(mongo_tls_server, tls=tls)) as provider:
        assert await settle(provider.ping())


async def test_one_kind_of_talk_where_the_other_is_expected_is_told(
    mongo_tls_server: MongoServer, mongo_server: MongoServer, server_tls: ServerTls, kind: str
) -> None:
    """Plain text to a server that demands TLS, and TLS to one that knows none: unavailable, with TLS in the hint."""
    options = MongoOptions(server_selection_timeout=0.3)
    for server, tls in ((mongo_tls_server, None), (mongo_server, TlsConfig(ca_pem=ca_pem(server_tls)))):
        provider = KINDS[kind](config_of(server, tls=tls, options=options))
        provider._enter()
        config, credentials = await settle(provider._principal.resolve())
        with pytest.raises(ServerUnavailable, match="TLS"):
            await settle(provider._probe(_login_class(kind)(config, credentials)))


def _login_class(kind: str) -> Any:
    from soa_db._async.mongo.pool import AsyncLogin
    from soa_db._sync.mongo.pool import Login

    return AsyncLogin if kind == "async" else Login


@pytest.fixture(scope="module")
def demanding(server_folder: Path) -> Iterator[tuple[MongoServer, trustme.CA]]:
    """A server that demands client certificates, and the CA that signs them."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1")
    tls = ServerTls(
        b"".join(part.bytes() for part in own.cert_chain_pems),
        own.private_key_pem.bytes(),
        client_ca_pem=authority.cert_pem.bytes(),
        ca_pem=authority.cert_pem.bytes(),
    )
    server = MongoServer(server_folder / "mongo-client-certificates", tls=tls)
    try:
        server.start()
        yield server, authority
    finally:
        server.remove()


async def test_a_client_certificate_is_shown(
    demanding: tuple[MongoServer, trustme.CA], kind: str, tmp_path: Path
) -> None:
    """Certificate and key in two files, or in one."""
    server, authority = demanding
    issued = authority.issue_cert("client")
    cert, key, both = tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "both.pem"
    cert.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    both.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    for one, other in ((cert, key), (both, both)):
        tls = TlsConfig(ca_file=str(server.ca_file), cert=str(one), key=str(other))
        async with connected(kind, config_of(server, tls=tls)) as provider:
            assert await settle(provider.ping())


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"ca_pem": "no certificate"}, "tls.ca_pem holds no certificate"),
        ({"ca_file": "/nowhere/ca.pem"}, "tls.ca_file names /nowhere/ca.pem"),
        ({"ca_file": __file__}, "tls.ca_file holds no certificate"),
        ({"verify": "none", "cert": "/nowhere/c.pem", "key": "/nowhere/k.pem"}, "tls.cert names"),
        ({"verify": "none", "cert": __file__, "key": __file__}, "cannot be used together"),
    ],
)
async def test_files_that_cannot_be_used_are_named(kind: str, tls: dict[str, Any], words: str) -> None:
    """Before anything is dialled."""
    config = MongoConfig(instance_name="x", hosts=[{"host": "localhost"}], database="d", tls=TlsConfig(**tls))
    with pytest.raises(ConfigurationError, match=words):
        await settle(KINDS[kind](config).connect())


def test_an_encrypted_key_is_refused_and_its_password_not_asked_for(tmp_path: Path) -> None:
    """OpenSSL would read it from the terminal, and wait."""
    issued = trustme.CA().issue_cert("client")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"key-password"),
    )
    both = tmp_path / "both.pem"
    both.write_bytes(locked + issued.cert_chain_pems[0].bytes())
    tls = TlsConfig(verify="none", cert=str(both), key=str(both))
    config = MongoConfig(instance_name="x", hosts=[{"host": "localhost"}], database="d", tls=tls)
    with pytest.raises(ConfigurationError, match="cannot be used together"), client_options(config):
        pytest.fail("taken")
