"""The parts every engine's sources are read with: fields of a secret, hosts, ports, the host of a URL."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from soa_db.errors import ConfigurationError, SecretMalformed

__all__ = [
    "Payload",
    "host_and_port",
    "host_of",
    "is_host",
    "is_local",
    "is_name_or_address",
    "malformed",
    "one_user",
    "read_endpoint",
    "read_port",
    "read_text",
]

Payload = Mapping[str, object]


def read_text(payload: Payload, name: str, secret_id: str) -> str | None:
    """Return a field of a secret that is text, None when it is not there; raises SecretMalformed."""
    match payload.get(name):
        case None:
            return None
        case "":
            raise malformed(secret_id, name, "is empty")
        case str(text) if "\0" not in text:
            return text
        case str():
            raise malformed(secret_id, name, "holds a NUL character")
        case _:
            raise malformed(secret_id, name, "is not text")


def malformed(secret_id: str, name: str, fault: str) -> SecretMalformed:
    """Return the error that names a field of a secret, never its value."""
    hint = "see the payload in the naming contract; provision anew, or mend it by hand"
    return SecretMalformed(f"in the secret {secret_id} the field {name!r} {fault}", hint=hint)


def one_user(user: str | None, username: str | None) -> str | None:
    """Return the user given under either of its names; raises ConfigurationError where they differ."""
    if user is not None and username is not None and user != username:
        raise ConfigurationError("user and username differ", hint="they mean the same: give one")
    return user if user is not None else username


def read_port(value: object) -> int | None:
    """Return a port given as a number or as text, or None when it is not one."""
    match value:
        case bool():
            return None
        case int():
            number = value
        case str() if value.isascii() and value.isdecimal() and len(value) <= 5:
            number = int(value)
        case _:
            return None
    return number if 1 <= number <= 65535 else None


def is_host(host: str) -> bool:
    """Whether it may be one host name or address."""
    return bool(host) and not any(char.isspace() or ord(char) < 32 or char == "," for char in host)


def host_and_port(text: str) -> tuple[str, int]:
    """Return host and port of ``host:port`` or ``[address]:port``; raises ConfigurationError."""
    host, _, port = text.rpartition(":")
    number = read_port(port)
    bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if number is None or not is_host(bare) or (":" in bare and bare == host):
        raise ConfigurationError(f"{text!r} is not host:port", hint="e.g. localhost:15432 or [::1]:15432")
    return bare, number


def read_endpoint(text: str) -> tuple[str, int | None] | None:
    """Return host and port of ``host``, ``host:port``, an IPv6 address or ``[address]:port``, or None."""
    host, port = text, ""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            return None
        port = rest[1:]
        if rest and not port:
            return None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            return None
    number = read_port(port) if port else None
    if not is_host(host) or (port and number is None) or not is_name_or_address(host):
        return None
    return host, number


def is_name_or_address(host: str) -> bool:
    """Whether it is a name or an IP address, and not a URL, whose password would be shown as a host's name."""
    if ":" not in host:
        return not any(char in "/@?#%" for char in host)
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Whether ``host`` is a socket folder or the loopback interface, where TLS is not the default."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith(("/", "@"))


def host_of(netloc: str) -> str:
    """Return the host in a URL's authority, its case kept: a host can be the folder of a socket (%2Fvar%2Frun)."""
    address = netloc.rpartition("@")[2]
    return address[1:].partition("]")[0] if address.startswith("[") else address.partition(":")[0]
