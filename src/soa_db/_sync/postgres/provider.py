# Generated from src/soa_db/_async/postgres/provider.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""The provider of one PostgreSQL database: a pool that asks for credentials at every connect and outlives crashes."""

from __future__ import annotations

import random
import time
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal, Self, TypeVar, Unpack

import psycopg
from psycopg import Connection, sql

from soa_db._core.backoff import full_jitter
from soa_db._psycopg.failures import context_of, may_run_again, refuse_lost_commit
from soa_db._psycopg.fork import detach
from soa_db._psycopg.roots import root_file
from soa_db._runtime import fork, telemetry
from soa_db._runtime._sync import Affinity, Awaited, Lock, StopEvent, Stopped, complete, sleep
from soa_db._sync.postgres.checkout import Checkout, OpenPool
from soa_db._sync.postgres.connector import Connector, round_trip
from soa_db._sync.postgres.pool import ConnectionSource, PooledConnection
from soa_db._sync.postgres.principal import LoaderKeywords, PostgresPrincipal
from soa_db.errors import NotConnectedError, ServerUnavailable, SoaDbError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from psycopg.rows import TupleRow
    from psycopg_pool import ConnectionPool

    from soa_db._runtime.pem import PemFile
    from soa_db._sync.aws import AwsClients
    from soa_db.config import PostgresConfig
    from soa_db.credentials import CredentialInUse

__all__ = ["PostgresProvider", "Isolation"]

T = TypeVar("T")
Isolation = Literal["read committed", "repeatable read", "serializable"]

_CONNECT_ATTEMPTS = 3
_CONNECT_BASE = 1.0
_CONNECT_CAP = 4.0
_RUN_BASE = 0.02
_RUN_CAP = 1.0
_ISOLATION: Mapping[Isolation, sql.SQL] = {
    "read committed": sql.SQL("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"),
    "repeatable read": sql.SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
    "serializable": sql.SQL("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
}


class PostgresProvider:
    """Connections to one database as one user, from a pool.

    Connections are psycopg's own, in autocommit. A forked child gets a pool of its own when it first asks for a
    connection, and leaves the parent's alone.

    Args:
        config: what to connect to, and how to authenticate.
        aws: shared AWS clients for the credentials; made and closed by the provider when left out and needed.
    """

    def __init__(self, config: PostgresConfig, *, aws: AwsClients | None = None) -> None:
        self._start(PostgresPrincipal(config=config, aws=aws))

    def _start(self, principal: PostgresPrincipal) -> None:
        self._principal = principal
        self._opened: OpenPool | None = None
        self._roots: PemFile | None = None
        self._affinity = Affinity()
        self._lock = Lock()
        self._stop = StopEvent()
        self._inherited = False
        fork.watch(self)
        telemetry.watch(self, PostgresProvider._use)

    @classmethod
    def from_aws(cls, *, aws: AwsClients | None = None, **loader: Unpack[LoaderKeywords]) -> Self:
        """Return a provider whose configuration is loaded from AWS when it connects.

        Takes the keywords of ``aload_postgres_config_from_aws``: ``env``, ``service``, ``role``, ``db_id`` ….
        """
        provider = cls.__new__(cls)
        cls._start(provider, PostgresPrincipal(loader=loader, aws=aws))
        return provider

    def __repr__(self) -> str:
        state = "connected" if self.is_connected else "not connected"
        return f"<{type(self).__name__} {self._principal.name!r}, {state}>"

    # --- life

    def connect(self) -> None:
        """Open the pool, once a first connection has proved host, TLS, credentials and database.

        Tried three times while the server is unavailable; any other failure is final at once. Does nothing when
        already connected.

        Raises:
            AuthenticationFailed: the server refuses the user or its credentials, a forced re-read of them included.
            TlsVerificationFailed: the server's certificate does not stand up.
            ServerUnavailable: the server is down, starting or too slow.
            ConnectionFailed: the database does not exist.
            CredentialError: AWS did not give the configuration or the credentials.
            ConfigurationError: the configuration cannot be used.
            NotConnectedError: disconnect() was called meanwhile, or the provider is connected in another event loop.
        """
        self._enter()
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = self._open(self._stop)
                except Stopped:
                    raise NotConnectedError(
                        "disconnect() was called meanwhile", hint="call connect() again", instance=self._principal.name
                    ) from None
                finally:
                    if self._opened is None:
                        self._stop = StopEvent()
                self._inherited = False

    def _enter(self) -> None:
        """Belong to this event loop; what is left of one that has ended is dropped."""
        if not self._affinity.enter(in_use=self._opened is not None or self._lock.locked()):
            return
        roots = self._roots
        opened = self._forget()
        for conn in opened.source.live() if opened is not None else ():
            conn.close()
        if roots is not None:
            roots.remove()

    def _forget(self) -> OpenPool | None:
        """Be as new, and return the pool there was, which does nothing any more: its workers are gone."""
        opened, self._opened = self._opened, None
        # Whoever holds them will not release them, and whoever waited for them bound them to a loop.
        self._lock, self._stop = Lock(), StopEvent()
        self._roots = None
        if opened is not None:
            opened.pool.abandon()
        return opened

    def _open(self, stop: StopEvent) -> OpenPool:
        config, credentials = stop.run(self._principal.resolve)
        roots = root_file(config)
        source = ConnectionSource(Connector(config, credentials, roots), stop)
        pool = source.pool()
        opened = OpenPool(config, source, pool)
        try:
            source.keep(stop.run(lambda: self._probe(source, stop), PooledConnection.close))
            pool.open()
            if config.pool.min_size == 0:
                # Make the pool ask for the first connection, and so look after it; otherwise it does so by itself.
                pool.putconn(opened.take(None))
        except BaseException:
            source.close()
            pool.close()
            if roots is not None:
                roots.remove()
            raise
        self._roots = roots
        return opened

    def _probe(self, source: ConnectionSource, stop: StopEvent) -> PooledConnection:
        for attempt in range(1, _CONNECT_ATTEMPTS):
            try:
                return source.probe()
            except ServerUnavailable:
                if stop.wait(full_jitter(attempt, base=_CONNECT_BASE, cap=_CONNECT_CAP, rng=random.random)):
                    raise
        return source.probe()

    def disconnect(self) -> None:
        """Close the pool; connections handed out are closed when they are given back. Does nothing when not connected.

        Callers that wait for a connection get NotConnectedError, and so does a ``connect`` under way: attempts that
        hang, at the server or at AWS, are given up. ``connect`` may be called again.

        Raises:
            NotConnectedError: the provider is connected in another event loop than this one.
        """
        self._enter()
        self._stop.set()
        with self._lock:
            self._stop = StopEvent()
            opened, self._opened, self._inherited = self._opened, None, False
            roots, self._roots = self._roots, None
            # To its end: a caller who is cancelled here would leave connections and workers behind.
            complete(self._close, opened, roots)

    def _close(self, opened: OpenPool | None, roots: PemFile | None) -> None:
        try:
            if opened is not None:
                opened.source.close()
                opened.pool.close()
        finally:
            if roots is not None:
                roots.remove()
            self._principal.close()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()

    def after_fork_in_child(self) -> None:
        """Forget the parent's pool: called in a forked child, before anything else runs there."""
        self._affinity = Affinity()
        opened = self._forget()
        if opened is not None:
            self._inherited = True
            detach(opened.source.live())

    # --- state

    @property
    def config(self) -> PostgresConfig:
        """The configuration; raises NotConnectedError as long as it has not been loaded from AWS."""
        return self._principal.config

    @property
    def is_connected(self) -> bool:
        """Whether the provider is connected and the last it heard of the server was good. No I/O."""
        return self._opened is not None and self._opened.source.is_up

    @property
    def pool(self) -> ConnectionPool[PooledConnection]:
        """The native pool; raises NotConnectedError before ``connect``."""
        return self._require().pool

    def _require(self) -> OpenPool:
        if self._opened is None:
            raise NotConnectedError(
                "the provider is not connected", hint="call connect() first", instance=self._principal.name
            )
        return self._opened

    def _present(self) -> OpenPool:
        if self._opened is None and self._inherited:
            self.connect()
        return self._here()

    def _here(self) -> OpenPool:
        opened = self._require()
        self._affinity.check()
        return opened

    def ping(self, timeout: float = 5.0) -> bool:
        """Return whether a round trip to the server succeeds within ``timeout`` seconds; never raises an error.

        The wait for a free connection counts: a pool that is used up is not healthy either.
        """
        try:
            self.check(timeout)
        except Exception:  # noqa: BLE001 - the answer is no, whatever the reason
            return False
        return True

    def check(self, timeout: float = 5.0) -> None:
        """Make the round trip that ``ping`` makes, and raise why it fails.

        Args:
            timeout: seconds, the wait for a free connection included.

        Raises:
            PoolTimeout: no connection became free, or none could be made; the text says why.
            ServerUnavailable: the server does not answer in time, or went away.
            SoaDbError: likewise the other errors of ``connection``.
        """
        ends = time.monotonic() + timeout
        try:
            with self.connection(timeout) as conn:
                round_trip(conn, max(ends - time.monotonic(), 0.001))
        except psycopg.Error as error:
            if isinstance(error, SoaDbError):
                raise
            raise ServerUnavailable(
                f"the server answers no query within {timeout:g} s",
                hint="see what it is doing, and whether the network path still leads there",
                **context_of(self.config, self.config.user),
            ) from error

    @property
    def credential(self) -> CredentialInUse | None:
        """Where the credentials asked for last came from, their age and their end; None before ``connect``. No I/O."""
        return self._principal.credential

    def stats(self) -> Mapping[str, int]:
        """Return psycopg_pool's counters and measures, with ``generation`` and ``connected`` (1 or 0)."""
        opened = self._require()
        ours = {"generation": opened.source.generation.number, "connected": int(self.is_connected)}
        return {**opened.pool.get_stats(), **ours}

    def _use(self) -> tuple[tuple[telemetry.Pool, telemetry.PoolUse], ...]:
        opened = self._opened
        return () if opened is None else ((opened.source.measured, opened.source.use()),)

    def drain(self) -> None:
        """Replace every connection: idle ones now, those handed out when they are given back."""
        self._here().pool.drain()

    # --- use

    def connection(self, timeout: float | None = None) -> AbstractContextManager[Connection[TupleRow]]:
        """Return a context that lends a connection, in autocommit.

        Args:
            timeout: seconds to wait for one; the pool's own unless given.

        Raises:
            PoolTimeout: none became free in time; the text says why the last attempt to make one failed.
            AuthenticationFailed: there is none, and the server refuses to make one (likewise the other typed errors).
            ServerUnavailable: the server went away while the block ran; the driver's error is the cause.
            NotConnectedError: the provider is not connected, or in another event loop.
        """
        return Checkout(self._present, timeout)

    @contextmanager
    def transaction(
        self, *, isolation: Isolation | None = None, timeout: float | None = None
    ) -> Iterator[Connection[TupleRow]]:
        """Lend a connection within a transaction: committed at the end, rolled back on an error.

        A statement whose error the block swallows has ended the transaction all the same: the block then raises
        psycopg's InFailedSqlTransaction at its end. Try such a statement in ``conn.transaction()``, a savepoint.

        Args:
            isolation: the isolation level; the server's default unless given.
            timeout: seconds to wait for a connection.
        """
        with self.connection(timeout) as conn, conn.transaction():
            if isolation is not None:
                conn.execute(_ISOLATION[isolation])
            yield conn
            refuse_lost_commit(conn)

    def run_transaction(
        self,
        work: Callable[[Connection[TupleRow]], Awaited[T]],
        *,
        attempts: int = 5,
        isolation: Isolation | None = None,
        timeout: float | None = None,
    ) -> T:
        """Run ``work`` in a transaction, again when it lost against another one (40001, 40P01); return its result.

        ``work`` may run several times: what it does outside the database must bear that.

        Args:
            work: called with the connection.
            attempts: how often it is run at most.
            isolation: the isolation level; the server's default unless given.
            timeout: seconds to wait for a connection, each time.
        """
        attempt = 1
        while True:
            try:
                with self.transaction(isolation=isolation, timeout=timeout) as conn:
                    return work(conn)
            except psycopg.Error as error:
                if attempt >= attempts or not may_run_again(error):
                    raise
            sleep(full_jitter(attempt, base=_RUN_BASE, cap=_RUN_CAP, rng=random.random))
            attempt += 1
