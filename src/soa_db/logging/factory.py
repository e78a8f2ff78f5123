"""Records just as ``logging.LogRecord`` makes them, in half its time: making one takes longer than redacting a line.

Only where they are sure to be the same: nobody has set a record factory or replaced the constructor, and a record has
no attribute unknown here. Else ``logging`` makes them.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from types import FrameType
from typing import Any

__all__ = ["make_record"]

_SAMPLE = logging.makeLogRecord({})
# When `logging` was loaded, of which records tell how long ago it was; its own name for that has changed its unit.
_LOADED = _SAMPLE.created - _SAMPLE.relativeCreated / 1000
_INIT = logging.LogRecord.__init__
_HAS_TASK = hasattr(_SAMPLE, "taskName")  # Python 3.12
_KNOWN = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created "  # noqa: SIM905
    "msecs relativeCreated thread threadName processName process taskName".split()
)
_ALL_KNOWN = _KNOWN - {"taskName"} <= vars(_SAMPLE).keys() <= _KNOWN

# Names of files and modules of paths. Code that is made while the program runs may have ever new paths.
_places: dict[str, tuple[str, str]] = {}
_MOST_PLACES = 1024


def make_record(
    name: str, level: int, frame: FrameType, message: object, args: tuple[Any, ...], exc_info: Any, stack: str | None
) -> logging.LogRecord:
    """A record of what was logged at ``frame``.

    Args:
        name: of the logger.
        level: as a number.
        frame: that logged.
        message: and below, as ``logging.LogRecord`` takes them.
        args: of the message.
        exc_info: as a tuple, or None.
        stack: as text, or None.
    """
    code = frame.f_code
    path = code.co_filename
    factory = logging.getLogRecordFactory()
    kind = logging.LogRecord
    if args or factory is not kind or kind.__init__ is not _INIT or not _ALL_KNOWN:
        return factory(name, level, path, frame.f_lineno, message, args, exc_info, code.co_name, stack)
    place = _places.get(path)
    if place is None:
        place = _place(path)
    created = time.time()
    record = kind.__new__(kind)
    record.__dict__ = {
        "name": name,
        "msg": message,
        "args": args,
        "levelname": logging.getLevelName(level),
        "levelno": level,
        "pathname": path,
        "filename": place[0],
        "module": place[1],
        "exc_info": exc_info,
        "exc_text": None,
        "stack_info": stack,
        "lineno": frame.f_lineno,
        "funcName": code.co_name,
        "created": created,
        "msecs": int((created - int(created)) * 1000) + 0.0,
        "relativeCreated": (created - _LOADED) * 1000,
        # What of these is not wanted is said by flags of `logging`.
        "thread": threading.get_ident() if logging.logThreads else None,
        "threadName": threading.current_thread().name if logging.logThreads else None,
        "processName": _process_name() if logging.logMultiprocessing else None,
        "process": os.getpid() if logging.logProcesses else None,
    }
    if _HAS_TASK:
        record.__dict__["taskName"] = _task_name() if logging.logAsyncioTasks else None
    return record


def _place(path: str) -> tuple[str, str]:
    if len(_places) >= _MOST_PLACES:
        _places.clear()
    filename = os.path.basename(path)  # noqa: PTH119  # as logging does
    place = _places[path] = (filename, os.path.splitext(filename)[0])  # noqa: PTH122
    return place


def _process_name() -> str:
    loaded = sys.modules.get("multiprocessing")
    if loaded is not None:
        try:
            return str(loaded.current_process().name)
        except Exception:  # noqa: BLE001  # while it is being imported
            pass
    return "MainProcess"


def _task_name() -> str | None:
    loaded = sys.modules.get("asyncio")
    if loaded is not None:
        try:
            return str(loaded.current_task().get_name())
        except Exception:  # noqa: BLE001  # no loop, or no task
            pass
    return None
