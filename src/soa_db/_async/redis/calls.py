"""One call of a native client, repeated where that is safe, with typed errors."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from soa_db._core.reconnect import probe_delay
from soa_db._core.redis.classify import Category
from soa_db._core.redis.values import shown
from soa_db._redis._async import Client, drop_idle
from soa_db._redis.failures import DRIVER_ERRORS, NotReached, category_of, measured_pool, typed
from soa_db._runtime import telemetry
from soa_db._runtime._async import Awaited, sleep
from soa_db.errors import ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from soa_db.config import RedisConfig

__all__ = ["call_server"]

T = TypeVar("T")


async def call_server(
    client: Client,
    config: RedisConfig,
    call: Callable[[Client], Awaited[T]],
    *,
    again: bool,
    patience: float | None = None,
    key: bytes = b"",
) -> T:
    """Return what ``call`` of the client returns.

    It is repeated, until ``command_timeout`` seconds have passed, after an answer that says it was not run (READONLY,
    LOADING, CLUSTERDOWN …), when there was no connection, and, if it may run twice, when the connection broke.

    Args:
        client: the native client.
        config: its configuration.
        call: one round trip.
        again: whether it may run twice.
        patience: seconds instead of ``command_timeout``; 0 for a single attempt, once there is a connection.
        key: the key it is about, for messages.

    Raises:
        SoaDbError: the typed error, from the driver's.
    """
    started = time.monotonic()
    deadline = started + (config.command_timeout if patience is None else patience)
    while True:
        try:
            return await call(client)
        except DRIVER_ERRORS as error:
            category = category_of(error)
            # A cluster's asynchronous client does not wait for a connection that is in use.
            unsent = isinstance(error, NotReached) or category in {Category.NOT_READY, Category.POOL}
            delay = probe_delay(time.monotonic() - started, rng=random.random)
            repeatable = unsent or (again and category is Category.UNREACHABLE)
            if category is Category.NOT_READY:
                # The others in the pool lead to the same server, which has become a replica; also for the next call.
                await drop_idle(client)
            end = started + config.command_timeout if category is Category.POOL else deadline
            if not repeatable or time.monotonic() + delay >= end:
                found = typed(error, config, key=shown(key) if key else "")
                if found is error:
                    raise
                if type(found) is ServerUnavailable:
                    # Of its subclasses, connections that could not be made, their makers have told.
                    telemetry.failed(measured_pool(config), ServerUnavailable)
                raise found from error
        await sleep(delay)
