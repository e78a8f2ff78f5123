# Generated from src/soa_db/_async/postgres/connector.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""One physical connection: credentials asked for now, one forced re-read when they are refused, typed errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import Connection, generators, pq, sql
from psycopg.errors import error_from_result

from soa_db._core.classify import Category, classify
from soa_db._core.conninfo import connection_parameters, login_parameters, session_settings
from soa_db._core.refusal import connection_error
from soa_db._psycopg.addresses import dialled_addresses
from soa_db._psycopg.failures import connect_failure, context_of
from soa_db._runtime import telemetry
from soa_db._runtime._sync import to_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from soa_db._runtime.pem import PemFile
    from soa_db.config import PostgresConfig
    from soa_db.credentials import CredentialProvider, Credentials
    from soa_db.errors import SoaDbError

__all__ = ["Connector", "round_trip"]

C = TypeVar("C", bound=Connection[Any])

# psycopg's default; behind a proxy that moves transactions between sessions a prepared statement is not found again.
_PREPARE_THRESHOLD = 5
# AWSCURRENT may be stale and AWSPENDING be what the server knows: two candidates, no more.
_CANDIDATES = 2


def round_trip(conn: Connection[Any], timeout: float) -> None:
    """Prove that the server still answers on ``conn``, in ``timeout`` seconds; raises psycopg.Error if it does not.

    After a failure the connection is in no known state and must be closed.
    """
    with conn.lock:
        # libpq's own calls: nothing the user has set on the connection (row factory, adapters, pipeline) takes part.
        conn.pgconn.send_query(b"SELECT 1")
        results = conn.wait(generators.execute(conn.pgconn), timeout=timeout)
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_from_result(result)


class Connector:
    """Makes physical connections for one configuration.

    Args:
        config: what to connect to.
        credentials: asked at every connect.
        roots: the trusted roots, when something is to be verified.
        pooled: the connections are a pool's.
        options: further keywords of psycopg's ``connect``, of those that do not say where to: adapters, cursor classes.
    """

    def __init__(
        self,
        config: PostgresConfig,
        credentials: CredentialProvider,
        roots: PemFile | None = None,
        *,
        pooled: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        name = config.instance_name if pooled else None
        self.measured = telemetry.Pool("postgresql", name, config.database, config.host, config.port)
        self._credentials = credentials
        self._roots = roots
        self._options = options or {}

    def connect(self, cls: type[C], *, background: bool = False, probing: bool = False) -> C:
        """Return a new connection of class ``cls``, logged in and with its session set up.

        Args:
            cls: the class.
            background: no caller waits for just this one.
            probing: it is not the first attempt since the server is away.

        Raises:
            SoaDbError: a ConnectionFailed or CredentialError saying what was tried, from the driver's error.
        """
        with telemetry.connecting(self.measured, background=background, probing=probing) as attempt:
            return self._connect(cls, attempt)

    def _connect(self, cls: type[C], attempt: telemetry.Attempt) -> C:
        credentials = self._credentials.get()
        refused = 0
        while True:
            attempt.source = credentials.source
            try:
                return self._log_in(cls, credentials)
            except psycopg.Error as error:
                category = classify(connect_failure(error))
                if category is Category.AUTHENTICATION and refused < _CANDIDATES:
                    refused += 1
                    other = self._credentials.refresh(credentials)
                    if other is not None and other.secret != credentials.secret:
                        attempt.retry()
                        credentials = other
                        continue
                # Without the frames that held the password: tools that report errors print the locals of frames.
                raise self._typed(category, error, credentials) from error.with_traceback(None)
            except BaseException as error:  # noqa: BLE001 - raised again
                # Cancelled, say. The frames hold the half-made connection too: whoever kept the error, as a log record
                # of psycopg_pool's does, would keep that open.
                raise error.with_traceback(None)  # noqa: B904 - it is no other error

    def _typed(self, category: Category, error: psycopg.Error, credentials: Credentials) -> SoaDbError:
        context = context_of(self.config, self._user(credentials))
        return connection_error(category, str(error), source=credentials.source, secret=credentials.secret, **context)

    def _user(self, credentials: Credentials) -> str | None:
        return self.config.user if self.config.user is not None else credentials.user

    def _log_in(self, cls: type[C], credentials: Credentials) -> C:
        proxy = self.config.session.proxy
        parameters: dict[str, Any] = {
            "autocommit": True,
            "prepare_threshold": None if proxy else _PREPARE_THRESHOLD,
            **self._options,
            **connection_parameters(
                self.config,
                addresses=self._addresses(),
                root_file=self._roots.path if self._roots is not None else None,
            ),
            **login_parameters(self._user(credentials), credentials.secret, credentials.source),
        }
        conn = cls.connect(**parameters)
        settings = session_settings(self.config.session) if proxy else {}
        if settings:
            calls = (sql.SQL("set_config({}, {}, false)").format(name, str(value)) for name, value in settings.items())
            try:
                conn.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(calls)))
            except BaseException:
                conn.close()
                raise
        return conn

    def _addresses(self) -> list[str]:
        if self.config.dial is None:
            return []
        return to_thread(lambda: dialled_addresses(self.config))
