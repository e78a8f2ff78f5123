"""Django's own pool (``OPTIONS: {"pool": …}``) with a source of connections that asks for credentials each time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from soa_db._core.classify import Failure
from soa_db._psycopg.failures import is_standby
from soa_db._psycopg.fork import detach
from soa_db._runtime import fork
from soa_db._runtime._sync import StopEvent
from soa_db._sync.postgres.checkout import OpenPool
from soa_db._sync.postgres.connector import round_trip
from soa_db._sync.postgres.pool import ConnectionSource, PooledConnection, ProviderPool
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from psycopg import Connection

    from soa_db._sync.postgres.connector import Connector

__all__ = ["CHECK_TIMEOUT", "Pool"]

# Seconds a connection has to answer before it is given up.
CHECK_TIMEOUT = 5.0
# psycopg_pool's, without those that say how connections are made.
_OPTIONS = frozenset(
    {
        "max_idle",
        "max_lifetime",
        "max_size",
        "max_waiting",
        "min_size",
        "name",
        "num_workers",
        "reconnect_failed",
        "reconnect_timeout",
        "reset",
        "timeout",
    }
)


class Pool(ProviderPool):
    """The pool of one alias, shared by the threads of a process.

    Args:
        connector: makes the connections, and sets them up.
        check_each: whether every connection has to answer before it is handed out (CONN_HEALTH_CHECKS); otherwise only
            those that an incident has put in doubt.
        options: the mapping in the settings.
        made_for: the setting NAME.

    Attributes:
        made_for: likewise.
        inherited: it is a forked child's copy, and the parent's.
    """

    inherited = False

    def __init__(
        self,
        connector: Connector,
        *,
        check_each: bool,
        options: Mapping[str, Any],
        made_for: str | None,
    ) -> None:
        for option in options:
            if option not in _OPTIONS:
                hint = "known are " + ", ".join(sorted(_OPTIONS))
                raise ConfigurationError(f"OPTIONS['pool'] has an unknown {option!r}", hint=hint)
        self.source = ConnectionSource(connector, StopEvent())
        self._opened_as = OpenPool(connector.config, self.source, self)
        self._check_each = check_each
        self.made_for = made_for
        try:
            super().__init__(
                connection_class=PooledConnection,
                kwargs={"source": self.source},
                check=self._prove,
                open=False,
                **options,
            )
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"OPTIONS['pool'] cannot be used: {error}") from error
        self.source.serve(self)
        fork.watch(self)

    def _prove(self, conn: PooledConnection) -> None:
        self.source.check(conn)
        if self._check_each and conn.refusal is None:
            round_trip(conn, CHECK_TIMEOUT)

    def take(self) -> PooledConnection:
        """Return a connection; raises PoolTimeout, or the refusal that explains why there is none."""
        self.open()
        return self._opened_as.take(None)

    def distrust(self, conn: Connection[Any]) -> None:
        """Have all connections as old as this one, which has failed, answer before they are handed out again."""
        assert isinstance(conn, PooledConnection)
        standby = is_standby(conn)
        self.source.failed(conn, Failure("Error", "25006" if standby else None, broken=not standby, standby=standby))

    def close(self, timeout: float = 5.0) -> None:
        """Close it for good."""
        # First, so that no worker waits for a server that is away.
        self.source.close()
        super().close(timeout)

    def after_fork_in_child(self) -> None:
        """Leave it to the parent."""
        self.inherited = True
        self.abandon()
        detach(self.source.live())
