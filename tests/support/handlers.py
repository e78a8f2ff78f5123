"""Which logging handlers there are."""

from __future__ import annotations

import logging


def handlers() -> set[tuple[logging.Logger, logging.Handler]]:
    """All of the process, each with its logger, but for pytest's own."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return {
        (logger, handler)
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
        # pytest's own come and go with the phases of a test, also on loggers that do not propagate.
        if not isinstance(handler, logging.NullHandler) and not type(handler).__module__.startswith("_pytest.")
    }
