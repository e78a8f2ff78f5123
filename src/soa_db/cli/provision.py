"""``soa-db provision``: make a server what the specs say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from soa_db.cli import options
from soa_db.cli.consent import confirm_prod, require_somebody_to_ask
from soa_db.cli.run import ExitCode
from soa_db.cli.terminal import Terminal, counted
from soa_db.errors import ProvisionError

if TYPE_CHECKING:
    from soa_db.access.plan import Plan

__all__ = ["command"]

EPILOG = """\b
Examples:
  soa-db provision --env dev
  soa-db provision --env mirror --specs repos/*/db-access.yaml
  soa-db provision --env prod prod.plan.json  # what `plan --out` saved, or nothing
  soa-db provision --env dev --insecure-dev   # fixed, documented passwords, for a shared .env
"""


@click.command("provision", cls=options.SpecsCommand, epilog=EPILOG, short_help="Make the server what the specs say.")
@click.argument(
    "plan_file", metavar="[FILE]", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@options.engine_option
@options.prune_option
@options.reassign_option
@options.insecure_dev_option
@options.yes_option
@options.admin_url_option
@click.pass_context
def command(
    context: click.Context,
    *,
    plan_file: Path | None,
    target: options.Target,
    engines: tuple[str, ...],
    prune: bool,
    reassign: bool,
    insecure_dev: bool,
    yes: bool,
    admin_urls: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make roles, databases and privileges what the specs say; a second run writes nothing.

    With FILE, a plan saved by `plan --out`, exactly that is done, or nothing when it no longer fits. Killed anywhere
    and run again, it converges. Changing prod asks, unless --yes.
    """
    from soa_db.access import apply, load_plan
    from soa_db.cli.sentences import show_changes, show_notices
    from soa_db.cli.session import open_session

    if plan_file is not None and (engines or prune or reassign or insecure_dev):
        raise click.UsageError("a saved plan carries its own options: give --prune and the like to `plan --out`")
    require_somebody_to_ask(target.env, yes=yes)
    terminal = Terminal()
    saved = None if plan_file is None else load_plan(plan_file)

    def confirm(plan: Plan) -> bool:
        with terminal.paused():
            if not as_json:
                show_changes(terminal, plan)
            return confirm_prod(target.env, f"make {counted(len(plan.changes), 'change')} in prod?", yes=yes)

    with (
        open_session(target) as session,
        terminal.busy(f"provisioning {target.env}") as now,
    ):
        try:
            result = apply(
                session.specs,
                env=session.env,
                saved=saved,
                aws=session.aws,
                engines=engines or None,
                admin_url=admin_urls or None,
                prune=prune,
                reassign=reassign,
                insecure_dev=insecure_dev,
                settings=session.settings,
                confirm=confirm,
                progress=lambda event: now(event.message),
            )
        except ProvisionError as error:
            if as_json:
                terminal.json({"error": error.message, "problems": error.problems, "hint": error.hint})
            raise
    if as_json:
        document = result.plan.to_json()
        document |= {"applied": len(result.applied), "declined": result.declined, "seconds": round(result.seconds, 3)}
        terminal.json(document)
    elif not result.declined:
        for server in result.plan.servers:
            what = f"{counted(len(server.changes), 'change')} made" if server.changes else "nothing to do"
            terminal.line(f"{target.env}: {server.engine} at {server.server}: {what}", style="green")
        terminal.line(f"{target.env}: done in {result.seconds:.1f} s", style="green")
        show_notices(terminal, result.notices)
    if result.declined:
        context.exit(ExitCode.FAILED)
