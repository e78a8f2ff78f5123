"""SQLAlchemy's pool over a provider's: it keeps no connection, it lends the provider's.

SQLAlchemy keeps a record per connection: whether its ``connect`` events were run, what they set on it. Here the record
stays with the provider's connection, so that these events run once per physical connection, as in SQLAlchemy's own
pools; what they set in the driver is there whenever the engine has the connection, and not when others have it.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _ConnectionRecord

from soa_db._psycopg.failures import session_failure
from soa_db.sqlalchemy.driver import exchange, state_for

if TYPE_CHECKING:
    import asyncio

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

    from soa_db.sqlalchemy.driver import State

__all__ = ["Lending", "Loan"]


class Loan(_ConnectionRecord):
    """SQLAlchemy's record of one of the provider's connections, and of its being lent.

    Attributes:
        conn: the provider's connection, while it is lent.
        opened: the provider's pool it goes back to.
        state: what the engine has set on it; None before the first use.
        made: what the provider had set on it.
        error: why SQLAlchemy gave it up.
        collected: it comes back from a garbage collection.
        loop: the event loop it is used in.
    """

    conn: Any = None
    opened: Any = None
    state: State | None = None
    made: State = ((), ())
    error: BaseException | None = None
    collected = False
    loop: asyncio.AbstractEventLoop | None = None

    def checkin(self, _fairy_was_created: bool = True) -> None:
        """Give it back; take note whether the one who had it was collected."""
        borrower = self.fairy_ref
        self.collected = borrower is not None and borrower() is None
        super().checkin(_fairy_was_created)

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:
        """Give it up, now or (soft) when it comes back."""
        if not soft:
            self.error = e
        super().invalidate(e, soft)


class Lending(Pool):
    """What both kinds do alike. ``_wrapped`` to ``_leave`` are the kinds' own."""

    def __init__(self, provider: Any, **options: Any) -> None:
        super().__init__(self._create, **options)  # type: ignore[arg-type]  # it makes one of our records
        self._provider = provider
        self._loans: dict[Any, Loan] = {}
        # Weak, and a record holds no connection while nobody has it: it must not outlive the provider's.
        self._known: weakref.WeakKeyDictionary[Any, Loan] = weakref.WeakKeyDictionary()

    # --- what SQLAlchemy calls

    def _do_get(self) -> Loan:
        opened, conn = self._take()
        loan = self._known.get(conn)
        if loan is None:
            # SQLAlchemy goes on with `_create` and the events.
            loan = Loan(self, connect=False)
            self._begin(loan, opened, conn)
        else:
            self._begin(loan, opened, conn)
            loan.dbapi_connection = self._wrapped(loan)
        return loan

    def _create(self, connection_record: Any) -> DBAPIConnection:
        loan: Loan = connection_record
        if self._loans.get(loan.conn) is not loan:
            # The one it had was given up between being taken and being used.
            self._begin(loan, *self._take())
        loan.state = state_for(loan.conn, self._dialect)
        self._known[loan.conn] = loan
        return self._wrapped(loan)

    def _begin(self, loan: Loan, opened: Any, conn: Any) -> None:
        loan.opened, loan.conn, loan.error, loan.collected = opened, conn, None, False
        self._loans[conn] = loan

    def _lend(self, loan: Loan) -> Any:
        assert loan.state is not None
        loan.made = exchange(loan.conn, loan.state)
        return loan.conn

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        assert isinstance(record, Loan)
        loan, conn = record, record.conn
        if conn is None or self._loans.get(conn) is not loan:
            return  # closed meanwhile
        if loan.dbapi_connection is None:
            del self._loans[conn]
            self._known.pop(conn, None)
            self._leave(loan)
        elif loan._soft_invalidate_time > loan.starttime:  # noqa: SLF001 - our own record
            # Given up: SQLAlchemy closes such a connection at its next checkout, which here may be another's.
            loan.close()
        else:
            loan.dbapi_connection = None
            del self._loans[conn]
            self._give_back(loan)

    def _close_connection(self, connection: DBAPIConnection, *, terminate: bool = False) -> None:
        conn = self._native(connection)
        loan = self._loans.pop(conn, None)
        if loan is None:  # detached
            super()._close_connection(connection, terminate=terminate)
            return
        self._known.pop(conn, None)
        if isinstance(loan.error, Exception):
            # Before it is closed: a connection that broke tells so.
            loan.opened.source.failed(conn, session_failure(loan.error, conn))
        loan.conn = None
        self._close(loan.opened, conn)

    def _invalidate(
        self,
        connection: PoolProxiedConnection,
        exception: BaseException | None = None,
        _checkin: bool = True,
    ) -> None:
        # The provider's generation says what becomes of the others: they are checked, not thrown away.
        if _checkin and getattr(connection, "is_valid", False):
            connection.invalidate(exception)

    def _native(self, connection: Any) -> Any:
        return self._dialect.get_driver_connection(connection)

    def recreate(self) -> Pool:
        """Return a pool as new on the same provider: ``connect`` events run anew."""
        return type(self)(
            self._provider,
            echo=self.echo,
            pre_ping=self._pre_ping,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def dispose(self) -> None:
        """Forget what was set on the connections. They are the provider's: none is closed."""
        self._known = weakref.WeakKeyDictionary()

    def status(self) -> str:
        """Say how many connections the engine has, and whose they are."""
        return f"{len(self._loans)} connections lent by {self._provider!r}"

    def checkedout(self) -> int:
        """Return how many connections the engine has."""
        return len(self._loans)

    # --- the kinds' own

    @abstractmethod
    def _take(self) -> tuple[Any, Any]:
        """Borrow a connection; return the provider's pool too."""

    @abstractmethod
    def _wrapped(self, loan: Loan) -> DBAPIConnection:
        """Lend it: the connection as the engine uses it."""

    @abstractmethod
    def _give_back(self, loan: Loan) -> None:
        """Give it back as the provider made it."""

    @abstractmethod
    def _close(self, opened: Any, conn: Any) -> None:
        """Close it, and give it back closed."""

    @abstractmethod
    def _leave(self, loan: Loan) -> None:
        """Let it go: it is detached."""
