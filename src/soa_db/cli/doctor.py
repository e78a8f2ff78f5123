"""``soa-db doctor``: walk the chain from AWS identity to a pooled connection; say what works and what to do."""

from __future__ import annotations

import click

from soa_db.cli import options
from soa_db.cli.run import Invocation
from soa_db.cli.terminal import Terminal
from soa_db.names import ROLES

__all__ = ["command"]

EPILOG = """\b
Examples:
  soa-db doctor --env dev
  soa-db doctor --env mirror --service chat-api --role app
  soa-db doctor --env prod --engine redis --json

\b
Exit codes: 0 everything works (there may be warnings), 1 something does not, 2 wrong usage.
"""


@click.command(
    "doctor",
    cls=options.SpecsCommand,
    epilog=EPILOG,
    short_help="Find out why a service does not reach its databases.",
)
@options.identities_options
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(ROLES),
    help="Only this role; may be repeated. Redis and MongoDB have app alone.  [default: all]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each step may take.",
)
@click.pass_context
def command(
    context: click.Context,
    *,
    target: options.Target,
    assume_role: str | None,
    engines: tuple[str, ...],
    services: tuple[str, ...],
    roles: tuple[str, ...],
    timeout: float,
    jobs: int,
    as_json: bool,
) -> None:
    """Walk the chain from AWS identity to a pooled connection, for each identity; say what works and what does not.

    In order: AWS credentials, identity and clock; then for each service, database and role the SSM parameters, secrets,
    DNS, TCP, TLS, login, rights, the server's clock, the pool. What fails says the next step; what depends on it is not
    tried. Nothing is changed anywhere, and no password is shown. -v shows everything.
    """
    from soa_db.access.settings import load_settings
    from soa_db.access.spec import load_specs
    from soa_db.cli.prescription import show_report
    from soa_db.doctor import diagnose
    from soa_db.doctor.engines import chosen_targets
    from soa_db.errors import ConfigurationError
    from soa_db.names import check_env

    terminal = Terminal()
    env = check_env(target.env)
    specs = load_specs(target.spec_paths)
    try:
        chosen_targets(specs, env, services=services, engines=engines, roles=roles)
    except ConfigurationError as error:
        raise click.UsageError(f"{error.message}; {error.hint}", context) from error
    # Not as other commands begin: an AWS account that is not the right one is a finding here.
    settings = load_settings(target.settings_file)
    with terminal.counting(f"examining {env}") as progress:
        report = diagnose(
            specs,
            env=env,
            services=services,
            engines=engines,
            roles=roles,
            assume_role=assume_role,
            settings=settings,
            timeout=timeout,
            jobs=jobs,
            progress=progress,
        )
    if as_json:
        terminal.json(report.to_dict())
    else:
        show_report(terminal, report, everything=context.ensure_object(Invocation).verbose > 0)
    context.exit(report.exit_code)
