"""The command line: ``soa-db`` and the two names of the original tools. Nothing imports it.

``soa-db --help`` loads click and nothing of ours that talks to a server: each command imports what it needs when it
runs. Without the extra ``cli`` the entry says how to install it instead of ending in a traceback.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``soa-db`` and return its exit code.

    Args:
        arguments: what follows the program's name; those of the process unless given.
    """
    return entry("soa-db", "soa_db.cli.app", arguments)


def entry(program: str, module: str, arguments: Sequence[str] | None = None) -> int:
    """Run the click command ``command`` of ``module`` under ``program``'s name; the exit code is the run's."""
    _open_standard_streams()
    try:
        import click  # noqa: F401  # only asked whether it is there; the imports below need it

        from soa_db.cli.run import run

        command = import_module(module).command
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write(f"{program}: the command line is not installed\n  hint: pip install 'soa-db[cli]'\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{program}: interrupted\n")
        return 130
    return run(command, program, sys.argv[1:] if arguments is None else arguments)


def _open_standard_streams() -> None:
    """Have three standard streams that take any text.

    A stream that was closed (``>&-``) would otherwise lend its number to the next file or socket opened; what is
    written to one is lost, as its closer wished.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number is taken: this very one, since those before it are open now.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        # What the stream's encoding lacks is spelled out: a mark must not end a run that went well.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
