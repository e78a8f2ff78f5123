"""redis-py's blocking classes with ours beneath them. Its twin is ``_async``."""

from __future__ import annotations

import random
import socket
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.cluster import PipelineCommand, RedisCluster
from redis.connection import Connection
from redis.exceptions import AskError, TryAgainError
from redis.exceptions import TimeoutError as DriverTimeout
from redis.retry import Retry
from redis.utils import SENTINEL

from soa_db._core.backoff import full_jitter
from soa_db._core.redis.classify import Category
from soa_db._redis.deadline import DeadlineParser, remaining
from soa_db._redis.failures import DRIVER_ERRORS, category_of, connecting, measured_pool
from soa_db._redis.queue import FreeConnections
from soa_db._redis.tls import tls_context
from soa_db._runtime import telemetry
from soa_db._runtime._sync import sleep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from soa_db.config import RedisConfig
    from soa_db.credentials import CredentialProvider

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

    def __init__(self, config: RedisConfig, credentials: CredentialProvider) -> None:
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
    _parser: DeadlineParser

    def __init__(self, **options: Any) -> None:
        # Not by an option of the client: a cluster's passes on those it knows.
        super().__init__(**options, parser_class=DeadlineParser)  # type: ignore[no-untyped-call]  # redis-py's has no types

    def connect(self) -> None:
        """Connect, or replace a connection that is to go or whose token ends; called whenever a pool hands it out."""
        if self._sock is not None:
            # redis-py itself looks at the mark of ``drop_idle`` only after the next command.
            if not self._should_reconnect and (self._renew_at is None or not self._is_over()):
                # As redis-py's would, but it goes through a retry to find that out.
                return
            # Before connecting: subscriptions connect again within it.
            self.disconnect()
        super().connect()  # type: ignore[no-untyped-call]  # redis-py's has no types

    # Not should_reconnect(): after a call that finds that so, redis-py connects, and if that fails so does the call.
    def _is_over(self) -> bool:
        return self._renew_at is not None and time.monotonic() >= self._renew_at

    def disconnect(self, *arguments: Any, **keywords: Any) -> None:
        """Disconnect: the next connection has its own time."""
        self._renew_at = None
        super().disconnect(*arguments, **keywords)  # type: ignore[no-untyped-call]  # likewise

    def can_read(self, timeout: float = 0) -> bool:
        """Whether there is something to read; subscriptions look before they read."""
        if self._renew_at is not None and self._is_over():
            self.connect()
        return super().can_read(timeout)

    # Spelled out, as every call comes through here: to pack arguments and unpack them takes longer.
    def read_response(
        self,
        disable_decoding: bool = False,
        *,
        timeout: Any = SENTINEL,
        disconnect_on_error: bool = True,
        push_request: bool = False,
    ) -> Any:
        """Read one reply, or, as subscriptions ask for it (``push_request``), one message."""
        if push_request:
            return self._read_message(timeout, disconnect_on_error)
        self._parser.ends = None
        return super().read_response(disable_decoding, timeout=timeout, disconnect_on_error=disconnect_on_error)

    def _read_message(self, timeout: float | None, disconnect_on_error: bool) -> Any:
        """Read one message of a subscription; with a timeout of None, wait for it as long as it takes.

        RESP2 takes no AUTH on a subscribed connection: it is made anew when its token ends, also while nothing comes,
        and subscribes again as it connects.
        """
        while True:
            if self._is_over():
                self.connect()
            rest = timeout
            if timeout is None and self._renew_at is not None:
                rest = remaining(self._renew_at)
            try:
                return super().read_response(timeout=rest, disconnect_on_error=disconnect_on_error, push_request=True)
            except DriverTimeout:
                if timeout is not None:
                    raise

    def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:  # noqa: ARG002 - redis-py's
        """Connect and log in: one forced re-read of refused credentials, further attempts while nothing was sent."""
        if self._sock is not None:
            return
        measured = self.login.measured
        if (self.host, self.port) != (measured.address, measured.port):
            # A cluster's other nodes.
            measured = replace(measured, address=self.host, port=self.port)
        with telemetry.connecting(measured) as attempt:
            self._log_in(check_health, attempt)

    def _log_in(self, check_health: bool, attempt: telemetry.Attempt) -> None:
        login = self.login
        # Before the socket is there: a caller cancelled in this wait leaves no connection that is not logged in.
        credentials = login.credentials.get()
        refused = attempts = 0
        while True:
            attempt.source = credentials.source
            try:
                self.username, self.password = credentials.user, credentials.secret or None
                self._attempt(check_health)
            except DRIVER_ERRORS as error:
                category = category_of(error)
                if category is Category.AUTHENTICATION and refused < _CANDIDATES:
                    refused += 1
                    other = login.credentials.refresh(credentials)
                    if other is not None and other.secret != credentials.secret:
                        attempt.retry()
                        credentials = other
                        continue
                attempts += 1
                if category in {Category.UNREACHABLE, Category.NOT_READY} and attempts < _ATTEMPTS:
                    sleep(full_jitter(attempts, base=_BASE, cap=_CAP, rng=random.random))
                    continue
                # Without the frames that held the password: tools that report errors print the locals of frames.
                found = connecting(error, login.config, source=credentials.source, secret=credentials.secret)
                raise found from error.with_traceback(None)
            finally:
                self.username = self.password = None
            if login.lifetime is not None:
                self._renew_at = time.monotonic() + login.lifetime * (1 - random.random() / 20)  # noqa: S311 - jitter
            return

    def _attempt(self, check_health: bool) -> None:
        self._parser.login_ends = time.monotonic() + self.login.config.connect_timeout
        try:
            super().connect_check_health(check_health=check_health, retry_socket_connect=False)
        finally:
            self._parser.login_ends = None

    def _connect(self) -> socket.socket:
        host, port = self.login.target(self.host, self.port)
        ends = self._parser.login_ends
        assert ends is not None
        plain = _dial(host, port, ends)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in self.socket_keepalive_options.items():
                plain.setsockopt(socket.IPPROTO_TCP, option, value)
            wrapped = plain
            if self.login.tls is not None:
                plain.settimeout(remaining(ends))
                wrapped = self.login.tls.wrap_socket(plain, server_hostname=self.host)
            wrapped.settimeout(self.socket_timeout)
        except BaseException:
            plain.close()
            raise
        return wrapped


def _dial(host: str, port: int, ends: float) -> socket.socket:
    """Return a socket to one of a host's addresses. They share the time that ``create_connection`` gives each."""
    hosts = [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for one in hosts[:-1]:
        with suppress(OSError):
            return socket.create_connection((one, port), timeout=remaining(ends))
    return socket.create_connection((hosts[-1], port), timeout=remaining(ends))


def make_client(login: Login) -> Client:
    """Return a native client that makes its connections with ``login``; one of a cluster connects at once."""
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
        pool = BlockingConnectionPool(  # type: ignore[no-untyped-call]  # redis-py's has no types
            connection_class=kind,
            timeout=config.command_timeout,
            queue_class=partial(FreeConnections, measured=login.measured),
            host=config.host,
            port=config.port,
            db=config.db,
            **options,
        )
        return Redis(connection_pool=pool)
    host = f"[{config.host}]" if ":" in config.host else config.host
    # Only a client made from a URL takes a pool and a connection class of ours.
    return RedisCluster(
        url=f"redis://{host}:{config.port}",
        connection_pool_class=BlockingConnectionPool,
        connection_class=kind,
        timeout=config.command_timeout,
        **options,
    )


def _client_name(name: str) -> str:
    # CLIENT SETNAME takes neither spaces nor anything beyond printable ASCII.
    return "".join(char if "!" <= char <= "~" else "-" for char in name)


def _pools(client: Client) -> list[Any]:
    if isinstance(client, RedisCluster):
        nodes = (node.redis_connection for node in client.get_nodes())  # type: ignore[no-untyped-call]  # redis-py's has no types
        return [one.connection_pool for one in nodes if one is not None]
    return [client.connection_pool]


def close_client(client: Client) -> None:
    """Close every connection of a client."""
    for pool in _pools(client):
        pool.disconnect()
    client.close()


def forget_client(client: Client) -> None:
    """Close a forked child's copies of the sockets, and nothing more: the connections are the parent's."""
    for pool in _pools(client):
        for connection in pool._connections:  # noqa: SLF001 - disconnect() itself spares a parent's socket
            connection.disconnect()


def abandon_client(client: Client) -> None:
    """Do nothing; in the twin, close the sockets of a client whose event loop has ended."""


def idle_and_used(client: Client) -> tuple[int, int]:
    """Return how many connections are idle and in use."""
    made = idle = 0
    for pool in _pools(client):
        made += len(pool._connections)  # noqa: SLF001 - there is no public count
        idle += sum(one is not None for one in list(pool.pool.queue))
    return idle, made - idle


def pool_use(client: Client) -> telemetry.PoolUse:
    """Return how the connections are used; of a cluster, those to all its nodes."""
    idle, used = idle_and_used(client)
    pools = _pools(client)
    # A cluster's queues do not tell who waits.
    waiting = sum(pool.pool.waiting for pool in pools if isinstance(pool.pool, FreeConnections))
    return telemetry.PoolUse(idle, used, waiting, sum(pool.max_connections for pool in pools))


def drop_idle(client: Client) -> None:
    """Close the idle connections, those to a server that is no primary any more among them."""
    for pool in _pools(client):
        for connection in list(pool.pool.queue):
            if connection is not None:
                connection.mark_for_reconnect()


def run_each(client: Client, commands: Sequence[Command]) -> list[Any]:
    """Run commands of one key each in one round trip, in a cluster one to each node; their answers, errors among them.

    Those that were not run because a slot moves are made again one by one, no other. (Commands of many keys are no way
    to do it: while a slot moves, and one of its keys is here and one there, they are refused, however long it takes.)
    """
    pipeline: Any = client.pipeline(transaction=False)
    if not isinstance(client, RedisCluster):
        for command in commands:
            pipeline.execute_command(*command)
        plain: list[Any] = pipeline.execute(raise_on_error=False)
        return plain
    # Of itself redis-py would make those again too whose connection broke or is silent, and wait for each of them.
    queue = [PipelineCommand(command, {}, position) for position, command in enumerate(commands)]  # type: ignore[no-untyped-call]  # redis-py's has no types
    answers: list[Any] = pipeline.send_cluster_commands(queue, raise_on_error=False, allow_redirections=False)
    for position, answer in enumerate(answers):
        if isinstance(answer, AskError | TryAgainError):
            try:
                answers[position] = client.execute_command(*commands[position])  # type: ignore[no-untyped-call]  # likewise
            except DRIVER_ERRORS as error:
                answers[position] = error
    return answers


def scan_nodes(client: Client) -> list[Any]:
    """Return what ``scan_page`` is to go through: every primary of a cluster, or the one server."""
    if isinstance(client, RedisCluster):
        return list(client.get_primaries())  # type: ignore[no-untyped-call]  # redis-py's has no types
    return [None]


def scan_page(client: Client, node: Any, cursor: int, pattern: bytes, count: int) -> tuple[int, list[bytes]]:
    """Return the next cursor (0 at the end) and the keys of one SCAN."""
    target = {} if node is None else {"target_nodes": node}
    found: Any = client.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", count, **target)  # type: ignore[no-untyped-call]  # redis-py's has no types
    following, keys = found
    if isinstance(following, dict):
        # A cluster client answers by node.
        following = next(iter(following.values()))
    return int(following), list(keys)
