# Generated from src/soa_db/_async/redis/manager.py by tools/generate_sync.py: edit that file, then run `make generate`.

"""The manager of one service's Redis: a native client that asks for credentials at every connect, and JSON values."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from soa_db._core.backoff import full_jitter
from soa_db._core.redis.values import encode_key
from soa_db._redis._sync import (
    Client,
    Login,
    abandon_client,
    close_client,
    drop_idle,
    forget_client,
    idle_and_used,
    make_client,
    pool_use,
)
from soa_db._redis.failures import DRIVER_ERRORS, measured_pool, typed
from soa_db._runtime import fork, telemetry
from soa_db._runtime._sync import Affinity, Awaited, Lock, complete, sleep
from soa_db._sync.redis.base import Key
from soa_db._sync.redis.cache import Cache
from soa_db._sync.redis.calls import call_server
from soa_db._sync.redis.keys import DEFAULT_TTL, Keys
from soa_db._sync.redis.principal import LoaderKeywords, RedisPrincipal
from soa_db._sync.redis.sets import Sets
from soa_db.errors import NotConnectedError, ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from soa_db._sync.aws import AwsClients
    from soa_db.config import RedisConfig
    from soa_db.credentials import CredentialInUse

__all__ = ["RedisConnectionManager", "Key"]

T = TypeVar("T")
_CONNECT_ATTEMPTS = 3
_CONNECT_BASE = 1.0
_CONNECT_CAP = 4.0


class RedisConnectionManager(Keys, Sets):
    """Redis as one user: redis-py's client in ``client``, and calls whose values are JSON.

    Values are bare compact JSON, as the TypeScript packages write and read them. Errors are typed and never swallowed:
    ConnectionFailed and its kinds, PoolTimeout, AccessDenied, CommandRefused, ValueMalformed, ConfigurationError; a
    reading call asked for ``on_error="miss"`` says of a server that is away that the key is not there. Calls that may
    run twice are repeated while a server is away, for ``command_timeout`` seconds; the native client's never are.

    Args:
        config: what to connect to, and how to authenticate.
        aws: shared AWS clients for the credentials; made and closed by the manager when left out and needed.
    """

    def __init__(self, config: RedisConfig, *, aws: AwsClients | None = None) -> None:
        self._start(RedisPrincipal(config=config, aws=aws))

    def _start(self, principal: RedisPrincipal) -> None:
        self._principal = principal
        self._client: Client | None = None
        self._affinity = Affinity()
        self._lock = Lock()
        self._inherited = False
        self._cache = Cache(self)
        fork.watch(self)
        telemetry.watch(self, RedisConnectionManager._use)

    @classmethod
    def from_aws(cls, *, aws: AwsClients | None = None, **loader: Unpack[LoaderKeywords]) -> Self:
        """Return a manager whose configuration is loaded from AWS when it connects.

        Takes the keywords of ``aload_redis_config_from_aws``: ``env``, ``service``, ``auth`` ….
        """
        manager = cls.__new__(cls)
        cls._start(manager, RedisPrincipal(loader=loader, aws=aws))
        return manager

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._principal.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, {'connected' if self.is_connected else 'not connected'}>"

    # --- life

    def connect(self) -> None:
        """Make the client, once a round trip has proved host, TLS and credentials. Does nothing when connected.

        Tried three times while the server is unavailable; any other failure is final at once.

        Raises:
            AuthenticationFailed: the server refuses the user or its credentials, a forced re-read of them included.
            TlsVerificationFailed: the server's certificate does not stand up.
            ServerUnavailable: the server is down, starting or too slow.
            CredentialError: AWS did not give the configuration or the credentials.
            ConfigurationError: the configuration cannot be used.
            NotConnectedError: the manager is connected in another event loop.
        """
        self._enter()
        with self._lock:
            if self._client is None:
                self._client = self._open()
                self._inherited = False

    def _enter(self) -> None:
        """Belong to this event loop; what is left of one that has ended is dropped."""
        if self._affinity.enter(in_use=self._client is not None or self._lock.locked()):
            client = self._forget()
            if client is not None:
                abandon_client(client)
                # Its tasks ended with their loop.
                self._cache = Cache(self)

    def _forget(self) -> Client | None:
        """Be as new, and return the client there was."""
        client, self._client = self._client, None
        # Whoever holds it will not release it, and whoever waited for it bound it to a loop.
        self._lock = Lock()
        return client

    def _open(self) -> Client:
        config, credentials = self._principal.resolve()
        login = Login(config, credentials)
        for attempt in range(1, _CONNECT_ATTEMPTS):
            try:
                return self._probe(login)
            except ServerUnavailable:
                sleep(full_jitter(attempt, base=_CONNECT_BASE, cap=_CONNECT_CAP, rng=random.random))
        return self._probe(login)

    @staticmethod
    def _probe(login: Login) -> Client:
        client: Client | None = None
        try:
            client = make_client(login)
            client.ping()
        except BaseException as error:
            if client is not None:
                complete(close_client, client)
            if isinstance(error, DRIVER_ERRORS):
                found = typed(error, login.config)
                if found is not error:
                    raise found from error
            raise
        return client

    def disconnect(self) -> None:
        """Close every connection. Does nothing when not connected; ``connect`` may be called again.

        Raises:
            NotConnectedError: the manager is connected in another event loop than this one.
        """
        self._enter()
        with self._lock:
            client, self._client, self._inherited = self._client, None, False
            # To its end: a caller who is cancelled here would leave connections behind.
            complete(self._close, client)

    def _close(self, client: Client | None) -> None:
        try:
            self._cache.stop()
            if client is not None:
                close_client(client)
        finally:
            self._principal.close()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections: called in a forked child, before anything else runs there."""
        self._affinity = Affinity()
        client = self._forget()
        self._cache = Cache(self)
        if client is not None:
            self._inherited = True
            forget_client(client)

    # --- state

    @property
    def config(self) -> RedisConfig:
        """The configuration; raises NotConnectedError as long as it has not been loaded from AWS."""
        return self._principal.config

    @property
    def is_connected(self) -> bool:
        """Whether it is connected, and no cache call has found the server away since. No I/O."""
        return self._client is not None and not self._cache.is_away

    @property
    def client(self) -> Client:
        """The native client; raises NotConnectedError before ``connect``."""
        if self._client is None:
            raise NotConnectedError("the manager is not connected", hint="call connect() first", instance=self.name)
        return self._client

    def present(self) -> Client:
        """Return the native client; in a forked child, connected anew.

        Raises:
            NotConnectedError: the manager is not connected, or in another event loop.
        """
        # Every call comes through here.
        client = self._client
        if client is None:
            if self._inherited:
                self.connect()
            client = self.client
        self._affinity.check()
        return client

    def _here(self) -> Client:
        client = self.client
        self._affinity.check()
        return client

    def ping(self) -> bool:
        """Return whether a round trip succeeds, within the connect and command timeouts; never raises an error."""
        try:
            self.check()
        except Exception:  # noqa: BLE001 - the answer is no, whatever the reason
            return False
        return True

    def check(self, timeout: float | None = None) -> None:  # noqa: ARG002 - the other providers'
        """Make the round trip that ``ping`` makes, and raise why it fails.

        Args:
            timeout: not used, and there because other providers' ``check`` has it: the connect and command timeouts
                bound it.

        Raises:
            ServerUnavailable: the server is down or does not answer in time.
            SoaDbError: likewise the other errors of a call.
        """
        client = self.present()
        call_server(client, self.config, lambda client: client.ping(), again=True, patience=0)
        self._cache.answered()

    @property
    def credential(self) -> CredentialInUse | None:
        """Where the credentials asked for last came from, their age and their end; None before ``connect``. No I/O."""
        return self._principal.credential

    def stats(self) -> Mapping[str, int]:
        """Return counts: connections ``idle`` and ``in_use``, cache ``hits``, ``misses``, ``origin_calls`` ….

        ``away`` counts outages met by cache calls, ``connected`` is 1 or 0.
        """
        idle, used = idle_and_used(self.client)
        return {"idle": idle, "in_use": used, "connected": int(self.is_connected), **self._cache.counts()}

    def _use(self) -> tuple[tuple[telemetry.Pool, telemetry.PoolUse], ...]:
        client = self._client
        return () if client is None else ((measured_pool(self.config), pool_use(client)),)

    def drain(self) -> None:
        """Replace every idle connection; those in use are left to their callers."""
        drop_idle(self._here())

    # --- cache

    def cached_call(
        self,
        key: Key,
        origin: Callable[[], Awaited[T]],
        *,
        ttl: float = DEFAULT_TTL,
        stale_while_revalidate: float | None = None,
        lock: float | None = None,
    ) -> T:
        """Return the cached value of ``key``, or what ``origin`` returns, which is then cached.

        However many callers miss at once, ``origin`` is called once per key in this process. Falsy values and None
        are cached. What ``origin`` raises is raised to all who wait, and not cached. While Redis is away, ``origin`` is
        called each time, at most one call per key at once; the log gets one line per outage.

        Args:
            key: text or bytes.
            origin: gives the value; anything JSON can hold.
            ttl: seconds the value is fresh.
            stale_while_revalidate: seconds beyond ``ttl`` in which the old value is returned while one caller, of all
                processes, has it renewed in the background.
            lock: once per key across processes too: seconds the lock of the one who calls ``origin`` lasts at most.
                Longer than ``origin`` takes; after that another one calls it.

        Raises:
            ConfigurationError: what ``origin`` returns is no JSON, or a time is 0 or less.
            ValueMalformed: what the key holds is no JSON.
            AccessDenied: the user may not use the key.
        """
        return self._cache.call(encode_key(key), origin, ttl=ttl, stale=stale_while_revalidate, lock=lock)

    def refresh_cache(
        self,
        key: Key,
        origin: Callable[[], Awaited[object]],
        *,
        throttle: float = 60.0,
        ttl: float | None = DEFAULT_TTL,
    ) -> bool:
        """Call ``origin`` and cache what it returns, unless anybody did so less than ``throttle`` seconds ago.

        The sibling key ``{key}_refresh`` keeps that in mind. It is given up when ``origin`` fails.

        Args:
            key: text or bytes.
            origin: gives the value.
            throttle: seconds.
            ttl: seconds the value lives; None for as long as the server keeps it.

        Returns:
            Whether it was done.
        """
        return self._cache.refresh(encode_key(key), origin, throttle=throttle, ttl=ttl)
