"""The manager of one service's Redis: a native client that asks for credentials at every connect, and JSON values."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack

from soa_db._async.redis.cache import AsyncCache
from soa_db._async.redis.calls import call_server
from soa_db._async.redis.principal import AsyncRedisPrincipal, LoaderKeywords
from soa_db._core.backoff import full_jitter
from soa_db._core.redis.values import decode, encode, encode_key, milliseconds, prefix_pattern, shown
from soa_db._redis._async import (
    Client,
    Login,
    close_client,
    drop_idle,
    forget_client,
    idle_and_used,
    make_client,
    scan_nodes,
    scan_page,
)
from soa_db._redis.failures import DRIVER_ERRORS, typed
from soa_db._runtime import fork
from soa_db._runtime._async import Awaited, Lock, complete, sleep
from soa_db.errors import AccessDenied, ConfigurationError, NotConnectedError, ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from soa_db._async.aws import AsyncAwsClients
    from soa_db.config import RedisConfig

__all__ = ["AsyncRedisConnectionManager", "Key"]

T = TypeVar("T")
Key = str | bytes
OnError = Literal["raise", "miss"]

DEFAULT_TTL = 600.0
_CONNECT_ATTEMPTS = 3
_CONNECT_BASE = 1.0
_CONNECT_CAP = 4.0
# Keys a command takes at once: a server does nothing else while it runs one.
_BATCH = 1000


class AsyncRedisConnectionManager:
    """Redis as one user: redis-py's client in ``client``, and calls whose values are JSON.

    Values are bare compact JSON, as the TypeScript packages write and read them. Errors are typed and never swallowed:
    ConnectionFailed and its kinds, PoolTimeout, AccessDenied, CommandRefused, ValueMalformed, ConfigurationError; a
    reading call asked for ``on_error="miss"`` says of a server that is away that the key is not there. Calls that may
    run twice are repeated while a server is away, for ``command_timeout`` seconds; the native client's never are.

    Args:
        config: what to connect to, and how to authenticate.
        aws: shared AWS clients for the credentials; made and closed by the manager when left out and needed.
    """

    def __init__(self, config: RedisConfig, *, aws: AsyncAwsClients | None = None) -> None:
        self._start(AsyncRedisPrincipal(config=config, aws=aws))

    def _start(self, principal: AsyncRedisPrincipal) -> None:
        self._principal = principal
        self._client: Client | None = None
        self._lock = Lock()
        self._inherited = False
        self._cache = AsyncCache(self)
        fork.watch(self)

    @classmethod
    def from_aws(cls, *, aws: AsyncAwsClients | None = None, **loader: Unpack[LoaderKeywords]) -> Self:
        """Return a manager whose configuration is loaded from AWS when it connects.

        Takes the keywords of ``aload_redis_config_from_aws``: ``env``, ``service``, ``auth`` ….
        """
        manager = cls.__new__(cls)
        cls._start(manager, AsyncRedisPrincipal(loader=loader, aws=aws))
        return manager

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._principal.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, {'connected' if self.is_connected else 'not connected'}>"

    # --- life

    async def connect(self) -> None:
        """Make the client, once a round trip has proved host, TLS and credentials. Does nothing when connected.

        Tried three times while the server is unavailable; any other failure is final at once.

        Raises:
            AuthenticationFailed: the server refuses the user or its credentials, a forced re-read of them included.
            TlsVerificationFailed: the server's certificate does not stand up.
            ServerUnavailable: the server is down, starting or too slow.
            CredentialError: AWS did not give the configuration or the credentials.
            ConfigurationError: the configuration cannot be used.
        """
        async with self._lock:
            if self._client is None:
                self._client = await self._open()
                self._inherited = False

    async def _open(self) -> Client:
        config, credentials = await self._principal.resolve()
        login = Login(config, credentials)
        for attempt in range(1, _CONNECT_ATTEMPTS):
            try:
                return await self._probe(login)
            except ServerUnavailable:
                await sleep(full_jitter(attempt, base=_CONNECT_BASE, cap=_CONNECT_CAP, rng=random.random))
        return await self._probe(login)

    @staticmethod
    async def _probe(login: Login) -> Client:
        client: Client | None = None
        try:
            client = await make_client(login)
            await client.ping()
        except BaseException as error:
            if client is not None:
                await complete(close_client, client)
            if isinstance(error, DRIVER_ERRORS):
                found = typed(error, login.config)
                if found is not error:
                    raise found from error
            raise
        return client

    async def disconnect(self) -> None:
        """Close every connection. Does nothing when not connected; ``connect`` may be called again."""
        async with self._lock:
            client, self._client, self._inherited = self._client, None, False
            # To its end: a caller who is cancelled here would leave connections behind.
            await complete(self._close, client)

    async def _close(self, client: Client | None) -> None:
        try:
            await self._cache.stop()
            if client is not None:
                await close_client(client)
        finally:
            await self._principal.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.disconnect()

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections: called in a forked child, before anything else runs there."""
        client, self._client = self._client, None
        # The parent may have held it at that moment; whoever held it is not here to release it.
        self._lock = Lock()
        self._cache = AsyncCache(self)
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

    async def present(self) -> Client:
        """Return the native client; in a forked child, connected anew."""
        if self._client is None and self._inherited:
            await self.connect()
        return self.client

    async def ping(self) -> bool:
        """Return whether a round trip succeeds, within the connect and command timeouts; never raises an error."""
        try:
            client = await self.present()
            await call_server(client, self.config, client.ping, again=True, patience=0)
        except Exception:  # noqa: BLE001 - the answer is no, whatever the reason
            return False
        self._cache.answered()
        return True

    def stats(self) -> Mapping[str, int]:
        """Return counts: connections ``idle`` and ``in_use``, cache ``hits``, ``misses``, ``origin_calls`` ….

        ``away`` counts outages met by cache calls, ``connected`` is 1 or 0.
        """
        idle, used = idle_and_used(self.client)
        return {"idle": idle, "in_use": used, "connected": int(self.is_connected), **self._cache.counts()}

    async def drain(self) -> None:
        """Replace every idle connection; those in use are left to their callers."""
        await drop_idle(self.client)

    # --- values

    async def get(self, key: Key, default: Any = None, *, on_error: OnError = "raise") -> Any:
        """Return the value of a key, ``default`` when there is none.

        Args:
            key: text or bytes.
            default: returned for a key that is not there; a JSON null is None.
            on_error: ``miss`` to return ``default`` also while the server is away: it is tried once, without
                waiting for its return, and during an outage by one caller at a time.
        """
        name = encode_key(key)
        text = await self._reading(lambda client: client.get(name), None, on_error, name)
        return default if text is None else decode(text, name)

    async def set(self, key: Key, value: object, ttl: float | None = DEFAULT_TTL) -> None:
        """Write a value as JSON.

        Args:
            key: text or bytes.
            value: anything JSON can hold.
            ttl: seconds to live, a fraction rounded up to milliseconds; None for as long as the server keeps it.

        Raises:
            ConfigurationError: the value is no JSON, or ``ttl`` is 0 or less. Nothing is sent then.
        """
        name = encode_key(key)
        text, px = encode(value, name), None if ttl is None else milliseconds(ttl)
        await self._call(lambda client: client.set(name, text, px=px), again=True, key=name)

    async def delete(self, key: Key) -> bool:
        """Delete a key; return whether it was there."""
        return await self.mdel([key]) > 0

    async def mget(self, keys: Iterable[Key], *, on_error: OnError = "raise") -> list[Any]:
        """Return the values of keys in their order, None for one that is not there."""
        names = [encode_key(key) for key in keys]
        if not names:
            return []
        texts = await self._reading(lambda client: self._mget(client, names), [None] * len(names), on_error, names[0])
        return [None if text is None else decode(text, name) for text, name in zip(texts, names, strict=True)]

    async def _mget(self, client: Client, names: list[bytes]) -> list[bytes | None]:
        texts: list[bytes | None] = []
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            # Of a cluster's client this goes by slot.
            call: Any = client.mget_nonatomic if self.config.cluster else client.mget  # type: ignore[union-attr]
            texts += await call(batch)
        return texts

    async def mset(
        self, values: Mapping[str, object] | Mapping[bytes, object], ttl: float | None = DEFAULT_TTL
    ) -> None:
        """Write several values in one pipeline, each with its time to live; not as one transaction.

        Raises:
            ConfigurationError: one of them is no JSON. Nothing is sent then.
        """
        px = None if ttl is None else milliseconds(ttl)
        texts = {name: encode(value, name) for name, value in ((encode_key(key), one) for key, one in values.items())}
        if texts:
            await self._call(lambda client: self._mset(client, texts, px), again=True)

    async def _mset(self, client: Client, texts: Mapping[bytes, bytes], px: int | None) -> None:
        pairs = list(texts.items())
        for start in range(0, len(pairs), _BATCH):
            # Of a cluster's client this goes by node.
            pipeline: Any = client.pipeline(transaction=False)
            for name, text in pairs[start : start + _BATCH]:
                pipeline.set(name, text, px=px)
            await pipeline.execute()

    async def mdel(self, keys: Iterable[Key]) -> int:
        """Delete keys; return how many were there."""
        names = [encode_key(key) for key in keys]
        count = 0
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            count += await self._call(lambda client, batch=batch: client.delete(*batch), key=batch[0])  # type: ignore[misc]
        return count

    # --- sets

    async def sadd(self, key: Key, *values: object, ttl: float | None = None) -> int:
        """Add values to a set, each as JSON; return how many were new.

        Two objects whose fields come in another order are two members.

        Args:
            key: text or bytes.
            values: anything JSON can hold.
            ttl: seconds the set lives from now; left as it is when None.
        """
        name = encode_key(key)
        texts = [encode(value, name) for value in values]
        px = None if ttl is None else milliseconds(ttl)
        added: int = await self._call(lambda client: client.sadd(name, *texts), key=name) if texts else 0
        if px is not None:
            await self._call(lambda client: client.pexpire(name, px), again=True, key=name)
        return added

    async def smembers(self, key: Key, *, on_error: OnError = "raise") -> list[Any]:
        """Return the members of a set, in no order; a list, since JSON's objects and lists fit in no Python set."""
        name = encode_key(key)
        found = await self._reading(lambda client: client.smembers(name), (), on_error, name)
        return [decode(text, name) for text in found]

    async def srem(self, key: Key, *values: object) -> int:
        """Remove values from a set; return how many were there."""
        name = encode_key(key)
        texts = [encode(value, name) for value in values]
        removed: int = await self._call(lambda client: client.srem(name, *texts), key=name) if texts else 0
        return removed

    # --- many keys

    async def clear_by_prefix(self, prefix: Key) -> int:
        """Delete every key that begins with ``prefix``, on every primary of a cluster; return how many were deleted.

        SCAN and UNLINK in batches: nothing is held up. ``*``, ``?`` and the like in the prefix mean themselves.

        Raises:
            AccessDenied: the user may not SCAN: ``scan: true`` is missing in the service's db-access.yaml.
            ConfigurationError: the prefix is empty.
        """
        start = encode_key(prefix)
        if not start:
            raise ConfigurationError("an empty prefix would delete every key", hint="give the service's own prefix")
        pattern = prefix_pattern(start)
        count = 0
        for node in await self._call(scan_nodes, again=True):
            cursor = 0
            while True:
                try:
                    cursor, names = await self._call(
                        lambda client, at=cursor, node=node: scan_page(client, node, at, pattern, _BATCH),  # type: ignore[misc]
                        again=True,
                    )
                except AccessDenied as error:
                    hint = "set `scan: true` under `redis` in db-access.yaml, and provision"
                    raise AccessDenied(error.message, hint=hint, **error.context) from error
                if names:
                    count += await self._call(lambda client, names=names: client.unlink(*names), again=True)  # type: ignore[misc]
                if cursor == 0:
                    break
        return count

    # --- cache

    async def cached_call(
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
        return await self._cache.call(encode_key(key), origin, ttl=ttl, stale=stale_while_revalidate, lock=lock)

    async def refresh_cache(
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
        return await self._cache.refresh(encode_key(key), origin, throttle=throttle, ttl=ttl)

    # --- calls

    async def _call(self, call: Callable[[Client], Any], *, again: bool = False, key: bytes = b"") -> Any:
        client = await self.present()
        found = await call_server(client, self.config, lambda: call(client), again=again, key=shown(key) if key else "")
        self._cache.answered()
        return found

    async def _reading(self, call: Callable[[Client], Any], miss: Any, on_error: OnError, key: bytes) -> Any:
        if on_error not in {"raise", "miss"}:
            raise ConfigurationError(f"unknown on_error {on_error!r}", hint="'raise' or 'miss'")
        if on_error == "miss":
            return await self._cache.read(call, miss, key)
        return await self._call(call, again=True, key=key)
