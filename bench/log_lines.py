"""One JSON line: ours with redaction on, against python-json-logger and structlog's own set-ups, which redact nothing.

Containers among the fields must be looked into to redact; the native set-up hands them to the encoder unread.

All write to files opened alike, a line at a time, flushed. What the peers put into a line is what ours has in it: time,
level, logger, message, fields, and the variables bound to the context. structlog's own set-up is taken twice: as its
documentation has it for JSON at its fastest (no standard library: no levels or handlers of other libraries), and on the
standard library (`ProcessorFormatter`), which is what ours does.
"""

from __future__ import annotations

import gc
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import structlog
from pythonjsonlogger.json import JsonFormatter as PythonJsonFormatter

from bench.report import Row
from bench.timing import alternate, lower_decile
from soa_db.logging import JsonFormatter, LineHandler, get_logger

ROUNDS = 300
CALLS = 50
BAR = 1.3

FLAT: Mapping[str, Any] = {
    "method": "GET",
    "path": "/v1/rooms/8d1f0c6e/messages",
    "status": 200,
    "duration_ms": 12.75,
    "room_id": "8d1f0c6e-5b6f-4c0e-9a51-0f6f7b1f2f11",
}
NESTED: Mapping[str, Any] = {
    **FLAT,
    "pool": {"size": 10, "idle": 7, "waiting": 0, "generation": 3},
    "tags": ["chat", "rooms", "v1"],
    "user": {"id": 4711, "email": "ada@example.org", "plan": "school"},
}
MESSAGE = "request finished"


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    def figure() -> float:
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        return time.perf_counter() - start

    return figure


def _standard(name: str, handler: logging.Handler, formatter: logging.Formatter) -> logging.Logger:
    logger = logging.getLogger(f"bench.{name}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler.setFormatter(formatter)
    logger.handlers = [handler]
    return logger


def _contenders(folder: Path, fields: Mapping[str, Any], closing: ExitStack) -> dict[str, Callable[[], object]]:
    def stream(name: str) -> Any:
        return closing.enter_context((folder / name).open("a", encoding="utf-8"))

    ours = _standard("ours", LineHandler(stream=stream("ours")), JsonFormatter(attributes={}))
    peer_format = PythonJsonFormatter("{levelname}{name}{message}", style="{", timestamp=True)
    peer = _standard("peer", logging.StreamHandler(stream("peer")), peer_format)

    chain: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    native = structlog.wrap_logger(
        structlog.PrintLogger(stream("native")),
        processors=[*chain, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(logger="bench.native")
    wrapped = structlog.stdlib.ProcessorFormatter.wrap_for_formatter
    rendering = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()]
    )
    on_standard = structlog.wrap_logger(
        _standard("structlog", logging.StreamHandler(stream("structlog")), rendering),
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.add_logger_name, *chain, wrapped],
        wrapper_class=structlog.stdlib.BoundLogger,
    ).bind()
    ours_bound = get_logger("bench.ours")
    return {
        "ours, logging": lambda: ours.info(MESSAGE, extra=fields),
        "python-json-logger": lambda: peer.info(MESSAGE, extra=fields),
        "ours, structlog": lambda: ours_bound.info(MESSAGE, **fields),
        "structlog's JSON, native": lambda: native.info(MESSAGE, **fields),
        "structlog's JSON, on logging": lambda: on_standard.info(MESSAGE, **fields),
    }


def run() -> list[Row]:
    """Flat fields, then nested ones of which one is redacted."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for what, fields in (("flat", FLAT), ("nested", NESTED)):
            with ExitStack() as closing:
                place = Path(folder, what)
                place.mkdir()
                contenders = _contenders(place, fields, closing)
                structlog.contextvars.bind_contextvars(request_id="c0ffee")
                gc.disable()  # a collection would fall on whoever is running
                try:
                    timed = {name: _timed(call) for name, call in contenders.items()}
                    alternate(timed, 10)
                    times = lower_decile(alternate(timed, ROUNDS), scale=1e6 / CALLS)
                finally:
                    gc.enable()
                    structlog.contextvars.clear_contextvars()
            rows += [
                Row(f"line, {what}", times[mine], "us", times[peer], peer, bar)
                for mine, peer, bar in (
                    ("ours, logging", "python-json-logger", BAR),
                    ("ours, structlog", "structlog's JSON, on logging", BAR),
                    ("ours, structlog", "structlog's JSON, native", BAR),
                )
            ]
    return rows
