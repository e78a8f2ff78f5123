"""``doctor`` and TLS: every way in which a certificate does not stand up is told apart, and so is a plain server."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.integrations.doctor.kit import Doctor, SkewedAws, blamed, only, specs_of
from tests.servers.aws_kit import ACCOUNT
from tests.support.tcp import FaultyProxy

from soa_db import names
from soa_db.doctor import Finding, Report, Status

if TYPE_CHECKING:
    from soa_db.local.mongo import MongoServer
    from soa_db.local.redis import RedisServer

DAY = dt.timedelta(days=1)


class TlsFront:
    """Begins TLS as PostgreSQL does, and hangs up; several connections one after the other.

    Args:
        context: what it shows; None for the answer of a server without TLS.
        answer: what it says to an SSLRequest.
        times: how many handshakes it goes on with; then it hangs up instead.
        silent: whether it says nothing more after its answer, and keeps the connection.
    """

    def __init__(
        self, context: ssl.SSLContext | None, answer: bytes = b"S", *, times: int = 99, silent: bool = False
    ) -> None:
        self._context = context
        self._answer = answer
        self._times = times
        self._silent = silent
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                if not connection.recv(8):
                    continue  # who only asked whether the port is open
                connection.sendall(self._answer)
                if self._silent:
                    while connection.recv(4096):
                        pass
                self._times -= 1
                if self._context is not None and self._times >= 0:
                    with self._context.wrap_socket(connection, server_side=True) as wrapped:
                        wrapped.recv(1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority that is trusted."""
    return trustme.CA(organization_name="the house")


@pytest.fixture
def front(
    aws: SkewedAws, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., TlsFront]]:
    """Put a front with some certificate where mirror's PostgreSQL is."""
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    monkeypatch.setenv("SOA_DB_CA_FILE", str(ca_file))
    with contextlib.ExitStack() as stack:

        def make(certificate: trustme.LeafCert | None, answer: bytes = b"S", **more: Any) -> TlsFront:
            context = None
            if certificate is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                certificate.configure_cert(context)
            made = stack.enter_context(TlsFront(context, answer, **more))
            parameters = {
                names.iam_host_ssm_path("mirror"): "127.0.0.1",
                names.iam_port_ssm_path("mirror"): str(made.port),
            }
            aws.put_parameters(ACCOUNT, parameters)
            return made

        yield make


def signed(
    by: trustme.CA | trustme.LeafCert,
    name: str,
    *,
    begins: dt.timedelta = -DAY,
    ends: dt.timedelta = DAY,
    authority: bool = False,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> trustme.LeafCert:
    """A certificate for 127.0.0.1 that trustme makes none of: an authority's with dates, or for another use.

    Args:
        by: who signs it; of an authority made here, its key and its certificate.
        name: its common name.
        begins: from now.
        ends: from now.
        authority: whether it may sign others.
        usage: what it may be used for.
    """
    if isinstance(by, trustme.CA):
        signer, above = by.cert_pem.bytes(), by.private_key_pem.bytes()
    else:
        signer, above = by.cert_chain_pems[0].bytes(), by.private_key_pem.bytes()
    key = ec.generate_private_key(ec.SECP256R1())
    signing = serialization.load_pem_private_key(above, None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(signer)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() + begins)
        .not_valid_after(now() + ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    made = builder.sign(signing, hashes.SHA256())
    pem = serialization.Encoding.PEM
    kept = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    chain = [] if isinstance(by, trustme.CA) else [one.bytes() for one in by.cert_chain_pems]
    return trustme.LeafCert(kept, made.public_bytes(pem), chain)


def tls_of(report: Report) -> Finding:
    """What was found of TLS; what comes before it is all right, and the login was not tried when it failed."""
    found = {finding.step: finding for finding in only(report).findings}
    assert found["tcp"].status is Status.OK, report
    if found["tls"].status is Status.FAILED:
        assert found["authentication"].reason == "tls"
        assert found["authentication"].status is Status.SKIPPED
    return found["tls"]


def now() -> dt.datetime:
    """Now, as trustme takes it."""
    return dt.datetime.now(dt.UTC)


def test_a_good_certificate_is_described(
    doctor: Doctor, front: Callable[..., TlsFront], authority: trustme.CA, service: str
) -> None:
    """Protocol, name, roots, end; issuer and names among the details."""
    front(authority.issue_cert("127.0.0.1", "db.example", not_after=now() + 400 * DAY))
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror"))
    assert found.status is Status.OK
    assert found.summary.startswith("TLSv1.3, verified as 127.0.0.1 by ")
    assert "ca.pem" in found.summary
    assert "(399 days)" in found.summary
    assert found.details[1] == "good for 127.0.0.1, db.example" or "db.example" in found.details[1]


def test_a_certificate_that_ends_soon_is_a_warning(
    doctor: Doctor, front: Callable[..., TlsFront], authority: trustme.CA, service: str
) -> None:
    """Under thirty days."""
    front(authority.issue_cert("127.0.0.1", not_after=now() + 9 * DAY))
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror"))
    assert found.status is Status.WARNING
    assert "(8 days)" in found.summary
    assert "renew" in found.hint


@pytest.mark.parametrize(
    ("case", "says", "advises"),
    [
        ("expired", "has expired on 2024-01-02", "renew it"),
        ("not yet", "is not valid before", "clock is slow"),
        ("other name", "is not for the name 127.0.0.1: it is for other.example", "`host` that name and set `dial`"),
        ("unknown", "is of an unknown authority Testing CA", "SOA_DB_CA_FILE"),
        ("self-signed", "is self-signed", "SOA_DB_CA_FILE"),
    ],
)
def test_why_a_certificate_does_not_stand_up(
    *,
    doctor: Doctor,
    front: Callable[..., TlsFront],
    authority: trustme.CA,
    service: str,
    case: str,
    says: str,
    advises: str,
) -> None:
    """Each reason in its own words, with its own next step, and what the certificate says of itself."""
    begin, end = dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    match case:
        case "expired":
            certificate = authority.issue_cert("127.0.0.1", not_before=begin, not_after=end)
        case "not yet":
            certificate = authority.issue_cert("127.0.0.1", not_before=now() + 5 * DAY, not_after=now() + 9 * DAY)
        case "other name":
            certificate = authority.issue_cert("other.example")
        case "unknown":
            certificate = trustme.CA().issue_cert("127.0.0.1")
        case _:
            alone = trustme.CA()
            certificate = trustme.LeafCert(alone.private_key_pem.bytes(), alone.cert_pem.bytes(), [])
    front(certificate)
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror"))
    assert found.status is Status.FAILED
    assert says in found.summary
    assert advises in found.hint
    assert found.details


@pytest.mark.parametrize(
    ("case", "says", "advises"),
    [
        ("ended", "an authority in the chain of the certificate of 127.0.0.1:{} has expired", "a current authority"),
        ("to come", "an authority in the chain of the certificate of 127.0.0.1:{} is not valid yet", "clock is slow"),
        ("left out", "is of an unknown authority the middle", "have the server send the chain"),
    ],
)
def test_what_is_wrong_with_an_authority_in_between_is_not_said_of_the_certificate(
    *,
    doctor: Doctor,
    front: Callable[..., TlsFront],
    authority: trustme.CA,
    service: str,
    case: str,
    says: str,
    advises: str,
) -> None:
    """Its dates are good; an intermediate authority's are not, or the server does not send that one at all."""
    dates = {"ended": (-9 * DAY, -DAY), "to come": (DAY, 9 * DAY), "left out": (-DAY, DAY)}
    begins, ends = dates[case]
    middle = signed(authority, "the middle", begins=begins, ends=ends, authority=True)
    certificate = signed(middle, "the server")
    if case == "left out":
        alone = certificate.cert_chain_pems[0].bytes()
        certificate = trustme.LeafCert(certificate.private_key_pem.bytes(), alone, [])
    made = front(certificate)
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror"))
    assert found.status is Status.FAILED
    assert says.format(made.port) in found.summary
    assert advises in found.hint
    assert found.details[0] == "issued to the server, by the middle"


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("ended", "or an authority's in its chain, has expired"),
        ("to come", "or an authority's in its chain, is not valid yet"),
        ("other name", "is not for the name 127.0.0.1"),
        ("unknown", "is of an unknown authority"),
    ],
)
def test_a_certificate_that_is_shown_once_only_is_told_as_far_as_it_is_known(
    *, doctor: Doctor, front: Callable[..., TlsFront], authority: trustme.CA, service: str, case: str, says: str
) -> None:
    """A balancer leads the second connection elsewhere: why it was refused is known, what stands in it is not."""
    certificate = {
        "ended": lambda: signed(authority, "the server", begins=-9 * DAY, ends=-DAY),
        "to come": lambda: signed(authority, "the server", begins=DAY, ends=9 * DAY),
        "other name": lambda: authority.issue_cert("other.example"),
        "unknown": lambda: trustme.CA().issue_cert("127.0.0.1"),
    }[case]()
    front(certificate, times=1)
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror"))
    assert found.status is Status.FAILED
    assert found.summary.endswith(says)
    assert found.hint
    assert found.details == ()


def test_a_certificate_that_is_for_no_server_is_told_in_openssls_words(
    doctor: Doctor, front: Callable[..., TlsFront], authority: trustme.CA, service: str
) -> None:
    """A client's, put there by mistake; the hint is a command that can be copied."""
    made = front(signed(authority, "a client", usage=ExtendedKeyUsageOID.CLIENT_AUTH))
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror"))
    assert re.search("was refused: un(supported|suitable) certificate purpose", found.summary)
    assert f"`openssl s_client -showcerts -connect 127.0.0.1:{made.port}`" in found.hint


def test_a_server_that_falls_silent_in_the_handshake_is_told(
    doctor: Doctor, front: Callable[..., TlsFront], authority: trustme.CA, service: str
) -> None:
    """Before the step's own deadline, so that it is told where the answer is missing."""
    made = front(authority.issue_cert("127.0.0.1"), silent=True)
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror", timeout=1.0))
    assert found.summary == f"the TLS handshake with 127.0.0.1:{made.port} failed: no answer within 0.45 s"
    assert "its log" in found.hint


def test_the_root_that_it_leads_to_is_named(
    doctor: Doctor,
    front: Callable[..., TlsFront],
    authority: trustme.CA,
    service: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of many roots that one; before Python 3.13 by what ``ssl`` has there under another name."""
    if not hasattr(ssl.SSLSocket, "get_verified_chain"):

        def get_verified_chain(self: Any) -> list[bytes]:
            return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in self._sslobj.get_verified_chain()]

        monkeypatch.setattr(ssl.SSLSocket, "get_verified_chain", get_verified_chain, raising=False)
    front(signed(signed(authority, "the middle", authority=True), "the server"))
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror"))
    root = x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject
    (unit,) = root.get_attributes_for_oid(x509.NameOID.ORGANIZATIONAL_UNIT_NAME)
    assert isinstance(unit.value, str)
    assert f"verified as 127.0.0.1 by {unit.value}, of the roots in " in found.summary


def test_an_authority_that_is_not_trusted_is_a_matter_of_the_roots(
    doctor: Doctor,
    front: Callable[..., TlsFront],
    authority: trustme.CA,
    service: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without SOA_DB_CA_FILE it is the bundled roots that do not know it."""
    monkeypatch.delenv("SOA_DB_CA_FILE")
    front(authority.issue_cert("127.0.0.1"))
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror"))
    assert "unknown authority" in found.summary
    assert "none of the bundled RDS and Amazon roots" in found.hint


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"N", "speaks no TLS: it is a plain-text server"),
        (b"H", "something else than PostgreSQL answers"),
        (b"", "the TLS handshake with"),
        (b"S", "the TLS handshake with"),
    ],
)
def test_a_server_without_tls_is_no_bad_certificate(
    doctor: Doctor, front: Callable[..., TlsFront], service: str, answer: bytes, says: str
) -> None:
    """What PostgreSQL says to an SSLRequest, another server, one that hangs up, one that goes on in plain text."""
    front(None, answer)
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror"))
    assert found.status is Status.FAILED
    assert says in found.summary
    assert found.hint


def test_a_region_whose_roots_are_missing_gets_the_known_message(
    *,
    doctor: Doctor,
    front: Callable[..., TlsFront],
    aws: SkewedAws,
    authority: trustme.CA,
    service: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host in a region opened after the bundle was made; its name leads here for once."""
    made = front(authority.issue_cert("127.0.0.1"))
    monkeypatch.delenv("SOA_DB_CA_FILE")
    host, real = "db.abc.ca-west-1.rds.amazonaws.com", socket.getaddrinfo
    aws.put_parameters(
        ACCOUNT, {names.iam_host_ssm_path("mirror"): host, names.iam_port_ssm_path("mirror"): str(made.port)}
    )
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *more, **keys: real("127.0.0.1" if name == host else name, *more, **keys)
    )
    found = tls_of(doctor(specs_of(service, postgres={}), env="mirror"))
    assert "do not cover the region ca-west-1" in found.summary
    assert "ca-west-1-bundle.pem" in found.hint


def test_a_redis_without_tls_is_recognised(
    doctor: Doctor, aws: SkewedAws, redis_server: RedisServer, service: str
) -> None:
    """It takes the handshake for a command and waits for the rest; asked plainly, it answers."""
    payload = {"password": "p", "endpoint": "127.0.0.1", "port": redis_server.port}
    aws.put_secret(ACCOUNT, f"mirror/redis/{service}", payload)
    found = tls_of(doctor(specs_of(service, redis={}), env="mirror", timeout=1.5))
    assert found.status is Status.FAILED
    assert "speaks no TLS" in found.summary
    assert "plain text" in found.hint


def test_a_mongod_without_tls_is_recognised(
    doctor: Doctor, aws: SkewedAws, mongo_server: MongoServer, authority: trustme.CA, service: str
) -> None:
    """Likewise, and one member of two that is away is a warning, not the end."""
    ca_id = aws.put_secret(ACCOUNT, f"{service}-ca", {"ca_cert": authority.cert_pem.bytes().decode()})
    aws.put_parameters(
        ACCOUNT,
        {
            names.mongo_hosts_ssm_path("prod"): f"127.0.0.1:{mongo_server.port},127.0.0.1:1",
            names.mongo_replica_set_ssm_path("prod"): "saga-rs",
            names.mongo_ca_secret_ssm_path("prod"): ca_id,
        },
    )
    payload = {"username": names.mongo_user(service), "password": "p"}
    aws.put_secret(ACCOUNT, names.mongo_secret_name("prod", service), payload)
    report = doctor(specs_of(service, mongo={}), env="prod")
    by_step = [(finding.step, finding.subject, finding.status) for finding in only(report).findings]
    assert ("tcp", f"127.0.0.1:{mongo_server.port}", Status.OK) in by_step
    assert ("tcp", "127.0.0.1:1", Status.WARNING) in by_step
    (found,) = [finding for finding in only(report).findings if finding.step == "tls"]
    assert found.status is Status.FAILED
    assert "speaks no TLS" in found.summary


@pytest.mark.parametrize("engine", ["redis", "mongo"])
def test_a_server_that_hangs_up_in_the_handshake_is_no_plain_one(
    doctor: Doctor, aws: SkewedAws, authority: trustme.CA, service: str, engine: str
) -> None:
    """Asked plainly it does not answer either: it is not told to be turned to TLS."""
    with FaultyProxy("127.0.0.1", 1) as proxy:
        proxy.mode = "hang_up"
        ca_id = aws.put_secret(ACCOUNT, f"{service}-ca", {"ca_cert": authority.cert_pem.bytes().decode()})
        aws.put_parameters(
            ACCOUNT,
            {
                names.mongo_hosts_ssm_path("prod"): f"127.0.0.1:{proxy.port}",
                names.mongo_replica_set_ssm_path("prod"): "saga-rs",
                names.mongo_ca_secret_ssm_path("prod"): ca_id,
            },
        )
        login = {"username": names.mongo_user(service), "password": "p"}
        aws.put_secret(ACCOUNT, names.mongo_secret_name("prod", service), login)
        payload = {"password": "p", "endpoint": "127.0.0.1", "port": proxy.port}
        aws.put_secret(ACCOUNT, names.redis_secret_name("prod", service), payload)
        found = tls_of(doctor(specs_of(service, **{engine: {}}), env="prod", timeout=1.0))
    assert found.status is Status.FAILED
    assert f"the TLS handshake with 127.0.0.1:{proxy.port} failed" in found.summary
    assert "which versions of TLS it speaks" in found.hint


def test_roots_that_cannot_be_read_are_no_fault_of_the_server(
    *,
    doctor: Doctor,
    front: Callable[..., TlsFront],
    authority: trustme.CA,
    service: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that is no PEM, named by its variable; what it holds is not shown."""
    front(authority.issue_cert("127.0.0.1"))
    (tmp_path / "none.pem").write_text("c4nary-Password")
    monkeypatch.setenv("SOA_DB_CA_FILE", str(tmp_path / "none.pem"))
    report = doctor(specs_of(service, postgres={}), env="mirror")
    found = blamed(report)
    assert found.step == "tls"
    assert found.summary == f"the roots in {tmp_path}/none.pem: no certificate can be read there"
    assert "PEM; SOA_DB_CA_FILE" in found.hint
