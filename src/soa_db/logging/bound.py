"""structlog's bound logger on the standard library's loggers: one record, one place where it is written."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Any

import structlog
from structlog.exceptions import DropEvent

__all__ = ["FIELDS", "PROCESSORS", "BoundLogger", "get_logger"]

# The attribute of a record that holds what was logged beside the message.
FIELDS = "event_fields"

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
    "notset": logging.NOTSET,
}


def _hand_over(
    _logger: object, _method: str, event: Mapping[str, Any]
) -> tuple[tuple[Mapping[str, Any]], dict[str, Any]]:
    """The last processor: the event goes on as it is; formatters redact and render it."""
    return (event,), {}


# One list for all loggers, the object that structlog's configuration holds too: `structlog.testing.capture_logs`
# empties and refills it.
PROCESSORS: list[Any] = [_hand_over]


class BoundLogger(structlog.stdlib.BoundLogger):
    """structlog's logger, whose events become records of the standard library's logger of that name.

    So levels, filters and handlers are those of ``logging``, for events of both kinds alike.
    """

    # Said once each: passing everything through one more call would cost as much as writing the line.
    def debug(self, event: str | None = None, *args: Any, **kw: Any) -> Any:
        """Log ``event`` at this level."""
        self._log(logging.DEBUG, "debug", event, args, kw)

    def info(self, event: str | None = None, *args: Any, **kw: Any) -> Any:
        """Log ``event`` at this level."""
        self._log(logging.INFO, "info", event, args, kw)

    def warning(self, event: str | None = None, *args: Any, **kw: Any) -> Any:
        """Log ``event`` at this level."""
        self._log(logging.WARNING, "warning", event, args, kw)

    def error(self, event: str | None = None, *args: Any, **kw: Any) -> Any:
        """Log ``event`` at this level."""
        self._log(logging.ERROR, "error", event, args, kw)

    def critical(self, event: str | None = None, *args: Any, **kw: Any) -> Any:
        """Log ``event`` at this level."""
        self._log(logging.CRITICAL, "critical", event, args, kw)

    def log(self, level: int, event: str | None = None, *args: Any, **kw: Any) -> Any:
        """Log ``event`` at any ``level``, not only at those that have names."""
        return self._log(level, logging.getLevelName(level).lower(), event, args, kw)

    def _proxy_to_logger(self, method_name: str, event: str | None = None, *event_args: Any, **event_kw: Any) -> Any:
        return self._log(_LEVELS.get(method_name, logging.INFO), method_name, event, event_args, event_kw)

    def _log(self, level: int, method: str, event: str | None, args: tuple[Any, ...], fields: dict[str, Any]) -> None:
        logger: logging.Logger = self._logger
        if not logger.isEnabledFor(level):
            return
        processors: Any = self._processors
        if len(processors) == 1 and processors[0] is _hand_over:
            event_dict = {**self._context, **fields} if self._context else fields
        else:
            try:
                (event_dict, *_), _ = self._process_event(method, event, fields)
            except DropEvent:
                return
            if not isinstance(event_dict, dict):  # processors of the user's own that render
                event_dict = {"event": event_dict}
            event = event_dict.pop("event", "")
        exc_info = _exc_info(event_dict.pop("exc_info")) if "exc_info" in event_dict else None
        stack_info = event_dict.pop("stack_info", None)
        frame = _caller(sys._getframe(2))  # noqa: SLF001  # as logging itself does
        record = logging.getLogRecordFactory()(
            logger.name,
            level,
            frame.f_code.co_filename,
            frame.f_lineno,
            "" if event is None else event,
            args,
            exc_info,
            frame.f_code.co_name,
            "".join(traceback.format_stack(frame)).rstrip() if stack_info else None,
        )
        record.__dict__[FIELDS] = event_dict
        logger.handle(record)


def get_logger(name: str | None = None, **fields: Any) -> structlog.stdlib.BoundLogger:
    """Return a structlog logger whose events go where ``configure_logging`` says, whether called before it or after.

    Before ``configure_logging`` has run, events go to whatever handlers ``logging`` has, without their fields.

    Args:
        name: of the logger, as in ``logging.getLogger``; the calling module's when left out.
        fields: bound to every event of this logger.
    """
    if name is None:
        name = sys._getframe(1).f_globals.get("__name__", "root")  # noqa: SLF001  # as structlog's factory does
    return BoundLogger(logging.getLogger(name), PROCESSORS, fields)


def _caller(frame: FrameType) -> FrameType:
    """The frame that logged, outside structlog and this module."""
    found: FrameType | None = frame
    while found is not None:
        module = found.f_globals.get("__name__", "")
        if module != __name__ and not module.startswith("structlog."):
            return found
        found = found.f_back
    return frame


def _exc_info(given: object) -> Any:
    """What structlog's users pass as ``exc_info``, as records hold it."""
    match given:
        case None | False:
            return None
        case BaseException():
            return (type(given), given, given.__traceback__)
        case (_, BaseException(), _):
            return given
        case tuple():
            return None
        case _:
            return sys.exc_info()
