"""Where the values of a MongoDB config come from: a secret's payload, a list of hosts, the secret of a CA."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from soa_db.errors import SecretMalformed
from soa_db.sources.fields import Payload, is_host, is_name_or_address, malformed, read_endpoint, read_port, read_text

__all__ = [
    "MOST_HOSTS",
    "Address",
    "MongoSecret",
    "read_ca_payload",
    "read_mongo_hosts",
    "read_mongo_login",
    "read_mongo_payload",
]

Address = tuple[str, int]
"""Host and port."""

MOST_HOSTS = 50
"""The members a replica set can have: https://www.mongodb.com/docs/manual/reference/limits/#replica-sets."""


@dataclass(frozen=True, slots=True)
class MongoSecret:
    """What the payload of a MongoDB secret says; None where it says nothing."""

    password: str | None = field(default=None, repr=False)
    user: str | None = None
    hosts: tuple[Address, ...] | None = None
    database: str | None = None
    replica_set: str | None = None


def read_mongo_login(payload: Payload, secret_id: str) -> MongoSecret:
    """Return the fields ``{username?, password?}`` of a secret; a user without a password is an error.

    Raises:
        SecretMalformed: a field is missing, empty or of another type; the message names it.
    """
    user, password = read_text(payload, "username", secret_id), read_text(payload, "password", secret_id)
    if user is not None and password is None:
        raise malformed(secret_id, "password", "is missing")
    return MongoSecret(password, user)


def read_mongo_payload(payload: Payload, secret_id: str, *, default_port: int | None = None) -> MongoSecret:
    """Return the fields ``{username?, password?, hosts | host+port, database?, replica_set?}`` of a secret.

    ``hosts`` is text or a list of texts, and wins over ``host`` and ``port``. A server may know no users, so that
    both ``username`` and ``password`` are missing; a user without a password is an error.

    Args:
        payload: the secret's JSON object; what else stands in it is nobody's business here.
        secret_id: whose payload it is, for messages.
        default_port: the port where ``host`` stands without one; an error when left out.

    Raises:
        SecretMalformed: a field is missing, empty or of another type; the message names it.
    """
    return replace(
        read_mongo_login(payload, secret_id),
        hosts=_hosts(payload, secret_id, default_port),
        database=read_text(payload, "database", secret_id),
        replica_set=read_text(payload, "replica_set", secret_id),
    )


def _hosts(payload: Payload, secret_id: str, default_port: int | None) -> tuple[Address, ...] | None:
    given = payload.get("hosts")
    if given is not None:
        match given:
            case str():
                text = given
            case list() if all(isinstance(one, str) for one in given):
                text = ",".join(given)
            case _:
                raise malformed(secret_id, "hosts", "is neither text nor a list of texts")
        try:
            return read_mongo_hosts(text)
        except ValueError as fault:
            raise malformed(secret_id, "hosts", str(fault)) from None
    host = read_text(payload, "host", secret_id)
    if host is None:
        return None
    if not is_host(host) or not is_name_or_address(host):
        raise malformed(secret_id, "host", "is not one host name or address")
    port = payload.get("port")
    port = default_port if port is None else port
    if port is None:
        raise malformed(secret_id, "port", "is missing")
    number = read_port(port)
    if number is None:
        raise malformed(secret_id, "port", "is not a port number from 1 to 65535")
    return ((host, number),)


def read_mongo_hosts(text: str, *, default_port: int | None = None) -> tuple[Address, ...]:
    """Return the hosts of a comma-separated list of ``host:port`` or ``[address]:port``; blanks are ignored.

    Args:
        text: the list.
        default_port: the port of a host that names none; an error when left out.

    Raises:
        ValueError: it is no such list; the text, which quotes nothing of it, goes on a sentence that names its origin.
    """
    hosts = []
    pieces = [piece for piece in (part.strip() for part in text.split(",")) if piece]
    for number, piece in enumerate(pieces, start=1):
        found = read_endpoint(piece)
        if found is None or (default_port is not None and ":" in found[0] and not piece.startswith("[")):
            raise ValueError(f"holds a host, number {number}, that is not host:port or [IPv6 address]:port")
        port = found[1] if found[1] is not None else default_port
        if port is None:
            raise ValueError(f"holds a host, number {number}, without a port: write host:port or [IPv6 address]:port")
        hosts.append((found[0], port))
    if not hosts:
        raise ValueError("names no host")
    if len(hosts) > MOST_HOSTS:
        raise ValueError(f"names {len(hosts)} hosts; a replica set has {MOST_HOSTS} members at most")
    return tuple(hosts)


def read_ca_payload(payload: Payload, secret_id: str, *, now: float) -> str:
    """Return the certificates of the secret ``{ca_cert: PEM}`` that servers are verified against.

    Args:
        payload: the secret's JSON object.
        secret_id: whose payload it is, for messages.
        now: seconds since the epoch.

    Raises:
        SecretMalformed: the field is missing, is no PEM, or holds no certificate that is valid now.
    """
    pem = read_text(payload, "ca_cert", secret_id)
    if pem is None:
        raise malformed(secret_id, "ca_cert", "is missing")
    # Loaded here: dev, where there is no CA, does without.
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, TypeError, ValueError):
        # Not from its cause: nothing of a secret is shown, whatever OpenSSL says of it.
        raise malformed(secret_id, "ca_cert", "is not a certificate in PEM") from None
    spans = [
        (ssl.cert_time_to_seconds(str(one["notBefore"])), ssl.cert_time_to_seconds(str(one["notAfter"])))
        for one in context.get_ca_certs()
    ]
    # Old and new stand side by side while a CA is replaced: one that is valid is enough.
    if spans and not any(begin <= now <= end for begin, end in spans):
        last = max(end for _, end in spans)
        told = f"has expired on {datetime.fromtimestamp(last, UTC):%Y-%m-%d}" if now > last else "is not valid yet"
        raise SecretMalformed(
            f"in the secret {secret_id} the certificate in the field 'ca_cert' {told}",
            hint="put the CA that signs the servers' certificates now into the secret",
        )
    return pem
