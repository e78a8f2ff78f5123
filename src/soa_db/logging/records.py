"""What a record says, as plain data: the same for structlog's events and for records of any library."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

from structlog.contextvars import get_contextvars

from soa_db.logging.bound import FIELDS
from soa_db.logging.keys import Decision, KeyRules
from soa_db.logging.redaction import NORMAL, REDACTED, Bounds, Redactor
from soa_db.logging.values import is_sequence, members

__all__ = ["RecordReader"]

# What every record has; all else was given as `extra`. uvicorn's color_message is its message again, with escapes.
_USUAL = frozenset(vars(logging.makeLogRecord({})))
_STANDARD = _USUAL | {"message", "asctime", "taskName", FIELDS, "color_message"}
_LEVELS = {name: name.lower() for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "NOTSET")}
# The end of a traceback says what happened; of its beginning, where it came from, less is enough.
_TRACE_BEGINNING, _TRACE_END = 4_096, 12_288


class RecordReader:
    """Reads records.

    Args:
        redact: further keys to be redacted.
        keep: keys that are not to be redacted.

    Raises:
        ConfigurationError: a key has no letter or digit.
    """

    def __init__(self, *, redact: Any = (), keep: Any = ()) -> None:
        self.redactor = Redactor(KeyRules(redact, keep))
        self._second: tuple[int, str] = (0, "")  # the last one, and how it is written

    def read(self, record: logging.LogRecord, bounds: Bounds = NORMAL) -> dict[str, object]:
        """What ``record`` says: when, how bad, who, what; the trace it belongs to; what went wrong; its fields.

        Args:
            record: of the standard library; it is not changed.
            bounds: how much of it is shown.
        """
        try:
            return self._read(record, bounds)
        except Exception as error:  # noqa: BLE001  # objects that raise even when asked for their class or hash
            plain = self.redactor.value
            return {
                "timestamp": self._timestamp(time.time()),
                "level": str(plain(record.levelname)).lower(),
                "logger": str(plain(record.name)),
                "event": f"[{type(error).__name__} while the record was read]",
                "pathname": plain(record.pathname),
                "lineno": plain(record.lineno),
            }

    def _read(self, record: logging.LogRecord, bounds: Bounds) -> dict[str, object]:
        state = record.__dict__
        redactor = self.redactor
        message, name = record.msg, record.name
        # What needs no putting together; a library's own records may do so in a way of their own.
        plain = message if type(message) is str and not record.args and type(record) is logging.LogRecord else ""
        is_mapping = type(message) is not str and isinstance(message, Mapping) and not record.args
        said: dict[str, object] = {
            "timestamp": self._timestamp(record.created),
            "level": _LEVELS.get(record.levelname) or redactor.text(str(record.levelname).lower()),
            "logger": name if type(name) is str and name.isascii() else redactor.text(str(name)),
            "event": "" if is_mapping else redactor.text(plain or self._message(record), bounds.text),
        }
        # Its API is looked for and not imported: who does not use OpenTelemetry pays a look into a dict.
        # While it is being imported it has no such function yet.
        if (current := getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)) is not None:
            span = current().get_span_context()
            if span.is_valid:
                said["trace_id"] = format(span.trace_id, "032x")
                said["span_id"] = format(span.span_id, "016x")
        if record.exc_info or record.exc_text or record.stack_info:
            self._failure(record, said, bounds)
        fields = state.get(FIELDS)
        if len(state) > len(_USUAL) + (fields is not None):  # `extra`, and what filters and record factories put there
            fields = {**_extra(state), **(fields if type(fields) is dict else {})}
        elif type(fields) is not dict:
            fields = None
        if is_mapping:
            try:
                fields = {**message, **(fields or {})}  # type: ignore[dict-item]
            except Exception:  # noqa: BLE001  # anybody's mapping
                said["event"] = self._as_text(message)
        context = get_contextvars()
        if context:
            fields = {**context, **fields} if fields else context
        if fields:
            redactor.put(fields.items(), said, bounds, None, False)
        return said

    def _timestamp(self, created: float) -> str:
        """ISO 8601 in UTC, to the microsecond."""
        second = int(created)
        known, written = self._second
        if known != second:
            written = time.strftime("%Y-%m-%dT%H:%M:%S.%%06dZ", time.gmtime(second))
            self._second = (second, written)
        return written % ((created - second) * 1_000_000)

    def _message(self, record: logging.LogRecord) -> str:
        """The message with its arguments; containers among them are redacted by key first."""
        if type(record).getMessage is not logging.LogRecord.getMessage:  # a library's own records
            return record.getMessage()
        message, args = record.msg, record.args
        text = message if type(message) is str else self._as_text(message)
        if not args:
            return text
        try:
            if isinstance(args, Mapping):
                return text % {key: self._argument(value, str(key)) for key, value in args.items()}
            return text % tuple(self._argument(value) for value in args)
        except Exception:  # noqa: BLE001  # too few arguments, or a %d that was redacted: what there is, is told
            return f"{text} {self.redactor.value(args)}"

    def _as_text(self, message: object) -> str:
        try:
            return str(self._argument(message))
        except Exception as error:  # noqa: BLE001  # anybody's __str__
            return f"[{type(message).__name__}: {type(error).__name__} while it was read]"

    def _argument(self, value: object, key: str = "") -> object:
        decision = self.redactor.decide(key) if key else Decision.KEEP
        if isinstance(value, bool) or value is None:
            return value
        if decision is Decision.REDACT or (decision is Decision.REDACT_TEXT and isinstance(value, str | bytes)):
            return REDACTED
        if isinstance(value, str | bytes | int | float):
            return value
        if members(value) is not None or is_sequence(value):
            return self.redactor.value(value, decision=decision)
        return value

    def _failure(self, record: logging.LogRecord, said: dict[str, object], bounds: Bounds) -> None:
        """Put the traceback, without values of locals, and the stack into ``said``."""
        if record.exc_info and record.exc_info[1] is not None:
            try:
                text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            except Exception as error:  # noqa: BLE001  # anybody's exception
                text = f"{type(record.exc_info[1]).__name__} ({type(error).__name__} while its traceback was read)"
            said["exception"] = self._trace(text, bounds)
        elif record.exc_text:
            said["exception"] = self._trace(record.exc_text, bounds)
        if record.stack_info:
            said["stack"] = self._trace(str(record.stack_info), bounds)

    def _trace(self, text: str, bounds: Bounds) -> str:
        # Masked as a whole: cut first, a password might have lost the name by which it is known.
        beginning, end = min(_TRACE_BEGINNING, bounds.text), min(_TRACE_END, 3 * bounds.text)
        text = self.redactor.text(text, 1_000_000)
        if len(text) <= beginning + end:
            return text
        return f"{text[:beginning]}\n… ({len(text)} characters)\n{text[-end:]}"


def _extra(state: Mapping[str, object]) -> dict[str, object]:
    """What a record has beside what every record has."""
    return {key: value for key, value in state.items() if key not in _STANDARD}
