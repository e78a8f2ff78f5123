"""``soa_db.logging``: one call, and loggers."""

from __future__ import annotations

import logging
from typing import assert_type

from structlog.stdlib import BoundLogger

from soa_db.logging import ConsoleFormatter, JsonFormatter, LineHandler, configure_logging, get_logger

configure_logging(env="prod", level="INFO", levels={"httpx": logging.WARNING}, format="json", redact=["iban"])
assert_type(get_logger("chat", service="chat-api"), BoundLogger)
formatters: tuple[type[logging.Formatter], ...] = (ConsoleFormatter, JsonFormatter)
handler: type[logging.Handler] = LineHandler
configure_logging(format="xml")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
