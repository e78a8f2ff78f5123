"""One physical asyncpg connection: credentials asked for now, one forced re-read when refused, typed errors."""

from __future__ import annotations

import random
import socket
import sys
from typing import TYPE_CHECKING, Any

import asyncpg

from soa_db._core.backoff import full_jitter
from soa_db._core.classify import Category
from soa_db._core.conninfo import KEEPALIVE, login_parameters, session_settings
from soa_db._core.refusal import connection_error
from soa_db._runtime._async import sleep
from soa_db.asyncpg.failures import CONNECT_ERRORS, category_of, forget_frames, text_of
from soa_db.asyncpg.tls import tls_context
from soa_db.errors import ServerUnavailable, SoaDbError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from soa_db._async.postgres.principal import AsyncPostgresPrincipal
    from soa_db.config import PostgresConfig
    from soa_db.credentials import AsyncCredentialProvider, Credentials

__all__ = ["Connector"]

# AWSCURRENT may be stale and AWSPENDING be what the server knows: two candidates, no more.
_CANDIDATES = 2
_FIRST_ATTEMPTS = 3
_FIRST_BASE = 1.0
_FIRST_CAP = 4.0
# Behind a proxy that moves transactions between sessions a prepared statement is not found again.
_STATEMENTS_CACHED = 100
_SOCKET_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}


class Connector:
    """Makes a pool's connections: what asyncpg calls a pool's ``connect``.

    Args:
        config: what to connect to.
        principal: who connects.
        options: asyncpg's own keywords for ``connect``.
    """

    def __init__(self, config: PostgresConfig, principal: AsyncPostgresPrincipal, options: Mapping[str, Any]) -> None:
        self.config = config
        self._principal = principal
        self._options = dict(options)
        self._credentials: AsyncCredentialProvider | None = None
        self._context: ssl.SSLContext | None = None
        self._let_in = False

    async def __call__(self, *, loop: Any, connection_class: Any, record_class: Any) -> Any:
        """Return a new connection, logged in and with its session set up.

        Tried three times while the server is unavailable, until a first connection has been made; from then on once.

        Raises:
            SoaDbError: a ConnectionFailed, CredentialError or ConfigurationError saying what was tried.
        """
        classes = {"loop": loop, "connection_class": connection_class, "record_class": record_class}
        attempt = 1
        while True:
            try:
                connection = await self._connect(classes)
            except ServerUnavailable:
                if self._let_in or attempt == _FIRST_ATTEMPTS:
                    raise
            else:
                self._let_in = True
                return connection
            await sleep(full_jitter(attempt, base=_FIRST_BASE, cap=_FIRST_CAP, rng=random.random))
            attempt += 1

    async def close(self) -> None:
        """Close the AWS clients, if they are its own."""
        await self._principal.close()

    async def set_session(self, connection: Any) -> None:
        """Give the session its timeouts, where they could not ride in the startup packet."""
        settings = session_settings(self.config.session) if self.config.session.proxy else {}
        if settings:
            # Names and numbers of our own: nothing to quote. One text, and so one transaction: PgBouncer then sends it
            # to one server connection.
            calls = (f"set_config('{name}', '{value}', false)" for name, value in settings.items())
            await connection.execute(f"SELECT {', '.join(calls)}", timeout=self.config.pool.connect_timeout)

    async def _connect(self, classes: Mapping[str, Any]) -> Any:
        if self._credentials is None:
            # The roots are parsed once, not at every connect as libpq does.
            self._context = tls_context(self.config)
            _, self._credentials = await self._principal.resolve()
        provider = self._credentials
        credentials = await provider.get()
        refused = 0
        handled = sys.exception()
        while True:
            try:
                return await self._log_in(credentials, classes)
            except CONNECT_ERRORS as error:
                category = category_of(error)
                forget_frames(error, until=handled)
                if category is Category.AUTHENTICATION and refused < _CANDIDATES:
                    refused += 1
                    other = await provider.refresh(credentials)
                    if other is not None and other.secret != credentials.secret:
                        credentials = other
                        continue
                raise self._typed(category, error, credentials) from error
            except BaseException as error:  # noqa: BLE001 - raised again
                forget_frames(error, until=handled)
                raise error.with_traceback(None)  # noqa: B904 - it is no other error

    def _typed(self, category: Category, error: BaseException, credentials: Credentials) -> SoaDbError:
        config = self.config
        context = {
            "instance": config.instance_name,
            "host": f"{config.host}:{config.port}",
            "dial": f"{config.dial.host}:{config.dial.port}" if config.dial else "",
            "database": config.database,
            "user": self._user(credentials) or "",
        }
        return connection_error(
            category, text_of(error), source=credentials.source, secret=credentials.secret, **context
        )

    def _user(self, credentials: Credentials) -> str | None:
        return self.config.user if self.config.user is not None else credentials.user

    async def _log_in(self, credentials: Credentials, classes: Mapping[str, Any]) -> Any:
        config = self.config
        user = self._user(credentials)
        login_parameters(user, credentials.secret, credentials.source)
        connection = await asyncpg.connect(
            host=config.dial.host if config.dial else config.host,
            port=config.dial.port if config.dial else config.port,
            user=user,
            # A function: the text itself asyncpg would keep in the connection's parameters, which query loggers see.
            password=lambda: credentials.secret,
            database=config.database,
            timeout=config.pool.connect_timeout,
            # All that is left out asyncpg takes from PGSSLMODE, PGSSLNEGOTIATION, PGTARGETSESSIONATTRS.
            ssl=False if self._context is None else self._context,
            direct_tls=False,
            target_session_attrs="any",
            **self._session_options(),
            **classes,
        )
        try:
            _keep_alive(connection)
            await self.set_session(connection)
            if not self._let_in:
                # A proxy lets a client in before it has a connection to the server itself.
                await connection.execute("SELECT 1", timeout=config.pool.connect_timeout)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _session_options(self) -> dict[str, Any]:
        session = self.config.session
        name = session.application_name or self.config.instance_name
        settings = {} if session.proxy else {key: str(value) for key, value in session_settings(session).items()}
        return {
            "statement_cache_size": 0 if session.proxy else _STATEMENTS_CACHED,
            **self._options,
            "server_settings": {**self._options.get("server_settings", {}), "application_name": name, **settings},
        }


def _keep_alive(connection: Any) -> None:
    """Have the kernel notice a silent peer after about a minute, as with psycopg."""
    # asyncpg has neither an option for it nor a public way to the socket.
    sock = connection._transport.get_extra_info("socket")  # noqa: SLF001
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, KEEPALIVE["keepalives"])
    for name, option in _SOCKET_OPTIONS.items():
        # macOS and Windows lack some of them.
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), KEEPALIVE[name])
