"""What is dialled in the place of a host, as libpq takes it: addresses, which it does not resolve."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from soa_db.errors import ServerUnavailable

if TYPE_CHECKING:
    from soa_db.config import PostgresConfig

__all__ = ["dialled_addresses"]


def dialled_addresses(config: PostgresConfig) -> list[str]:
    """Return the IP addresses of ``dial``, none without one: libpq verifies ``host`` and dials ``hostaddr``.

    Raises:
        ServerUnavailable: the name is not known here.
    """
    dial = config.dial
    if dial is None:
        return []
    try:
        found = socket.getaddrinfo(dial.host, dial.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        from soa_db._psycopg.failures import context_of

        raise ServerUnavailable(
            f"the dialled host {dial.host} cannot be resolved: {error}",
            hint="check `dial` and whether the tunnel's name is known here",
            **context_of(config, config.user),
        ) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
