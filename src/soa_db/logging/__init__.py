"""Logging of a service: structlog and ``logging`` alike, JSON lines or a readable terminal, secrets redacted."""

from __future__ import annotations

from soa_db.errors import MissingExtra

try:
    import structlog as _structlog  # noqa: F401  # the one library all parts need
except ModuleNotFoundError as error:
    if error.name != "structlog":
        raise
    raise MissingExtra("structlog is not installed", hint="pip install 'soa-db[logging]'") from error

from soa_db.logging.bound import get_logger
from soa_db.logging.configure import configure_logging
from soa_db.logging.formatters import ConsoleFormatter, JsonFormatter
from soa_db.logging.handler import LineHandler

__all__ = ["ConsoleFormatter", "JsonFormatter", "LineHandler", "configure_logging", "get_logger"]
