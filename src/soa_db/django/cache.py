"""A cache back end on the Redis of a service: ``BACKEND: "soa_db.django.cache.RedisCache"``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.utils.module_loading import import_string

from soa_db._core.redis.values import encode_key, is_countable
from soa_db.django.errors import SettingsError, as_settings_error
from soa_db.django.redis import Commands, commands_of
from soa_db.django.serializers import JsonSerializer, Serializer
from soa_db.django.timeouts import milliseconds_of
from soa_db.errors import ConfigurationError

__all__ = ["RedisCache"]


class RedisCache(BaseCache):
    """Django's cache on the Redis of a service, as the service's user.

    Connections, credentials and knowledge of outages are shared by all threads of a process. Errors are those of
    ``soa_db.errors``; none quotes a value.

    Args:
        location: nothing; where to is said by ``env`` and ``service``.
        params: the entry of CACHES. Its OPTIONS are ``env``, ``service``, other keywords of
            ``load_redis_config_from_aws``, ``aws``, ``on_error`` and ``serializer``.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        given = params.get("timeout", params.get("TIMEOUT", DEFAULT_TIMEOUT))
        try:
            # First: of what is no number Django makes 300.
            if given is not DEFAULT_TIMEOUT:
                milliseconds_of(given)
        except ConfigurationError as error:
            raise as_settings_error(error, "CACHES: TIMEOUT") from error
        super().__init__(params)
        if isinstance(given, float):
            # Django cuts it off, and caches nothing for half a second.
            self.default_timeout = given
        options = dict(params.get("OPTIONS") or {})
        for ours in ("MAX_ENTRIES", "CULL_FREQUENCY"):
            # Django's own, which mean nothing to a server that evicts by itself.
            options.pop(ours, None)
        if location:
            raise SettingsError("CACHES: LOCATION is set", hint="give OPTIONS: {'env': …, 'service': …} instead")
        self._on_error = options.pop("on_error", "miss")
        if self._on_error not in {"miss", "raise"}:
            raise SettingsError("CACHES: OPTIONS['on_error'] is unknown", hint="'miss' or 'raise'")
        self._serializer = _serializer(options.pop("serializer", None))
        try:
            self._commands: Commands = commands_of(options)
        except ConfigurationError as error:
            raise as_settings_error(error, "CACHES") from error
        # The server refuses keys that do not begin so.
        service = str(options["service"])
        own = self.key_prefix == service or self.key_prefix.startswith(f"{service}:")
        self.key_prefix = self.key_prefix if own else f"{service}:{self.key_prefix}".rstrip(":")

    def _key(self, key: Any, version: int | None) -> bytes:
        return encode_key(self.make_and_validate_key(key, version=version))

    def get_backend_timeout(self, timeout: float | None = DEFAULT_TIMEOUT) -> int | None:
        """Return a timeout in seconds as milliseconds, rounded up: None for none, 0 for one that is over.

        Raises:
            ConfigurationError: it is no number of seconds, or one that the server cannot keep.
        """
        return milliseconds_of(self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout)

    # --- one key

    def get(self, key: Any, default: Any | None = None, version: int | None = None) -> Any:
        """Return the value of a key, ``default`` when there is none."""
        name = self._key(key, version)
        data = self._commands.read(name, self._on_error)
        return default if data is None else self._serializer.loads(data, name)

    def set(self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Write a value.

        Args:
            key: the key.
            value: what the serializer can write.
            timeout: seconds it lives; None for as long as the server keeps it, 0 and less not at all.
            version: the version of the key.

        Raises:
            ConfigurationError: the value cannot be written, or the timeout is no number of seconds. Nothing is sent.
            ServerUnavailable: the server is away, and ``on_error`` is ``raise``.
        """
        name, px = self._key(key, version), self.get_backend_timeout(timeout)
        data = self._serializer.dumps(value, name)
        if px == 0:
            self._commands.remove([name], self._on_error)
        else:
            self._commands.write(name, data, px, self._on_error)

    def add(self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Write a value unless the key is there; return whether it was written."""
        name, px = self._key(key, version), self.get_backend_timeout(timeout)
        data = self._serializer.dumps(value, name)
        if px == 0:
            return not self._commands.has(name, self._on_error)
        return self._commands.write_new(name, data, px, self._on_error)

    def touch(self, key: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give a key another timeout; return whether it is there."""
        name, px = self._key(key, version), self.get_backend_timeout(timeout)
        if px == 0:
            return self._commands.remove([name], self._on_error) > 0
        return self._commands.expire(name, px, self._on_error)

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Delete a key; return whether it was there."""
        return self._commands.remove([self._key(key, version)], self._on_error) > 0

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Return whether a key is there."""
        return self._commands.has(self._key(key, version), self._on_error)

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        """As ``has_key``."""
        return await sync_to_async(self.has_key, thread_sensitive=True)(key, version)

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add to a number, at once for all processes; return the sum.

        It is never sent again once it may have been run.

        Args:
            key: the key.
            delta: an integer of 64 bits.
            version: the version of the key.

        Raises:
            ValueError: the key is not there; so it seems while the server is away, unless ``on_error`` is ``raise``.
            ConfigurationError: ``delta`` is no such integer.
            CommandRefused: what it holds is no integer, or the sum would be too large.
            ServerUnavailable: the connection broke, also with ``on_error="miss"``; whether it was added is not known.
        """
        if type(delta) is not int or not is_countable(delta):
            raise ConfigurationError("delta is not an integer of 64 bits", hint="the server counts in those")
        total = self._commands.add(self._key(key, version), delta, self._on_error)
        if total is None:
            raise ValueError(f"Key {key!r} not found")
        return total

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """As ``incr``."""
        return await sync_to_async(self.incr, thread_sensitive=True)(key, delta, version)

    # --- several

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values of those keys that are there, in one round trip; in a cluster, one to each node."""
        names = {self._key(key, version): key for key in keys}
        if not names:
            return {}
        found = zip(names, self._commands.read_many(list(names), self._on_error), strict=True)
        return {names[name]: self._serializer.loads(data, name) for name, data in found if data is not None}

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """As ``get_many``."""
        return await sync_to_async(self.get_many, thread_sensitive=True)(keys, version)

    def set_many(
        self, data: Mapping[Any, Any], timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """Write several values in one round trip; in a cluster, one to each node. Not as one transaction.

        Args:
            data: values by their keys.
            timeout: as ``set`` takes it, for each of them.
            version: the version of the keys.

        Returns:
            The keys whose values the server has not confirmed, because it was away; they may be written all the same.

        Raises:
            ConfigurationError: one of the values cannot be written, or the timeout is no number. Nothing is sent then.
            ServerUnavailable: the server went away, and ``on_error`` is ``raise``; some may be written.
            AccessDenied: the server refuses one of them, whatever ``on_error`` says; others may be written.
        """
        px = self.get_backend_timeout(timeout)
        texts: dict[bytes, bytes] = {}
        names: dict[bytes, Any] = {}
        for key, value in data.items():
            name = self._key(key, version)
            texts[name], names[name] = self._serializer.dumps(value, name), key
        if not texts:
            return []
        if px == 0:
            self._commands.remove(list(texts), self._on_error)
            return []
        written = self._commands.write_many(texts, px, self._on_error)
        return [key for name, key in names.items() if name not in written]

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """As ``set_many``."""
        return await sync_to_async(self.set_many, thread_sensitive=True)(data, timeout, version)

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Delete several keys in one round trip; in a cluster, one to each node."""
        names = [self._key(key, version) for key in keys]
        if names:
            self._commands.remove(names, self._on_error)

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """As ``delete_many``."""
        await sync_to_async(self.delete_many, thread_sensitive=True)(keys, version)

    def clear(self) -> None:
        """Delete every key that begins with the service's name and KEY_PREFIX; other services' keys stay.

        Raises:
            AccessDenied: the service may not list keys: ``scan: true`` is missing in its db-access.yaml.
            ServerUnavailable: the server is away, whatever ``on_error`` says.
        """
        self._commands.clear_by_prefix(f"{self.key_prefix}:")


def _serializer(given: object) -> Serializer:
    try:
        found: Any = import_string(given) if isinstance(given, str) else given
    except ImportError as error:
        raise SettingsError(f"CACHES: the serializer cannot be imported: {error}") from error
    if found is None:
        return JsonSerializer()
    made: Any = found() if isinstance(found, type) else found
    if not (callable(getattr(made, "dumps", None)) and callable(getattr(made, "loads", None))):
        raise SettingsError("CACHES: the serializer has no dumps and loads", hint="see soa_db.django.serializers")
    serializer: Serializer = made
    return serializer
