"""The command line: ``soa-db`` and the two names of the original tools. Nothing imports it.

``soa-db --help`` loads click and nothing of ours that talks to a server: each command imports what it needs when it
runs. Without the extra ``cli`` the entry says how to install it instead of ending in a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``soa-db`` and return its exit code.

    Args:
        arguments: what follows the program's name; those of the process unless given.
    """
    return entry("soa-db", "soa_db.cli.app", arguments)


def entry(program: str, module: str, arguments: Sequence[str] | None = None) -> int:
    """Run the click command ``command`` of ``module`` under ``program``'s name; the exit code is the run's."""
    try:
        import click  # noqa: F401  # only asked whether it is there; the import below needs it
    except ModuleNotFoundError:
        sys.stderr.write(f"{program}: the command line is not installed\n  hint: pip install 'soa-db[cli]'\n")
        return 1
    from importlib import import_module

    from soa_db.cli.run import run

    return run(import_module(module).command, program, sys.argv[1:] if arguments is None else arguments)
