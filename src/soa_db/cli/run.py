"""Runs a click command: exit codes, errors as a person reads them, interrupts, pipes that close.

The exit codes are a contract (DESIGN section 3), see `ExitCode`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from types import FrameType

import click

from soa_db._core.masking import mask_secrets
from soa_db.cli.terminal import printable
from soa_db.errors import MissingExtra, SoaDbError

__all__ = ["ExitCode", "Invocation", "run"]

# Which extra brings a module that was not found; only modules that commands import for themselves stand here.
_EXTRA_OF = {
    "botocore": "cli",
    "moto": "local",
    "psycopg": "cli",
    "psycopg_pool": "cli",
    "rich": "cli",
    "trustme": "local",
    "yaml": "cli",
}

# The driver's pool warns of each connection it drops; what a person needs of that, our errors say. -v shows all.
_SILENT = logging.NullHandler()


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PENDING = 3
    VIOLATED = 4
    INCONCLUSIVE = 5
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(slots=True)
class Invocation:
    """What one run of the command line was asked for beyond its command's own options.

    Attributes:
        debug: show where an error was raised.
        verbose: how often ``--verbose`` was given.
        undo: what puts the process back as it was; called when all has been told.
    """

    debug: bool = False
    verbose: int = 0
    undo: ExitStack = field(default_factory=ExitStack)


class _TerminatedError(BaseException):
    """SIGTERM came: unwinds like an interrupt, so that servers started here are stopped."""


def run(command: click.Command, program: str, arguments: Sequence[str]) -> int:
    """Run ``command`` and return its exit code; every error is told on stderr, none escapes."""
    invocation = Invocation()
    logging.getLogger("psycopg").addHandler(_SILENT)
    with invocation.undo:
        try:
            with _terminable():
                code = command.main(list(arguments), program, standalone_mode=False, obj=invocation)
                # A reader that went away shows when the last bytes are written: here, not at interpreter exit.
                sys.stdout.flush()
            return code if isinstance(code, int) else ExitCode.DONE
        except BaseException as error:  # noqa: BLE001  # the rim: whatever escaped is told here, without a traceback
            return _ending(error, program, invocation)


def _ending(error: BaseException, program: str, invocation: Invocation) -> int:
    """Tell how a command ended that did not return, and give its exit code."""
    code: int = ExitCode.FAILED
    match error:
        case click.ClickException():
            error.show()
            code = ExitCode.USAGE if isinstance(error, click.UsageError) else ExitCode.FAILED
        case KeyboardInterrupt() | click.Abort(__cause__=KeyboardInterrupt()):
            _tell(f"\n{program}: interrupted")
            code = ExitCode.INTERRUPTED
        case click.Abort():
            _tell(f"\n{program}: no answer, nothing was done")
        case _TerminatedError():
            _tell(f"{program}: terminated")
            code = ExitCode.TERMINATED
        case BrokenPipeError():
            # What is still buffered has no reader: without this the interpreter complains about it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        case SystemExit():  # click and rich end so when a reader went away
            code = error.code if isinstance(error.code, int) else ExitCode.FAILED
        case _:
            _tell("\n".join(f"{program}: {text}" for text in _explain(error)))
            if invocation.debug:
                trace = traceback.TracebackException.from_exception(error, capture_locals=False)
                _tell(mask_secrets("".join(trace.format())))
    return code


def _explain(error: BaseException) -> Iterator[str]:
    """Yield what a person needs of an error: what failed, what was tried, the next step."""
    match error:
        case BaseExceptionGroup():
            for part in error.exceptions:
                yield from _explain(part)
        case SoaDbError():
            lines = [error.message, *(f"  {key}: {value}" for key, value in error.context.items())]
            if error.hint:
                lines.append(f"  hint: {error.hint}")
            yield "\n".join(lines)
        case ModuleNotFoundError() if (error.name or "").partition(".")[0] in _EXTRA_OF:
            extra = _EXTRA_OF[(error.name or "").partition(".")[0]]
            missing = MissingExtra(f"{error.name} is not installed", hint=f"pip install 'soa-db[{extra}]'")
            yield from _explain(missing)
        case OSError() if error.strerror:
            place = f": {error.filename}" if error.filename else ""
            yield f"{error.strerror}{place}"
        case _:
            # Not one of ours: its text may quote anything, a secret too, so only --debug shows it, scrubbed.
            frames = traceback.extract_tb(error.__traceback__)
            place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
            yield f"unexpected {type(error).__name__}{place}\n  hint: run it with --debug and report what it shows"


def _tell(text: str) -> None:
    """Write to stderr; if that is gone too there is nobody to tell."""
    try:
        click.echo(printable(text), err=True)
    except OSError:
        return


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack while a command runs, so that context managers clean up."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise _TerminatedError

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not the main thread (a test runner's): the signal is not ours to take
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
