"""One call in one daemon thread. Daemon, so that a hung call does not keep the interpreter from ending."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["start"]

T = TypeVar("T")


def start(call: Callable[[], T], *, name: str) -> Future[T]:
    """Run ``call`` in a thread of its own, with the caller's context variables; the future holds how it ended."""
    future: Future[T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result = context.run(call)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the future
            future.set_exception(error)
        else:
            future.set_result(result)

    # Running from the start: a waiter that is cancelled must not be able to cancel the call for the others.
    future.set_running_or_notify_cancel()
    threading.Thread(target=run, name=name, daemon=True).start()
    return future
