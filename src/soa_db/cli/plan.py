"""``soa-db plan``: what provision would change, as sentences."""

from __future__ import annotations

from pathlib import Path

import click

from soa_db.cli import options
from soa_db.cli.run import ExitCode
from soa_db.cli.terminal import Terminal

__all__ = ["command"]

EPILOG = """\b
Examples:
  soa-db plan --env dev
  soa-db plan --env mirror --specs repos/*/db-access.yaml
  soa-db plan --env mirror --check            # in a nightly job
  soa-db plan --env prod --out prod.plan.json # then: soa-db provision --env prod prod.plan.json
"""


@click.command(
    "plan", cls=options.SpecsCommand, epilog=EPILOG, short_help="What provision would change; changes nothing."
)
@click.option("--check", is_flag=True, help="Exit with 3 when changes are pending.")
@click.option(
    "--out",
    type=options.OutputFile(),
    metavar="FILE",
    help="Save the plan for `provision FILE`, which refuses it once it no longer fits (name it *.json).",
)
@options.engine_option
@options.prune_option
@options.reassign_option
@options.insecure_dev_option
@options.admin_url_option
@click.pass_context
def command(
    context: click.Context,
    *,
    target: options.Target,
    check: bool,
    out: Path | None,
    engines: tuple[str, ...],
    prune: bool,
    reassign: bool,
    insecure_dev: bool,
    admin_urls: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what `provision` would change; change nothing.

    Every change is a sentence under a heading. An exclamation mark says that somebody may lose access or data by it.
    """
    from soa_db.access import plan as make_plan
    from soa_db.access import save_plan
    from soa_db.cli.sentences import show_changes, show_notices
    from soa_db.cli.session import open_session

    terminal = Terminal()
    with open_session(target) as session, terminal.busy(f"inspecting {target.env}") as now:
        plan = make_plan(
            session.specs,
            env=session.env,
            aws=session.aws,
            engines=engines or None,
            admin_url=admin_urls or None,
            prune=prune,
            reassign=reassign,
            insecure_dev=insecure_dev,
            settings=session.settings,
            sources=map(str, target.spec_paths),
            progress=lambda event: now(event.message),
        )
    if as_json:
        terminal.json(plan.to_json())
    else:
        show_changes(terminal, plan)
        show_notices(terminal, plan.notices)
    if plan.errors:
        context.exit(ExitCode.FAILED)
    if out is not None:
        save_plan(plan, out)
        terminal.note(f"saved in {out}: soa-db provision --env {target.env} {out}")
    if check and not plan.is_empty:
        context.exit(ExitCode.PENDING)
