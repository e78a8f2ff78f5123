"""A port for a server of ours."""

from __future__ import annotations

import secrets
import socket

from soa_db.errors import ServerUnavailable

__all__ = ["free_port"]

# Below the range from which Linux takes the source ports of outgoing connections (32768 and up), so that nobody gets
# our port while the server is down between a kill and a restart.
_PORTS = range(15_000, 32_000)


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now; the caller must cope with losing a race for it."""
    chance = secrets.SystemRandom()
    for port in chance.sample(_PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerUnavailable("found no free port on 127.0.0.1")
