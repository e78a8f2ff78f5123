"""``soa-db verify``: log in as every identity and prove what it can and cannot do."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from soa_db.cli import options
from soa_db.cli.terminal import Terminal

__all__ = ["command"]

EPILOG = """\b
Examples:
  soa-db verify --env dev
  soa-db verify --env mirror --specs repos/*/db-access.yaml --junit verify.xml
  soa-db verify --env prod --assume-role 'arn:aws:iam::{account}:role/{service}-{role}'

\b
Exit codes: 0 all as declared, 4 something is violated, 5 something could not be decided.
"""


@click.command(
    "verify",
    cls=options.SpecsCommand,
    epilog=EPILOG,
    short_help="Log in as everyone; prove what they can and cannot do.",
)
@options.identities_options
@click.option("--junit", type=options.OutputFile(), metavar="FILE", help="Also write JUnit XML, for CI.")
@click.pass_context
def command(
    context: click.Context,
    *,
    target: options.Target,
    assume_role: str | None,
    engines: tuple[str, ...],
    services: tuple[str, ...],
    junit: Path | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Log in as every identity, as its service does, and prove what it can and what it cannot do.

    Nothing that is tried can do harm, and nothing is left behind. Only the server's own refusal counts as proof of a
    "cannot". Specs that are not given count as foreign: name all that share the server, and choose with --service.
    """
    from soa_db.access.engines import chosen_engines
    from soa_db.access.spec import SpecSet
    from soa_db.access.verify import verify
    from soa_db.cli.matrix import show_report
    from soa_db.cli.session import open_session

    terminal = Terminal()
    with ExitStack() as stack:
        session = stack.enter_context(open_session(target, services=services))
        chosen = SpecSet(tuple(spec for spec in session.specs.specs if not services or spec.service in services))
        if not any(engine.declared(chosen) for engine in chosen_engines(chosen, engines or None)):
            raise click.UsageError("nothing to verify: these specs declare no identity", context)
        progress = stack.enter_context(terminal.counting(f"verifying {target.env}"))
        report = verify(
            session.specs,
            env=session.env,
            engines=engines or None,
            aws=session.aws,
            assume_role=assume_role,
            only=services or None,
            jobs=jobs,
            progress=progress,
            settings=session.settings,
        )
    if as_json:
        terminal.json(report.to_dict())
    else:
        show_report(terminal, report)
    if junit is not None:
        junit.write_text(report.to_junit(), "utf-8")
        terminal.note(f"JUnit XML is in {junit}")
    context.exit(report.exit_code)
