"""What pymongo's monitors hear from the servers while a provider connects."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pymongo.monitoring import ServerHeartbeatListener

from soa_db._core.mongo.classify import Category
from soa_db._mongo.failures import category_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.monitoring import (
        ServerHeartbeatFailedEvent,
        ServerHeartbeatStartedEvent,
        ServerHeartbeatSucceededEvent,
    )

__all__ = ["CertificateWatch"]


class CertificateWatch(ServerHeartbeatListener):
    """Tells at once when no server's certificate stands up.

    pymongo itself tries on until its server selection timeout, and a certificate does not get better meanwhile. One
    server whose certificate is good is enough to go on; it may name members that are not among those of the config.

    Args:
        servers: how many there are to connect to.
        refused: called when the certificate of every one of them was refused.
    """

    def __init__(self, servers: int, refused: Callable[[], object]) -> None:
        self.error: Exception | None = None
        self._servers = servers
        self._refused = refused
        self._good: set[tuple[str, int | None]] = set()
        self._bad: dict[tuple[str, int | None], Exception] = {}
        # The monitors of the blocking client are threads.
        self._guard = threading.Lock()

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        """Do nothing."""

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """Note a server whose certificate is good, perhaps refused before."""
        with self._guard:
            self._good.add(event.connection_id)
            self._bad.pop(event.connection_id, None)

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """Note a refused certificate."""
        error = event.reply
        if category_of(error) is not Category.CERTIFICATE:
            return
        with self._guard:
            self._good.discard(event.connection_id)
            self._bad[event.connection_id] = error
            if self._good or len(self._bad) < self._servers:
                return
            self.error = error
        self._refused()
