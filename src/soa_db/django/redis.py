"""The Redis manager with what Django's cache needs beyond it, one for each entry of CACHES in a process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from soa_db.errors import MissingExtra

try:
    import redis as _redis  # noqa: F401  # what the back end of the database needs not
except ModuleNotFoundError as error:
    raise MissingExtra(f"{error.name} is not installed", hint="pip install 'soa-db[django,redis]'") from error

from soa_db._redis._sync import Client, Login, make_client
from soa_db._redis.failures import DRIVER_ERRORS, typed
from soa_db._runtime._sync import SingleFlight
from soa_db._sync.aws import AwsClients
from soa_db._sync.redis.manager import RedisConnectionManager
from soa_db.config import AwsTarget
from soa_db.django.settings import aws_clients, hashable, tls_config
from soa_db.django.transaction import run_transaction
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db._sync.redis.base import OnError
    from soa_db._sync.redis.principal import LoaderKeywords

__all__ = ["Commands", "commands_of"]

_LOADER = frozenset(
    {
        "auth",
        "cache_name",
        "cluster",
        "command_timeout",
        "connect_timeout",
        "db",
        "dial",
        "env",
        "host",
        "instance_name",
        "max_connections",
        "port",
        "region",
        "serverless",
        "service",
        "user",
    }
)
_KNOWN = _LOADER | {"aws", "tls"}
# Milliseconds: what INCRBY adds to a key that is not there is gone by itself.
_AT_ONCE = 1


class Commands(RedisConnectionManager):
    """Commands on raw values. It connects at its first call, again after a fork, and stays connected.

    ``on_error="miss"`` is for a server that is away: a reading call finds nothing, a writing call does nothing.
    """

    def present(self) -> Client:
        """Return the native client, connected if it has to be."""
        if self._client is None:
            self.connect()
        return super().present()

    def _open(self) -> Client:
        # Without the probe and the repeated attempts of a manager: a server that is away when the first request comes
        # must not hold that up longer than when it goes away later.
        config, credentials = self._principal.resolve()
        try:
            return make_client(Login(config, credentials))
        except DRIVER_ERRORS as error:
            found = typed(error, config)
            if found is error:
                raise
            raise found from error

    def read(self, key: bytes, on_error: OnError) -> bytes | None:
        """GET."""
        found: bytes | None = self._reading(lambda client: client.get(key), None, on_error, key)
        return found

    def read_many(self, keys: Sequence[bytes], on_error: OnError) -> list[bytes | None]:
        """GET each, in a round trip for a thousand (in a cluster: to each node)."""
        missing: list[bytes | None] = [None] * len(keys)
        found: list[bytes | None] = self._reading(
            lambda client: self._mget(client, list(keys)), missing, on_error, keys[0]
        )
        return found

    def has(self, key: bytes, on_error: OnError) -> bool:
        """EXISTS."""
        return bool(self._reading(lambda client: client.exists(key), 0, on_error, key))

    def write(self, key: bytes, data: bytes, px: int | None, on_error: OnError) -> None:
        """SET, with PX unless it is None."""
        self._reading(lambda client: client.set(key, data, px=px), None, on_error, key)

    def write_many(self, data: Mapping[bytes, bytes], px: int | None, on_error: OnError) -> set[bytes]:
        """SET each, in pipelines; which the server has confirmed: all of them, or it was away."""
        written: set[bytes] = set()
        self._reading(lambda client: self._mset(client, data, px, written), None, on_error, next(iter(data)))
        return written

    def write_new(self, key: bytes, data: bytes, px: int | None, on_error: OnError) -> bool:
        """SET NX; whether it was written."""
        return bool(self._changing(lambda client: client.set(key, data, px=px, nx=True), on_error, key))

    def expire(self, key: bytes, px: int | None, on_error: OnError) -> bool:
        """PEXPIRE, or PERSIST; whether the key is there."""

        def call(client: Client) -> bool:
            if px is not None:
                return bool(client.pexpire(key, px))
            # PERSIST tells neither a key without a timeout from one that is not there.
            return bool(client.persist(key) or client.exists(key))

        return bool(self._reading(call, False, on_error, key))

    def remove(self, keys: Sequence[bytes], on_error: OnError) -> int:
        """DEL; how many were there."""
        return sum(
            self._changing(partial(self._remove, names=list(keys[start : start + 1000])), on_error, keys[start]) or 0
            for start in range(0, len(keys), 1000)
        )

    def add(self, key: bytes, delta: int, on_error: OnError) -> int | None:
        """INCRBY of a key that is there; None when it is not."""
        if on_error == "miss" and not self.has(key, on_error):
            return None

        def call(client: Client) -> int | None:
            # A key that is not there exists for a millisecond, and not for good.
            make, count = ("SET", key, b"0", "NX", "PX", _AT_ONCE), ("INCRBY", key, delta)
            missing, total = run_transaction(client, key, (make, count))
            for found in (missing, total):
                if isinstance(found, Exception):
                    raise found
            return None if missing else int(total)

        # Made again only while nothing of it has been run: who loses the connection is not told whether it was.
        found: int | None = self._call(call, key=key)
        return found

    def _changing(self, call: Callable[[Client], Any], on_error: OnError, key: bytes) -> Any:
        """Make a call that gives another answer the second time."""
        return self._cache.read(call, None, key) if on_error == "miss" else self._call(call, key=key)


_commands: dict[Hashable, Commands] = {}
_flights: SingleFlight[Commands] = SingleFlight()


def commands_of(options: Mapping[str, Any]) -> Commands:
    """Return the manager for the options of an entry of CACHES: one for all threads.

    Raises:
        ConfigurationError: an option is unknown or missing.
    """
    for name in options:
        if name not in _KNOWN:
            hint = "known are " + ", ".join(sorted({*_KNOWN, "on_error", "serializer"}))
            raise ConfigurationError(f"OPTIONS has an unknown {name!r}", hint=hint)
    for name in ("env", "service"):
        if not options.get(name):
            raise ConfigurationError(
                f"OPTIONS has no {name!r}", hint="give env and service, e.g. 'prod' and 'chat-api'"
            )
    loader = {name: options[name] for name in _LOADER if options.get(name) is not None}
    tls = tls_config(options.get("tls"))
    if tls is not None:
        loader["tls"] = tls
    aws = aws_clients(options.get("aws"))
    key = (tuple(sorted((name, hashable(value)) for name, value in loader.items())), hashable(aws))
    found = _commands.get(key)
    return found if found is not None else _flights.run(key, lambda: _make(key, loader, aws))


def _make(key: Hashable, loader: Mapping[str, Any], aws: AwsClients | AwsTarget | None) -> Commands:
    if key not in _commands:
        clients = AwsClients.from_target(aws) if isinstance(aws, AwsTarget) else aws
        keywords: LoaderKeywords = dict(loader)  # type: ignore[assignment]  # of these keys, see _LOADER
        _commands[key] = Commands.from_aws(aws=clients, **keywords)
    return _commands[key]
