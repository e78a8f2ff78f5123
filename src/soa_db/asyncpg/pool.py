"""asyncpg's pool, made from a config."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack, cast

import asyncpg

from soa_db._async.postgres.principal import AsyncPostgresPrincipal
from soa_db._core.conninfo import session_settings
from soa_db._runtime._async import complete
from soa_db.asyncpg.connector import Connector
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping

    from soa_db._async.aws import AsyncAwsClients
    from soa_db.config import PostgresConfig

__all__ = ["AsyncpgOptions", "create_asyncpg_pool"]

# To asyncpg 0 means "no limit" here, and "at once" there.
_SHORTEST = 0.001

# A startup packet's own fields. A server takes the last of two: another user would be sent this one's password.
_OF_STARTUP = {"user", "database", "replication", "options", "client_encoding"}

# What a config says, and where.
_FROM_CONFIG: Mapping[str, str] = {
    "dsn": "PostgresConfig.from_url",
    "host": "host",
    "port": "port",
    "database": "database",
    "user": "user",
    "password": "auth",
    "passfile": "auth",
    "ssl": "tls",
    "direct_tls": "tls",
    "timeout": "pool.connect_timeout",
    "min_size": "pool.min_size",
    "init_size": "pool.min_size",
    "max_size": "pool.max_size",
    "max_inactive_connection_lifetime": "pool.max_idle",
}


class AsyncpgOptions(TypedDict, total=False):
    """What may be given beside a config: ``asyncpg.create_pool``'s own keywords.

    Attributes:
        init: called with each new connection.
        setup: called with each connection that is handed out.
        reset: called with each connection that is given back, in place of asyncpg's reset query.
        connection_class: subclass of asyncpg.Connection.
        record_class: subclass of asyncpg.Record.
        max_queries: queries after which a connection is replaced.
        command_timeout: seconds a statement may take, as the client sees it.
        statement_cache_size: prepared statements kept per connection; none in proxy mode.
        max_cached_statement_lifetime: seconds they are kept.
        max_cacheable_statement_size: length of the longest that is kept.
        server_settings: other settings of the session, in the startup packet.
    """

    init: Callable[[Any], Awaitable[object]] | None
    setup: Callable[[Any], Awaitable[object]] | None
    reset: Callable[[Any], Awaitable[object]] | None
    connection_class: type[Any]
    record_class: type[Any]
    max_queries: int
    command_timeout: float | None
    statement_cache_size: int
    max_cached_statement_lifetime: float
    max_cacheable_statement_size: int
    server_settings: Mapping[str, str]


_OF_POOL = ("init", "setup", "reset", "connection_class", "record_class", "max_queries")
_OF_CONNECT = frozenset(AsyncpgOptions.__annotations__) - set(_OF_POOL)


def create_asyncpg_pool(
    config: PostgresConfig, *, aws: AsyncAwsClients | None = None, **options: Unpack[AsyncpgOptions]
) -> asyncpg.Pool:
    """Return a native asyncpg pool, to be opened by ``async with`` or ``await`` as asyncpg's own.

    Credentials are asked for at every physical connect, and read again, once, when they are refused. Opening makes a
    first connection, tried three times while the server is unavailable, so that bad credentials fail there; a server
    that goes away later makes the callers fail until it is back. ``acquire`` waits ``pool.timeout`` seconds unless
    told otherwise, and then raises TimeoutError. A pool belongs to the event loop and the process it was made in.

    Args:
        config: what to connect to, and how to authenticate.
        aws: shared AWS clients for the credentials; made, and closed with the pool, when left out and needed.
        options: asyncpg's own keywords, except for what the config says.

    Raises:
        ConfigurationError: an option that the config decides, or that asyncpg does not take; at the first connect, a
            file that ``tls`` names. Opening, acquiring: SoaDbError, as AsyncPostgresProvider.connect does.
    """
    _check(config, options)
    connector = Connector(
        config,
        AsyncPostgresPrincipal(config=config, aws=aws),
        {name: value for name, value in options.items() if name in _OF_CONNECT},
    )
    of_pool: dict[str, Any] = {name: options.get(name) for name in ("init", "setup", "reset")}
    if config.session.proxy and session_settings(config.session):
        of_pool["reset"] = _reset_of(connector, of_pool["reset"])
    try:
        return ConfiguredPool(
            connector,
            connection_class=options.get("connection_class", asyncpg.Connection),
            record_class=options.get("record_class", asyncpg.Record),
            max_queries=options.get("max_queries", 50_000),
            **of_pool,
        )
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"asyncpg does not take an option: {error}", instance=config.instance_name) from error


def _check(config: PostgresConfig, options: AsyncpgOptions) -> None:
    for name in options:
        if name in _FROM_CONFIG:
            raise ConfigurationError(f"the config says {name!r}", hint=f"set its {_FROM_CONFIG[name]}")
        if name not in AsyncpgOptions.__annotations__:
            hint = f"known are {', '.join(sorted(AsyncpgOptions.__annotations__))}"
            raise ConfigurationError(f"unknown option {name!r}", hint=hint)
    for name in ("statement_cache_size", "max_cached_statement_lifetime", "max_cacheable_statement_size"):
        _check_number(name, options.get(name, 0), least=0)
    if options.get("command_timeout") is not None:
        _check_number("command_timeout", options["command_timeout"], least=_SHORTEST)
    if config.session.proxy and options.get("statement_cache_size"):
        hint = "leave it out: prepared statements are off behind a proxy"
        raise ConfigurationError("statement_cache_size does not go with session.proxy", hint=hint)
    settings = options.get("server_settings", {})
    if settings and config.session.proxy:
        hint = "a proxy refuses settings in the startup packet: set them on the role"
        raise ConfigurationError("server_settings does not go with session.proxy", hint=hint)
    for name, value in settings.items():
        if not all(isinstance(text, str) and "\0" not in text for text in cast("tuple[object, ...]", (name, value))):
            raise ConfigurationError(f"the server setting {name!r} is no text", hint="give names and values as text")
        # To the server case does not matter.
        if name.lower() in _OF_STARTUP:
            raise ConfigurationError(f"{name!r} is no server setting", hint="the config says as whom and where to")
        if name.lower() in {"application_name", *map(str.lower, session_settings(config.session))}:
            raise ConfigurationError(f"the config says {name!r}", hint="set it in its session")


def _check_number(name: str, value: object, *, least: float) -> None:
    # A NaN is neither.
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value >= least):
        raise ConfigurationError(f"{name} is no number that asyncpg takes", hint=f"give {least} or more")


def _reset_of(connector: Connector, own: Callable[[Any], Awaitable[object]] | None) -> Callable[[Any], Awaitable[None]]:
    """Return a reset after which the session has its timeouts: RESET ALL takes away what was not in the startup."""

    async def reset(connection: Any) -> None:
        if own is not None:
            await own(connection)
        else:
            query = connection.get_reset_query()
            if query:
                await connection.execute(query)
        await connector.set_session(connection)

    return reset


class ConfiguredPool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg has no types
    """asyncpg's pool; what it adds are the config's limits, and the end of the AWS clients."""

    __slots__ = ("_connector", "_ending", "_expires_at", "_is_open", "_limits", "_opening", "_waits")

    def __init__(self, connector: Connector, **options: Any) -> None:
        self._connector = connector
        self._limits = connector.config.pool
        self._waits = max(_SHORTEST, self._limits.timeout)
        self._ending: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._is_open = False
        super().__init__(
            connect=connector,
            loop=asyncio.get_running_loop(),
            min_size=self._limits.min_size,
            max_size=self._limits.max_size,
            max_inactive_connection_lifetime=max(_SHORTEST, self._limits.max_idle),
            **options,
        )
        self._expires_at = self._due()

    def _due(self) -> float:
        return asyncio.get_running_loop().time() + self._limits.max_lifetime

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def _open(self) -> Self:
        async with self._opening:
            if not self._is_open:
                await self._prove()
                self._is_open = True
        return self

    async def _prove(self) -> None:
        try:
            await super().__aenter__()
            # Also with min_size 0: a first connection proves host, TLS, credentials and database. Its reset, when it is
            # given back, is a round trip.
            async with super().acquire():
                pass
        except BaseException:
            super().terminate()
            await complete(self._connector.close)
            raise

    def acquire(self, *, timeout: float | None = None) -> Any:
        """Lend a connection; the config's ``pool.timeout`` unless another is given, in seconds."""
        return super().acquire(timeout=self._waits if timeout is None else timeout)

    async def release(self, connection: Any, *, timeout: float | None = None) -> Any:
        """Take a connection back, and close it when it is older than ``pool.max_lifetime``.

        asyncpg's pool counts queries, not time. What it can do is to expire all connections it has: done once in a
        lifetime, here, so that no timer is needed.
        """
        if asyncio.get_running_loop().time() >= self._expires_at:
            self._expires_at = self._due()
            await self.expire_connections()
        if timeout is None and getattr(getattr(connection, "_holder", None), "_timeout", None) == self._waits:
            # asyncpg gives the reset on release as long as the caller would have waited for a connection. The config
            # says no such thing: what was written would look as if it had failed.
            timeout = max(self._waits, self._limits.connect_timeout)
        return await super().release(connection, timeout=timeout)

    def set_connect_args(self, dsn: str | None = None, **options: Any) -> None:  # noqa: ARG002 - asyncpg's
        """Refuse: the config says what to connect to."""
        raise ConfigurationError("the config says what to connect to", hint="make another pool from another config")

    def terminate(self) -> None:
        """Drop every connection at once; then close the AWS clients made for the pool, in a task."""
        super().terminate()
        if self._ending is None:
            self._ending = self._loop.create_task(self._connector.close(), name="soa-db asyncpg terminate")

    async def close(self) -> None:
        """Wait until every connection is given back, and close them; then the AWS clients made for the pool."""
        try:
            await super().close()
        finally:
            await complete(self._connector.close)
