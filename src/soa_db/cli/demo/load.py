"""Tasks that call a server all the time, on an event loop in a thread of their own: what came back, what failed."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from soa_db.errors import SoaDbError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

__all__ = ["RECONNECT", "Failure", "Load", "kinds"]

# Each task rests between calls: the demo shows that calls survive, not how many a laptop can make.
REST = 0.004
# Seconds between two drains of a pool whose calls are to need new connections.
RECONNECT = 0.05


@dataclass(frozen=True, slots=True)
class Failure:
    """One call that failed.

    Attributes:
        began: monotonic seconds at which the call was begun.
        error: name of the error's class.
        typed: it is one of the package's errors.
    """

    began: float
    error: str
    typed: bool


class Load(ABC):
    """A context manager that keeps calling until it is left.

    Args:
        tasks: how many call at the same time; also an attribute.

    Attributes:
        succeeded: monotonic seconds at which each call that succeeded ended, by what it is known by.
        failures: the calls that failed.
    """

    def __init__(self, *, tasks: int) -> None:
        self.succeeded: dict[str, float] = {}
        self.failures: list[Failure] = []
        self.tasks = tasks
        self._stop = threading.Event()
        self._under_way = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="demo-load")

    @property
    def calls(self) -> int:
        """How many calls have ended."""
        return len(self.succeeded) + len(self.failures)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._under_way.wait()
        except BaseException:
            # Ctrl-C here: nobody will leave the context that was never entered.
            self._stop.set()
            self._thread.join()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that leaves the context
            self._error = error
        finally:
            self._under_way.set()

    @abstractmethod
    async def _main(self) -> None:
        """Connect, call until told to stop, and look at what is there in the end."""

    async def _until_stopped(self, call: Callable[[], Awaitable[str]]) -> None:
        """Call again and again; ``call`` returns what the call is known by."""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                name = await call()
            except Exception as error:  # noqa: BLE001  # every way to fail is counted
                self.failures.append(Failure(began, type(error).__name__, isinstance(error, SoaDbError)))
            else:
                self.succeeded[name] = time.monotonic()
            self._under_way.set()
            await asyncio.sleep(REST)

    async def _drain(self, drain: Callable[[], Awaitable[None]]) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(RECONNECT)
            await drain()


def kinds(failures: list[Failure]) -> str:
    """``9 × ServerUnavailable``, or ``none``."""
    counts = Counter(failure.error for failure in failures)
    return ", ".join(f"{number} × {kind}" for kind, number in counts.items()) or "none"
