"""``soa-db rotate``: new passwords, without a moment in which the only copy is in memory."""

from __future__ import annotations

from dataclasses import asdict

import click

from soa_db.cli import options
from soa_db.cli.consent import confirm_prod, require_somebody_to_ask
from soa_db.cli.run import ExitCode
from soa_db.cli.terminal import Terminal, counted
from soa_db.names import ROLES

__all__ = ["command"]

EPILOG = """\b
Examples:
  soa-db rotate --env dev --all-consumers-reread
  soa-db rotate --env dev --service chat-api --role app --all-consumers-reread
"""


@click.command(
    "rotate", cls=options.SpecsCommand, epilog=EPILOG, short_help="New passwords, in Secrets Manager and on the server."
)
@options.service_option
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), help="Only this role; may be repeated.")
@click.option(
    "--all-consumers-reread",
    is_flag=True,
    help="Every client reads its secret again when it is refused; one that does not is cut off at its next connect.",
)
@click.option("--finish", is_flag=True, help="Redis: take the old password away, once every client has the new one.")
@options.engine_option
@options.yes_option
@options.admin_url_option
@click.pass_context
def command(
    context: click.Context,
    *,
    target: options.Target,
    services: tuple[str, ...],
    roles: tuple[str, ...],
    all_consumers_reread: bool,
    finish: bool,
    engines: tuple[str, ...],
    yes: bool,
    admin_urls: tuple[str, ...],
    as_json: bool,
) -> None:
    """Give users new passwords, in Secrets Manager and on the server; killed anywhere, the next run finishes it.

    Written as AWSPENDING, set on the server, proved by a login, then made AWSCURRENT. Users that log in with IAM
    tokens have nothing to rotate. PostgreSQL and MongoDB keep one live password, hence --all-consumers-reread;
    Redis keeps the old one too, until --finish.
    """
    from soa_db.access.rotate import rotate
    from soa_db.cli.session import open_session

    require_somebody_to_ask(target.env, yes=yes)
    terminal = Terminal()
    with open_session(target, services=services) as session:
        question = "take users' old passwords away in prod?" if finish else "give users in prod new passwords?"
        if not confirm_prod(target.env, question, yes=yes):
            context.exit(ExitCode.FAILED)
        with terminal.busy(f"rotating passwords in {target.env}") as now:
            result = rotate(
                session.specs,
                env=session.env,
                all_consumers_reread=all_consumers_reread,
                finish=finish,
                engines=engines or None,
                aws=session.aws,
                admin_url=admin_urls or None,
                services=services or None,
                roles=roles or None,
                settings=session.settings,
                progress=lambda event: now(event.message),
            )
    if as_json:
        terminal.json(asdict(result))
        return
    for done in result.rotated:
        note = " (finished an interrupted rotation)" if done.finished and not finish else ""
        terminal.line(f"  + {done.user}: {', '.join(done.secrets)}{note}")
    for sentence in result.skipped:
        terminal.line(f"  - {sentence}", style="dim")
    terminal.line(
        f"{target.env}: {counted(len(result.rotated), 'password')} {'taken away' if finish else 'rotated'}",
        style="green",
    )
