"""``soa-db``: the group of all commands."""

from __future__ import annotations

import click

from soa_db._version import __version__
from soa_db.cli import demo, doctor, local, plan, policy, provision, rotate, verify
from soa_db.cli import exec as exec_
from soa_db.cli.options import debug_option

__all__ = ["command"]

EPILOG = """\b
Exit codes:
  0  done, or nothing to do      3  changes are pending (plan --check)
  1  failed                      4  a check was violated (verify)
  2  wrong usage                 5  a check was inconclusive (verify)

\b
Completion for your shell (bash, zsh, fish):
  eval "$(_SOA_DB_COMPLETE=bash_source soa-db)"
"""


class _InOrder(click.Group):
    """Lists commands in the order they were added, which is the order of work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click passes it by this name
        return list(self.commands)


@click.group("soa-db", cls=_InOrder, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="soa-db")
@debug_option
def command() -> None:
    """Database access on AWS in three environments, dev, mirror and prod.

    A service says in db-access.yaml who may touch which database. `plan` shows what a server lacks, `provision`
    makes it so, `verify` logs in as everyone and proves it. `doctor` says what stands between a service and its
    databases.
    """


for _command in (
    plan.command,
    provision.command,
    verify.command,
    doctor.command,
    rotate.command,
    policy.command,
    exec_.command,
    local.command,
    demo.command,
):
    command.add_command(_command)
