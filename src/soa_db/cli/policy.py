"""``soa-db policy``: the IAM policies of every service and tier, printed or written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from soa_db.cli import options
from soa_db.cli.consent import confirm_prod, require_somebody_to_ask
from soa_db.cli.run import ExitCode
from soa_db.cli.terminal import Terminal, counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from soa_db.access.aws.policy import RolePolicy
    from soa_db.access.aws.roles import PolicyResult

__all__ = ["command"]

EPILOG = """\b
Examples:
  soa-db policy --env mirror                          # JSON, one document per AWS role
  soa-db policy --env mirror --apply --check          # what would be written; exits with 3 if anything
  soa-db policy --env mirror --apply --create-roles
  soa-db policy --env prod --apply --create-roles --trust arn:aws:iam::111122223333:root
"""


def _trust(context: click.Context, option: click.Parameter, given: str | None) -> str | dict[str, object] | None:
    """Return a principal's ARN as it is, and what a file holds as a trust policy."""
    if given is None or given.startswith("arn:"):
        return given
    try:
        document = json.loads(Path(given).read_text("utf-8"))
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise click.BadParameter(f"{given} is neither an ARN nor a file with a trust policy", context, option)
    return document


@click.command(
    "policy", cls=options.SpecsCommand, epilog=EPILOG, short_help="IAM policies of each service: print, or --apply."
)
@options.service_option
@click.option("--apply", "apply_them", is_flag=True, help="Write them on the AWS roles, where they differ.")
@click.option("--check", is_flag=True, help="With --apply: write nothing, exit with 3 when something would be written.")
@click.option("--create-roles", is_flag=True, help="With --apply: make AWS roles that are missing.")
@click.option(
    "--trust",
    callback=_trust,
    metavar="ARN|FILE",
    help="Who may assume a role that is made: a principal, or a file with a trust policy.  [default: the account]",
)
@click.option("--prune", is_flag=True, help="With --apply: remove policies of tiers that are no longer declared.")
@click.option(
    "--role-template", metavar="NAME", default="{service}-{role}", show_default=True, help="How AWS roles are named."
)
@click.option(
    "--password-service",
    "password_services",
    multiple=True,
    metavar="ID",
    help='A service not yet on IAM (auth="password"); may be repeated.',
)
@click.option("--resource-id", metavar="db-…", help="Prod's DbiResourceId.  [default: looked up by the endpoint]")
@options.yes_option
@click.pass_context
def command(
    context: click.Context,
    *,
    target: options.Target,
    services: tuple[str, ...],
    apply_them: bool,
    check: bool,
    create_roles: bool,
    trust: str | dict[str, object] | None,
    prune: bool,
    role_template: str,
    password_services: tuple[str, ...],
    resource_id: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Print the IAM policy of every service and role, or write it with --apply.

    Each allows exactly what its role needs: to connect as its database users, and to read its own secrets and
    parameters; for services in redis_iam of soa-db.toml, to connect to Redis by IAM token instead of reading a secret.
    Written as the inline policy soa-db-{env} of the AWS role {service}-{role}.
    """
    from soa_db.access.aws.roles import apply_policies, policies
    from soa_db.cli.session import open_session

    if not apply_them and (check or create_roles or trust or prune):
        raise click.UsageError("--check, --create-roles, --trust and --prune are for --apply")
    if apply_them and not check:
        require_somebody_to_ask(target.env, yes=yes)
    terminal = Terminal()
    with open_session(target, services=(*services, *password_services)) as session:
        rendered = policies(
            session.specs,
            env=session.env,
            aws=session.aws,
            services=services or None,
            password_services=password_services,
            redis_iam=session.settings.environment(session.env).redis_iam,
            role_template=role_template,
            resource_id=resource_id,
        )
        if not apply_them:
            terminal.json(_documents(rendered))
            return

        def bring(*, dry: bool) -> PolicyResult:
            return apply_policies(
                session.specs,
                rendered,
                env=session.env,
                aws=session.aws,
                services=services or None,
                role_template=role_template,
                create_roles=create_roles,
                trust=trust,
                prune=prune,
                check=dry,
            )

        with terminal.busy(f"reading the AWS roles of {target.env}"):
            found = bring(dry=True)
        if found.changes and not check:
            if not confirm_prod(
                target.env, f"make {counted(len(found.changes), 'change')} to AWS roles of prod?", yes=yes
            ):
                context.exit(ExitCode.FAILED)
            with terminal.busy(f"writing the AWS roles of {target.env}"):
                found = bring(dry=False)
    if as_json:
        terminal.json({"changes": found.changes, "stale": found.stale, "unchanged": found.unchanged})
    else:
        for sentence in found.changes:
            terminal.line(f"  + {sentence}")
        for sentence in found.stale:
            terminal.line(f"  ? {sentence}; --prune removes it", style="yellow")
        done = "would be made" if check else "made"
        terminal.line(
            f"{target.env}: {counted(len(found.changes), 'change')} {done}, {found.unchanged} policies right already"
        )
    if check and found.changes:
        context.exit(ExitCode.PENDING)


def _documents(rendered: Collection[RolePolicy]) -> list[dict[str, object]]:
    return [
        {
            "service": item.service,
            "role": item.role,
            "aws_role": item.role_name,
            "policy": item.name,
            "users": item.users,
            "document": item.document,
        }
        for item in rendered
    ]
