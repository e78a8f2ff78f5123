"""``configure_logging``: one handler on the root logger, for structlog and for every library."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Literal, TextIO

import structlog

from soa_db.errors import ConfigurationError
from soa_db.logging.bound import PROCESSORS, BoundLogger
from soa_db.logging.formatters import ConsoleFormatter, JsonFormatter
from soa_db.logging.handler import LineHandler, own_stream
from soa_db.logging.resource import resource_attributes

__all__ = ["Format", "configure_logging"]

Format = Literal["json", "console"]

# Servers and frameworks that write to the terminal by handlers of their own and keep their records to themselves.
_SERVERS = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "uvicorn.asgi",
    "gunicorn.error",
    "gunicorn.access",
    "hypercorn.error",
    "hypercorn.access",
    "django",
    "django.server",
)
_DEPLOYED = ("mirror", "staging", "prod")


class _Installed:
    """What the last call set up, to be taken away by the next."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.handler: LineHandler | None = None
        self.levels: dict[str, int] = {}
        self.captures_warnings = False

    def remove(self) -> None:
        """Take the handler off and give single loggers the levels that they had."""
        if self.handler is not None:
            logging.getLogger().removeHandler(self.handler)
            self.handler.close()
            self.handler = None
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)
        self.levels.clear()
        if self.captures_warnings:
            logging.captureWarnings(False)
            self.captures_warnings = False


_installed = _Installed()


def configure_logging(
    *,
    env: str | None = None,
    level: int | str | None = None,
    levels: Mapping[str, int | str] | None = None,
    format: Format | None = None,  # noqa: A002  # what it is called everywhere
    log_file: str | os.PathLike[str] | None = None,
    stream: TextIO | None = None,
    redact: Iterable[str] = (),
    keep: Iterable[str] = (),
    attributes: Mapping[str, str] | None = None,
    capture_warnings: bool = True,
) -> None:
    """Let every record of this process, structlog's and the libraries', go out alike: safe, one line each.

    Called again, it replaces what it set up before. Handlers of others on the root logger stay. Those with which
    uvicorn, gunicorn, hypercorn and Django write to stdout or stderr are taken away, so that their records come here.
    If anything is wrong with the arguments, nothing has been changed.

    Args:
        env: ``dev``, ``mirror`` or ``prod``; ``SOA_ENV`` when left out. Deployed, lines are JSON.
        level: the least that is logged, a name or a number; ``SOA_LOG_LEVEL``, then ``LOG_LEVEL``, then INFO.
        levels: the same for single loggers, by their names (``{"uvicorn.access": "WARNING"}``).
        format: ``json`` or ``console``; ``SOA_LOG_FORMAT`` when left out, then JSON unless ``stream`` is a terminal
            and ``env`` is neither ``mirror`` nor ``prod``.
        log_file: a file to append to instead of stdout; rotated files are noticed. JSON, unless ``format`` says else.
        stream: a text stream instead of stdout.
        redact: further keys whose values are redacted, at any depth, written in any way.
        keep: keys whose values are not redacted after all.
        attributes: put into every JSON line; from ``OTEL_RESOURCE_ATTRIBUTES`` when left out.
        capture_warnings: log what the ``warnings`` module shows, by the logger ``py.warnings``.

    Raises:
        ConfigurationError: a level, format or key that is none, a file that cannot be opened, ``stream`` beside
            ``log_file``.
    """
    least = _level(level if level is not None else _variable("SOA_LOG_LEVEL", "LOG_LEVEL") or "INFO")
    single = {name: _level(value) for name, value in (levels or {}).items()}
    own = own_stream(log_file)
    if own is not None and stream is None:
        log_file, stream = None, sys.stderr if own == "stderr" else None
    kind = _format(format, env, log_file, stream)
    formatter: logging.Formatter
    if kind == "json":
        given = resource_attributes() if attributes is None else attributes
        formatter = JsonFormatter(redact=redact, keep=keep, attributes=given)
    else:
        formatter = ConsoleFormatter(colors=_colors(log_file, stream), redact=redact, keep=keep)
    handler = LineHandler(stream=stream, log_file=log_file)
    handler.setFormatter(formatter)
    with _installed.lock:
        root = logging.getLogger()
        root.addHandler(handler)
        _installed.remove()
        _installed.handler = handler
        root.setLevel(least)
        for name, value in single.items():
            _installed.levels[name] = logging.getLogger(name).level
            logging.getLogger(name).setLevel(value)
        _take_over()
        if capture_warnings:
            logging.captureWarnings(True)
            _installed.captures_warnings = True
        structlog.configure(
            processors=PROCESSORS,
            wrapper_class=BoundLogger,
            context_class=dict,
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )


def _take_over() -> None:
    terminal = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    for name in _SERVERS:
        logger = logging.root.manager.loggerDict.get(name)
        if not isinstance(logger, logging.Logger):
            continue
        for handler in tuple(logger.handlers):
            if isinstance(handler, logging.StreamHandler) and handler.stream and handler.stream in terminal:
                logger.removeHandler(handler)
        logger.propagate = True


def _variable(*names: str) -> str:
    """The first of these environment variables that is set."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")


def _level(given: int | str) -> int:
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise ConfigurationError(f"{given!r} is no log level", hint="a name as INFO, or a number as 20")
    if isinstance(given, int):
        return given
    name = given.strip().upper()
    if name.isascii() and name.isdigit():
        return int(name)
    found = logging.getLevelNamesMapping().get(name)
    if found is None:
        raise ConfigurationError(
            f"{given!r} is no log level", hint=f"one of {', '.join(logging.getLevelNamesMapping())}, or a number"
        )
    return found


def _format(given: str | None, env: str | None, log_file: str | os.PathLike[str] | None, stream: TextIO | None) -> str:
    chosen = given or _variable("SOA_LOG_FORMAT").lower()
    if chosen:
        if chosen not in {"json", "console"}:
            raise ConfigurationError(f"{chosen!r} is no log format", hint="json or console")
        return chosen
    if log_file is not None or (env or _variable("SOA_ENV")).strip().lower() in _DEPLOYED:
        return "json"
    return "console" if _is_terminal(stream) else "json"


def _colors(log_file: str | os.PathLike[str] | None, stream: TextIO | None) -> bool:
    """Colours on a terminal, unless NO_COLOR (no-color.org) or a dumb terminal says otherwise; FORCE_COLOR for all."""
    if log_file is not None or os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (_is_terminal(stream) and os.environ.get("TERM") != "dumb")


def _is_terminal(stream: TextIO | None) -> bool:
    stream = stream or sys.stdout
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False
