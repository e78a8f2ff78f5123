"""redis-py's asynchronous classes with ours beneath them. Its twin is ``_sync``."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import TimeoutError as DriverTimeout

from soa_db._core.backoff import full_jitter
from soa_db._core.redis.classify import Category
from soa_db._redis.failures import DRIVER_ERRORS, category_of, connecting, measured_pool
from soa_db._redis.pool import WaitingPool
from soa_db._redis.tls import tls_context
from soa_db._runtime import telemetry
from soa_db._runtime._async import sleep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from soa_db.config import RedisConfig
    from soa_db.credentials import AsyncCredentialProvider

__all__ = [
    "Client",
    "Command",
    "Login",
    "abandon_client",
    "close_client",
    "drop_idle",
    "forget_client",
    "idle_and_used",
    "make_client",
    "pool_use",
    "run_each",
    "scan_nodes",
    "scan_page",
]

# AWSCURRENT may be stale and AWSPENDING be what the server knows: two candidates, no more.
_CANDIDATES = 2
# Nothing has been sent yet: an attempt may be made again. A server that restarts is back within the sum of these.
_ATTEMPTS = 4
_BASE = 0.05
_CAP = 1.0
# ElastiCache ends a connection that logged in with a token after 12 hours.
_TOKEN_CONNECTION_SECONDS = 11 * 3600.0

# The native client: one server's, or a cluster's.
Client = Redis | RedisCluster
Command = tuple[str | bytes | int, ...]


class Login:
    """What every connection of one manager is made with.

    Args:
        config: what to connect to.
        credentials: asked at every connect.
    """

    def __init__(self, config: RedisConfig, credentials: AsyncCredentialProvider) -> None:
        self.config = config
        self.credentials = credentials
        self.tls = tls_context(config)
        self.measured = measured_pool(config)

    @property
    def lifetime(self) -> float | None:
        """Seconds after which a connection is made anew; None for never."""
        return _TOKEN_CONNECTION_SECONDS if self.config.auth.kind == "iam" else None

    def target(self, host: str, port: int) -> tuple[str, int]:
        """Return what is dialled for a server."""
        config = self.config
        if config.dial is not None and (host, port) == (config.host, config.port):
            return config.dial.host, config.dial.port
        return host, port


class ServerConnection(Connection):
    """A connection that asks for credentials each time it is made; subclassed for each manager with its ``login``."""

    login: Login
    # Monotonic seconds.
    _renew_at: float | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def connect(self) -> None:
        """Connect, or replace a connection that is to go or whose token ends; called whenever a pool hands it out."""
        if self.is_connected and self.should_reconnect():
            # Before connecting: subscriptions connect again within it.
            await self.disconnect()
        await super().connect()  # type: ignore[no-untyped-call]  # redis-py's has no types

    def should_reconnect(self) -> bool:
        """Whether it is to be replaced: all that a cluster's nodes look at before they use a connection."""
        return self._should_reconnect or (self._renew_at is not None and time.monotonic() >= self._renew_at)

    async def disconnect(self, *arguments: Any, **keywords: Any) -> None:
        """Disconnect: the next connection has its own time."""
        self._renew_at = None
        await super().disconnect(*arguments, **keywords)

    # Not a coroutine function: calls pay for no second coroutine.
    def read_response(self, *arguments: Any, push_request: bool | None = False, **keywords: Any) -> Any:
        """Read one reply, or, as subscriptions ask for it (``push_request``), one message."""
        if push_request:
            return self._read_message(**keywords)
        return super().read_response(*arguments, **keywords)

    async def _read_message(self, *, timeout: float = math.inf, **keywords: Any) -> Any:
        """Read one message of a subscription, None when none came in time.

        RESP2 takes no AUTH on a subscribed connection: it is made anew when its token ends, also while nothing comes,
        and subscribes again as it connects.

        Who waits for as long as it takes asks for infinity: redis-py 8.0 did not, and the timeout of calls ended that.
        """
        while True:
            if self.should_reconnect():
                await self.connect()
            rest = math.inf if self._renew_at is None else max(self._renew_at - time.monotonic(), 0.0)
            found = await super().read_response(timeout=min(timeout, rest), push_request=True, **keywords)
            if found is not None or timeout <= rest:
                return found
            timeout -= rest

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:  # noqa: ARG002 - redis-py's
        """Connect and log in: one forced re-read of refused credentials, further attempts while nothing was sent."""
        if self.is_connected:
            return
        measured = self.login.measured
        if (self.host, self.port) != (measured.address, measured.port):
            # A cluster's other nodes.
            measured = replace(measured, address=self.host, port=self.port)
        with telemetry.connecting(measured) as attempt:
            await self._log_in(check_health, attempt)

    async def _log_in(self, check_health: bool, attempt: telemetry.Attempt) -> None:
        login = self.login
        # Before the socket is there: a caller cancelled in this wait leaves no connection that is not logged in.
        credentials = await login.credentials.get()
        refused = attempts = 0
        while True:
            attempt.source = credentials.source
            try:
                self.username, self.password = credentials.user, credentials.secret or None
                await self._attempt(check_health)
            except DRIVER_ERRORS as error:
                category = category_of(error)
                if category is Category.AUTHENTICATION and refused < _CANDIDATES:
                    refused += 1
                    other = await login.credentials.refresh(credentials)
                    if other is not None and other.secret != credentials.secret:
                        attempt.retry()
                        credentials = other
                        continue
                attempts += 1
                if category in {Category.UNREACHABLE, Category.NOT_READY} and attempts < _ATTEMPTS:
                    await sleep(full_jitter(attempts, base=_BASE, cap=_CAP, rng=random.random))
                    continue
                # Without the frames that held the password: tools that report errors print the locals of frames.
                found = connecting(error, login.config, source=credentials.source, secret=credentials.secret)
                raise found from error.with_traceback(None)
            finally:
                self.username = self.password = None
            if login.lifetime is not None:
                self._renew_at = time.monotonic() + login.lifetime * (1 - random.random() / 20)  # noqa: S311 - jitter
            return

    async def _attempt(self, check_health: bool) -> None:
        self._loop = asyncio.get_running_loop()
        # redis-py gives the time to the socket and TLS alone; a server that is silent at AUTH would have more.
        with suppress(TimeoutError):
            async with asyncio.timeout(self.login.config.connect_timeout):
                await super().connect_check_health(check_health=check_health, retry_socket_connect=False)
            return
        await self.disconnect(nowait=True)
        # Out of the block: with the other error as its context it would keep frames that hold the password.
        raise DriverTimeout("Timeout connecting to server")

    def abandon(self) -> None:
        """Close the socket, when the event loop it belongs to has ended."""
        writer, loop = self._writer, self._loop
        self._reader = self._writer = None
        if writer is None or loop is None or not loop.is_closed():
            return
        # A transport closes in its loop's next step, and there is none: its last step is made here and now.
        loop.call_soon = lambda call, *arguments, **_: call(*arguments)  # type: ignore[method-assign]
        try:
            with suppress(RuntimeError):  # other loops than asyncio's own
                writer.transport.abort()
        finally:
            del loop.call_soon

    def _connection_arguments(self) -> Mapping[str, Any]:
        host, port = self.login.target(self.host, self.port)
        arguments: dict[str, Any] = {"host": host, "port": port}
        if self.login.tls is not None:
            arguments |= {"ssl": self.login.tls, "server_hostname": self.host}
        return arguments


async def make_client(login: Login) -> Client:
    """Return a native client that makes its connections with ``login``."""
    config = login.config
    kind = type("ServerConnection", (ServerConnection,), {"login": login})
    options: dict[str, Any] = {
        "client_name": _client_name(config.instance_name),
        "protocol": 2,
        "socket_connect_timeout": config.connect_timeout,
        "socket_timeout": config.command_timeout,
        "socket_keepalive": True,
        # Blind repetition would run a native client's INCR twice; what may be repeated is repeated by our own calls.
        "retry": Retry(NoBackoff(), 0),
        "max_connections": config.max_connections,
    }
    if not config.cluster:
        pool = WaitingPool(
            connection_class=kind,
            timeout=config.command_timeout,
            measured=login.measured,
            host=config.host,
            port=config.port,
            db=config.db,
            **options,
        )
        return Redis.from_pool(pool)
    client = RedisCluster(host=config.host, port=config.port, **options)
    client.connection_kwargs["connection_class"] = kind
    for node in client.nodes_manager.startup_nodes.values():
        node.connection_class = kind
    return client


def _client_name(name: str) -> str:
    # CLIENT SETNAME takes neither spaces nor anything beyond printable ASCII.
    return "".join(char if "!" <= char <= "~" else "-" for char in name)


async def close_client(client: Client) -> None:
    """Close every connection of a client."""
    await client.aclose()
    if isinstance(client, RedisCluster):
        for node in client.nodes_manager.startup_nodes.values():
            await node.disconnect()


# Kept for good in a forked child: collecting them as garbage would take the parent's sockets out of the epoll instance
# that parent and child share.
_INHERITED: list[Client] = []


def forget_client(client: Client) -> None:
    """Keep a forked child's copy of the parent's client and never touch it. In the twin, its sockets are closed."""
    _INHERITED.append(client)


def abandon_client(client: Client) -> None:
    """Close the sockets of a client whose event loop has ended. In the twin there is no such thing."""
    if isinstance(client, RedisCluster):
        # It would warn that nobody closed it.
        client._initialize = True  # noqa: SLF001 - no public way
    for connection in _connections(client):
        connection.abandon()


def _connections(client: Client) -> list[ServerConnection]:
    connections: list[Any]
    if isinstance(client, RedisCluster):
        # Two nodes of one name are equal, each with connections of its own.
        nodes = [*client.get_nodes(), *client.nodes_manager.startup_nodes.values()]
        connections = [one for node in nodes for one in node._connections]  # noqa: SLF001 - no public way
    else:
        pool = client.connection_pool
        connections = [*pool._available_connections, *pool._in_use_connections]  # noqa: SLF001 - likewise
    return connections


def idle_and_used(client: Client) -> tuple[int, int]:
    """Return how many connections are idle and in use."""
    if isinstance(client, RedisCluster):
        nodes: list[ClusterNode] = client.get_nodes()
        idle = sum(len(node._free) for node in nodes)  # noqa: SLF001 - there is no public count
        return idle, sum(len(node._connections) for node in nodes) - idle  # noqa: SLF001 - likewise
    pool = client.connection_pool
    return len(pool._available_connections), len(pool._in_use_connections)  # noqa: SLF001 - likewise


def pool_use(client: Client) -> telemetry.PoolUse:
    """Return how the connections are used; of a cluster, those to all its nodes."""
    idle, used = idle_and_used(client)
    if isinstance(client, RedisCluster):
        nodes: list[ClusterNode] = client.get_nodes()
        # Who finds no connection free there is refused, and does not wait.
        return telemetry.PoolUse(idle, used, 0, sum(node.max_connections for node in nodes))
    pool = client.connection_pool
    return telemetry.PoolUse(idle, used, pool.waiting if isinstance(pool, WaitingPool) else 0, pool.max_connections)


async def drop_idle(client: Client) -> None:
    """Have the idle connections replaced, those to a server that is no primary any more among them.

    They are marked, and closed by who takes them next: closing takes a while, in which a call would take one that is
    half closed, and fail.
    """
    idle: list[Any]
    if isinstance(client, RedisCluster):
        idle = [connection for node in client.get_nodes() for connection in node._free]  # noqa: SLF001 - no public way
    else:
        idle = client.connection_pool._available_connections  # noqa: SLF001 - likewise
    for connection in tuple(idle):
        connection.mark_for_reconnect()


async def run_each(client: Client, commands: Sequence[Command]) -> list[Any]:
    """Run commands of one key each in one round trip, in a cluster one to each node; their answers, errors among them.

    Those that were not run because a slot moves are made again one by one, no other. (Commands of many keys are no way
    to do it: while a slot moves, and one of its keys is here and one there, they are refused, however long it takes.)
    """
    pipeline: Any = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    # Here redis-py makes just those again.
    answers: list[Any] = await pipeline.execute(raise_on_error=False)
    return answers


async def scan_nodes(client: Client) -> list[Any]:
    """Return what ``scan_page`` is to go through: every primary of a cluster, or the one server."""
    if isinstance(client, RedisCluster):
        await client.initialize()
        return list(client.get_primaries())
    return [None]


async def scan_page(client: Client, node: Any, cursor: int, pattern: bytes, count: int) -> tuple[int, list[bytes]]:
    """Return the next cursor (0 at the end) and the keys of one SCAN."""
    target = {} if node is None else {"target_nodes": node}
    found: Any = await client.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", count, **target)
    following, keys = found
    if isinstance(following, dict):
        # A cluster client answers by node.
        following = next(iter(following.values()))
    return int(following), list(keys)
