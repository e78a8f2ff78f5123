"""Names and sockets: what a host resolves to, and whether its port answers."""

from __future__ import annotations

import errno
import socket
import time
from dataclasses import dataclass
from ipaddress import ip_address

from soa_db.doctor.chain import Broken

__all__ = ["Place", "Reached", "dial", "is_public", "reach", "resolve"]

_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is: a host's name and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reached:
    """A port that answered.

    Attributes:
        address: the address of it.
        seconds: how long the connection took.
    """

    address: str
    seconds: float


def resolve(host: str) -> tuple[str, ...]:
    """Return the addresses of a host.

    Raises:
        Broken: it has none, or the resolver does not answer.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            hint = "see whether this machine has a network and a name server (/etc/resolv.conf); then try again"
            raise Broken(f"the resolver does not answer for {host}", hint) from error
        hint = "check the name where it is kept; a private name resolves within its VPC (or through its VPN) only"
        raise Broken(f"{host} does not resolve: {error.strerror}", hint) from error
    except UnicodeError as error:  # a label that DNS has no room for
        raise Broken(f"{host!r} cannot be a host's name", "correct it where it is kept") from error
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an address is one of the internet's."""
    return ip_address(address.partition("%")[0]).is_global


def dial(place: Place, timeout: float) -> tuple[socket.socket, float]:
    """Return a connection to a port and the seconds it took to make.

    Args:
        place: the port.
        timeout: seconds for each address.

    Raises:
        Broken: it was refused, there was no answer, or no way to it.
    """
    begun = time.monotonic()
    try:
        return socket.create_connection((place.host, place.port), timeout=timeout), time.monotonic() - begun
    except ConnectionRefusedError as error:
        hint = "see whether the server runs and listens there, and whether the port is the right one"
        raise Broken(f"{place} refuses connections: nothing listens on that port", hint) from error
    except TimeoutError as error:
        hint = (
            "something swallows the packets: check the security group, the network ACL, routes and VPN, "
            "and that the instance runs"
        )
        raise Broken(f"{place} does not answer within {timeout:g} s", hint) from error
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno in _UNREACHABLE:
            hint = "this network has no route to it: connect the VPN, or run this within the VPC"
            raise Broken(f"there is no way to {place}: {error.strerror}", hint) from error
        told = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise Broken(f"{place} cannot be reached: {told}", "check host, port and network path") from error


def reach(place: Place, timeout: float) -> Reached:
    """Connect and hang up; raises Broken like ``dial``."""
    connection, seconds = dial(place, timeout)
    with connection:
        return Reached(str(connection.getpeername()[0]), seconds)
