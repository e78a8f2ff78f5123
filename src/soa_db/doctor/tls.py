"""A server's TLS as its clients verify it, and, where that fails, why: the certificate is then looked at by itself.

The module ``ssl`` shows a certificate's fields only once it has verified it. So a second handshake takes whatever
comes, and a third verifies that very certificate against itself, whatever its dates: OpenSSL's
X509_V_FLAG_PARTIAL_CHAIN and X509_V_FLAG_NO_CHECK_TIME (https://docs.openssl.org/3.0/man3/X509_VERIFY_PARAM_set_flags/).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from soa_db.doctor.chain import Broken
from soa_db.doctor.network import Place, dial
from soa_db.doctor.report import Finding, Status

if TYPE_CHECKING:
    from soa_db._runtime.pem import Roots

__all__ = ["Certificate", "Handshake", "NoTls", "Peer", "describe", "name_of", "shake_hands"]

_NO_CHECK_TIME = 0x200000
_DAY = 86400.0
_SOON_DAYS = 30
# X509_V_ERR_… of openssl/x509_vfy.h.
_EXPIRED, _NOT_YET, _SELF_SIGNED = 10, 9, 18
_UNKNOWN_ISSUER = frozenset({2, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})


class NoTls(Exception):
    """The server says that it speaks no TLS."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server's certificate says of itself.

    Attributes:
        subject: whose it is: the common name, or what stands there in its place.
        issuer: who signed it, likewise.
        names: the names and addresses it is good for.
        begins: seconds since the epoch.
        ends: likewise.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins: float
    ends: float

    def days_left(self, now: float) -> int:
        """Whole days until it ends; negative when it has."""
        return int((self.ends - now) // _DAY)


@dataclass(frozen=True, slots=True)
class Handshake:
    """A handshake that went well.

    Attributes:
        certificate: the server's.
        protocol: ``TLSv1.3`` …
        root: the common name of the root it leads to; None where Python does not tell (before 3.13).
    """

    certificate: Certificate
    protocol: str
    root: str | None


@dataclass(frozen=True, slots=True)
class Peer:
    """A server, and how TLS is begun there.

    Attributes:
        place: where it is.
        name: the name its certificate must hold.
        roots: what it is verified against, for people.
        context: makes a fresh context that verifies as the driver does.
        begin: says what the protocol wants said before the handshake; raises NoTls.
        plain: whether the server answers without TLS.
        timeout: seconds for each connection.
    """

    place: Place
    name: str
    roots: str
    context: Callable[[], ssl.SSLContext]
    begin: Callable[[socket.socket], None]
    plain: Callable[[Place, float], bool]
    timeout: float


def name_of(roots: Roots | None, otherwise: str) -> str:
    """What people call the roots of a configuration."""
    if roots is None:
        return otherwise
    return f"the roots in {roots.path}" if roots.path is not None else roots.name


def shake_hands(peer: Peer, *, now: float) -> Handshake:
    """Verify a server as its clients do.

    Args:
        peer: the server.
        now: seconds since the epoch.

    Raises:
        Broken: it did not stand up; why, and what to do.
        SoaDbError: the roots cannot be used.
    """
    context = peer.context()
    try:
        with _wrapped(peer, context) as connection:
            return Handshake(
                _certificate(connection.getpeercert() or {}), connection.version() or "", _root_of(connection)
            )
    except ssl.SSLCertVerificationError as error:
        raise _refusal(peer, error, _look(peer), now) from error
    except NoTls as error:
        raise _no_tls(peer) from error
    except (OSError, EOFError) as error:
        # A server without TLS takes the first bytes of a handshake for something of its own, and answers, hangs up or
        # waits for more.
        if peer.plain(peer.place, peer.timeout):
            raise _no_tls(peer) from error
        told = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        if isinstance(error, TimeoutError):
            told = f"no answer within {peer.timeout:g} s"
        hint = "see whether it is this kind of server that answers there, which versions of TLS it speaks, and its log"
        raise Broken(
            f"the TLS handshake with {peer.place} failed: {str(told).lower().replace('_', ' ')}", hint
        ) from error


def describe(seen: Handshake, peer: Peer, now: float) -> Finding:
    """What is told of a handshake that went well: a warning where it soon will not.

    Args:
        seen: what came of it.
        peer: with whom.
        now: seconds since the epoch.
    """
    certificate = seen.certificate
    left = certificate.days_left(now)
    roots = f"{seen.root}, of {peer.roots}" if seen.root else peer.roots
    told = f"{seen.protocol}, verified as {peer.name} by {roots}"
    details = (f"issued to {certificate.subject}, by {certificate.issuer}", f"good for {', '.join(certificate.names)}")
    until = f"until {_day(certificate.ends)} ({left} day{'' if left == 1 else 's'})"
    if left < _SOON_DAYS:
        hint = "renew the certificate before it ends (RDS: apply the pending one, or a current authority's)"
        return Finding("tls", Status.WARNING, f"{told}, {until}", hint, details=details)
    return Finding("tls", Status.OK, f"{told}, {until}", details=details)


def _wrapped(peer: Peer, context: ssl.SSLContext) -> ssl.SSLSocket:
    connection, _ = dial(peer.place, peer.timeout)
    try:
        peer.begin(connection)
        return context.wrap_socket(connection, server_hostname=peer.name)
    except BaseException:
        connection.close()
        raise


def _look(peer: Peer) -> Certificate | None:
    """Return the certificate that is shown there, good or not; None where it cannot be had."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    try:
        with _wrapped(peer, anyone) as connection:
            shown = connection.getpeercert(binary_form=True)
        itself = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        itself.check_hostname = False
        itself.load_verify_locations(cadata=shown)
        itself.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        with _wrapped(peer, itself) as connection:
            return _certificate(connection.getpeercert() or {})
    except (OSError, ValueError, Broken, NoTls):
        return None


def _certificate(fields: Any) -> Certificate:
    return Certificate(
        subject=_name(fields.get("subject", ())),
        issuer=_name(fields.get("issuer", ())),
        names=tuple(str(value) for _, value in fields.get("subjectAltName", ())),
        begins=float(ssl.cert_time_to_seconds(fields["notBefore"])),
        ends=float(ssl.cert_time_to_seconds(fields["notAfter"])),
    )


def _name(parts: Any) -> str:
    said = {str(key): str(value) for part in parts for key, value in part}
    known = ("commonName", "organizationalUnitName", "organizationName")
    return next((said[key] for key in known if key in said), "nobody named")


def _root_of(connection: ssl.SSLSocket) -> str | None:
    chain = getattr(connection, "get_verified_chain", None)
    if chain is None:  # before Python 3.13
        return None
    reader = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    reader.load_verify_locations(cadata=chain()[-1])
    return next((_name(root.get("subject", ())) for root in reader.get_ca_certs()), None)


def _no_tls(peer: Peer) -> Broken:
    hint = "turn TLS on at the server, or see whether this is the right port; a password must not travel in plain text"
    return Broken(f"{peer.place} speaks no TLS: it is a plain-text server", hint)


def _day(seconds: float) -> str:
    """A date, as people read it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _refusal(peer: Peer, error: ssl.SSLCertVerificationError, seen: Certificate | None, now: float) -> Broken:
    """What is wrong with a certificate, and the next step."""
    details = (
        () if seen is None else (f"issued to {seen.subject}, by {seen.issuer}", f"good for {', '.join(seen.names)}")
    )
    issuer = f" {seen.issuer}" if seen else ""
    whole = f"the certificate of {peer.place}"
    authority = f"an authority in the chain of {whole}"
    match error.verify_code:
        case code if code == _EXPIRED:
            hint = (
                "renew it (RDS: a certificate of a current authority); if the date is to come, set this machine's clock"
            )
            if seen is None:
                told = f"{whole}, or an authority's in its chain, has expired"
            else:
                told = f"{whole} has expired on {_day(seen.ends)}" if seen.ends < now else f"{authority} has expired"
            return Broken(told, hint, *details)
        case code if code == _NOT_YET:
            hint = "this machine's clock is slow (NTP), or the certificate was put there too early"
            if seen is None:
                told = f"{whole}, or an authority's in its chain, is not valid yet"
            elif seen.begins > now:
                told = f"{whole} is not valid before {_day(seen.begins)}"
            else:
                told = f"{authority} is not valid yet"
            return Broken(told, hint, *details)
        case code if code in _OTHER_NAME:
            names = f": it is for {', '.join(seen.names) or seen.subject}" if seen else ""
            hint = (
                "name the host as its certificate does; through a tunnel or CNAME keep `host` that name and set `dial`"
            )
            return Broken(f"the certificate of {peer.place} is not for the name {peer.name}{names}", hint, *details)
        case code if code == _SELF_SIGNED:
            hint = f"it is none of {peer.roots}: put it (or better, an authority's) in SOA_DB_CA_FILE or tls.ca_file"
            return Broken(f"the certificate of {peer.place} is self-signed", hint, *details)
        case code if code in _UNKNOWN_ISSUER:
            hint = (
                f"its authority is none of {peer.roots}: name the right one in SOA_DB_CA_FILE or tls.ca_file, and see "
                "that it is your server that answers; where it is an intermediate one, have the server send the chain"
            )
            return Broken(f"the certificate of {peer.place} is of an unknown authority{issuer}", hint, *details)
        case _:
            hint = (
                f"look at the chain: `openssl s_client -showcerts -connect {peer.place}` (PostgreSQL: with "
                "`-starttls postgres`)"
            )
            return Broken(f"the certificate of {peer.place} was refused: {error.verify_message}", hint, *details)
