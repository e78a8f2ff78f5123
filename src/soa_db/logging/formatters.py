"""Records as lines: JSON for machines, columns and colours for people. Both fit into ``logging.config`` too."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from structlog.dev import ConsoleRenderer, plain_traceback

from soa_db._core.printable import printable
from soa_db.logging.records import RecordReader
from soa_db.logging.redaction import TIGHT
from soa_db.logging.resource import resource_attributes

__all__ = ["ConsoleFormatter", "JsonFormatter"]

# CloudWatch Logs took events of at most 256 KB for most of its life, and other collectors take less than 1 MB.
_LONGEST_LINE = 240_000


def _encoder() -> Callable[[Mapping[str, object]], str]:
    """JSON of plain data, made so by the reader: nothing to check for cycles; in ASCII, which every stream can encode.

    ``JSONEncoder.encode`` makes a new C encoder for each call, which takes as long as encoding a line: where the
    standard library has one and it does what is expected, it is made once.
    """
    encoder = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":"))
    try:
        write = json.encoder.c_make_encoder(  # type: ignore[attr-defined]  # as JSONEncoder.iterencode does
            None, encoder.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True
        )
        if "".join(write({"ä": [1, None]}, 0)) == encoder.encode({"ä": [1, None]}):
            join = "".join
            return lambda plain: join(write(plain, 0))
    except (AttributeError, TypeError):  # an interpreter without it, or with another
        pass
    return encoder.encode


_encode = _encoder()


class JsonFormatter(logging.Formatter):
    """One JSON object on one line, in ASCII.

    ``timestamp``, ``level``, ``logger`` and ``event``, then ``trace_id`` and ``span_id``, ``exception`` and ``stack``
    where there are any, the fields, and the attributes of the deployment. A field that is named as one of these gets
    a ``_`` behind its name.

    Args:
        redact: further keys whose values are redacted, at any depth; written in any way (``"student_number"`` is
            ``studentNumber`` too).
        keep: keys whose values are not redacted after all.
        attributes: put into every line; from ``OTEL_RESOURCE_ATTRIBUTES`` when left out.

    Raises:
        ConfigurationError: a key has no letter or digit.
    """

    def __init__(
        self,
        *,
        redact: Iterable[str] = (),
        keep: Iterable[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._reader = RecordReader(redact=redact, keep=keep)
        given = resource_attributes() if attributes is None else attributes
        self._attributes = frozenset(given)
        clean: dict[str, object] = {}
        self._reader.redactor.fields(given, clean)
        self._ending = f",{_encode(clean)[1:]}" if clean else "}"

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as a line without its end."""
        said = self._reader.read(record)
        line = self._line(said)
        if len(line) <= _LONGEST_LINE:
            return line
        said = self._reader.read(record, TIGHT)
        line = self._line(said)
        if len(line) <= _LONGEST_LINE:
            return line
        kept = {key: said[key] for key in ("timestamp", "level", "logger", "event")}
        return self._line({**kept, "dropped": f"{len(said) - len(kept)} fields, too long for a line"})

    def _line(self, said: dict[str, object]) -> str:
        if not self._attributes:
            return _encode(said)
        if not self._attributes.isdisjoint(said):
            said = {f"{key}_" if key in self._attributes else key: value for key, value in said.items()}
        return f"{_encode(said)[:-1]}{self._ending}"


class ConsoleFormatter(logging.Formatter):
    """For a person at a terminal: time, level, event and fields, coloured, control characters spelled out.

    Args:
        colors: use colours.
        redact: as for ``JsonFormatter``.
        keep: as for ``JsonFormatter``.

    Raises:
        ConfigurationError: a key has no letter or digit.
    """

    def __init__(self, *, colors: bool = True, redact: Iterable[str] = (), keep: Iterable[str] = ()) -> None:
        super().__init__()
        self._reader = RecordReader(redact=redact, keep=keep)
        self._render = ConsoleRenderer(colors=colors, exception_formatter=plain_traceback, sort_keys=False)

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as a line, and the lines of its traceback, indented so that none looks like a record."""
        said = self._reader.read(record)
        traces: dict[str, object] = {
            key: _indented(str(said.pop(key))) for key in ("exception", "stack") if key in said
        }
        if "exc_info" in said:  # a field of that name; the renderer would show a traceback of its own
            said["exc_info_"] = said.pop("exc_info")
        said = {printable(key, ""): _one_line(value) for key, value in said.items()}
        said["timestamp"] = f"{time.strftime('%H:%M:%S', time.localtime(record.created))}.{int(record.msecs):03d}"
        said.update(traces)
        return self._render(None, record.levelname.lower(), said)


def _one_line(value: object) -> object:
    return printable(value, "") if isinstance(value, str) else value


def _indented(text: str) -> str:
    return "\n".join(f"    {printable(line, chr(9))}" for line in text.split("\n"))
