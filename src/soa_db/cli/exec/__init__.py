"""``soa-db exec``: run a client with fresh credentials in its environment, never in its arguments."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from soa_db.cli import options
from soa_db.cli.terminal import Terminal
from soa_db.names import ROLES, Role, check_env

if TYPE_CHECKING:
    from soa_db._core.client_environment import ClientEnvironment
    from soa_db.access.spec import Spec
    from soa_db.cli.exec.clients import Prepared
    from soa_db.cli.exec.folder import PrivateFolder

__all__ = ["command"]

# As the shells and env(1) have it.
NOT_EXECUTABLE, NOT_FOUND = 126, 127

EPILOG = """\b
Examples:
  soa-db exec --env mirror --service chat-api --role ro -- psql
  soa-db exec --env mirror --service chat-api --role ro -- pg_dump --schema-only
  soa-db exec --env mirror --service chat-api -- redis-cli get chat-api:greeting
  soa-db exec --env mirror --service sds-api -- mongosh
  soa-db exec --env dev --service chat-api --engine postgres --engine redis -- python script.py

\b
When the program does not connect, find out why:
  soa-db doctor --env mirror --service chat-api

\b
Exit codes:
  the program's own, or
  1  AWS did not give what it takes      126  the program cannot be run
  2  wrong usage                         127  there is no such program
"""


def _dial(context: click.Context, option: click.Parameter, given: str | None) -> str | None:
    if given is not None:
        from soa_db.errors import ConfigurationError
        from soa_db.sources.fields import host_and_port

        try:
            host_and_port(given)
        except ConfigurationError as error:
            raise click.BadParameter(f"{error.message}; {error.hint}", context, option) from None
    return given


@click.command(
    "exec",
    epilog=EPILOG,
    # What follows the program's name is the program's, with or without `--`.
    context_settings={"allow_interspersed_args": False},
    short_help="Run psql, redis-cli, mongosh … with fresh credentials.",
    options_metavar="[OPTIONS] --",
)
@options.env_option
@click.option("--service", required=True, metavar="ID", help="The service whose database it is.")
@click.option("--role", type=click.Choice(ROLES), help="PostgreSQL: the role to log in as.  [default: app]")
@click.option("--db-id", metavar="ID", help="PostgreSQL: which of the service's databases.  [default: main]")
@click.option(
    "--auth",
    type=click.Choice(["password"]),
    help="PostgreSQL: the service is not on IAM yet; its secret holds one user, so no --role with it.",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(options.ENGINES),
    help="What the program connects to; may be repeated.  [default: what its name tells]",
)
@click.option(
    "--dial",
    metavar="HOST:PORT",
    callback=_dial,
    help="What is really dialled, a tunnel's end; the real host is verified and signed for.",
)
@click.option(
    "--specs",
    "spec_paths",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="Specs, for names of their own; may be repeated.  [default: db-access.yaml here, if it is the service's]",
)
@options.settings_option
@click.option("--json", "as_json", is_flag=True, help="Run nothing: one JSON document of what it would be run with.")
@options.common_options
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="PROGRAM [ARGUMENTS]…")
@click.pass_context
def command(
    context: click.Context,
    *,
    env: str,
    service: str,
    role: Role | None,
    db_id: str | None,
    auth: Literal["password"] | None,
    engines: tuple[str, ...],
    dial: str | None,
    spec_paths: tuple[Path, ...],
    settings_file: Path | None,
    as_json: bool,
    program: tuple[str, ...],
) -> None:
    """Run a program as a service's user, with fresh credentials in the variables it reads.

    psql and its kin find PG* variables, redis-cli REDISCLI_AUTH (and where to connect in its arguments), mongosh and
    the MongoDB tools a file that only you can read, which is deleted. Any other program, with --engine, finds PG*,
    REDIS_* and MONGODB_URI. No password is ever an argument. Inherited variables that would lead elsewhere, or give
    the password away, are taken away. The program takes this process's place: the terminal, signals and the exit code
    are its own.
    """
    from soa_db.access.settings import load_settings
    from soa_db.cli.exec.clients import Request, prepare
    from soa_db.cli.exec.folder import PrivateFolder

    if not program and not as_json:
        raise click.UsageError("no program to run: name it after the options, e.g. `-- psql`", context)
    name = Path(program[0]).name if program else ""
    wanted = _engines(context, name, engines)
    _check(context, wanted, role=role, db_id=db_id, auth=auth, dial=dial)
    file = _executable(program[0], context) if not as_json else ""
    spec = _spec(context, service, spec_paths)
    settings = load_settings(settings_file)
    with PrivateFolder() as folder:
        with settings.aws_for(env) as aws:
            settings.check_account(aws, env)
            request = Request(
                env=check_env(env),
                service=service,
                program=name,
                given=program[1:],
                role=role,
                db_id=db_id,
                auth=auth,
                dial=dial,
                spec=spec,
                settings=settings,
                aws=aws,
            )
            prepared = {engine: prepare(engine, request, folder) for engine in wanted}
        if as_json:
            Terminal().json(_document(program, prepared))
            return
        _become(context, file, program, prepared, folder)


def _engines(context: click.Context, name: str, given: Sequence[str]) -> list[str]:
    from soa_db.cli.exec.clients import engine_of

    if given:
        return list(dict.fromkeys(given))
    engine = engine_of(name)
    if engine is None:
        known = "psql, redis-cli, mongosh and the other clients of their servers"
        raise click.UsageError(
            f"what {name or 'the program'} connects to is not known: say it with --engine (known are {known})", context
        )
    return [engine]


def _check(
    context: click.Context,
    engines: Sequence[str],
    *,
    role: Role | None,
    db_id: str | None,
    auth: str | None,
    dial: str | None,
) -> None:
    """Refuse what would be silently left out: somebody who asked for `ro` must not write."""
    for option, value in (("--role", role), ("--db-id", db_id), ("--auth", auth)):
        if value is not None and "postgres" not in engines:
            raise click.UsageError(
                f"{option} is for PostgreSQL: on {' and '.join(engines)} a service has one user", context
            )
    others = [engine for engine in engines if engine != "postgres"]
    if role == "ro" and others:
        raise click.UsageError(
            f"--role ro is for PostgreSQL alone: the program could write to {' and '.join(others)}", context
        )
    if auth is not None and role is not None:
        raise click.UsageError("--auth password reads a secret of one user: no --role with it", context)
    if dial is not None and len(engines) > 1:
        raise click.UsageError("--dial leads to one server, and --engine names several", context)


def _executable(program: str, context: click.Context) -> str:
    """Return the file of a program, before AWS is asked for anything."""
    file = shutil.which(program)
    if file is None:
        there = "/" in program and os.path.exists(program)  # noqa: PTH110 (Path drops a trailing slash)
        told = "cannot be run" if there else "no such program"
        click.echo(f"soa-db: {program}: {told}", err=True)
        context.exit(NOT_EXECUTABLE if there else NOT_FOUND)
    return file


def _spec(context: click.Context, service: str, paths: Sequence[Path]) -> Spec | None:
    from soa_db.access.spec import load_specs

    named = paths or ((options.DEFAULT_SPEC,) if options.DEFAULT_SPEC.is_file() else ())
    if not named:
        return None
    known = load_specs(named).by_service
    if service not in known and paths:
        raise click.BadParameter(
            f"no spec is given for {service}; known are {', '.join(sorted(known))}", context, param_hint="--service"
        )
    return known.get(service)


def _document(program: Sequence[str], prepared: dict[str, Prepared]) -> dict[str, Any]:
    """What it would be run with, secrets masked."""
    arguments = [argument for one in prepared.values() for argument in one.environment.arguments]
    variables: dict[str, str] = {}
    for one in prepared.values():
        variables |= one.environment.masked()
    return {
        "command": [*program[:1], *arguments, *program[1:]],
        "set": variables,
        "unset": sorted(
            {options.ADMIN_URL_VARIABLE, *(name for one in prepared.values() for name in one.environment.removed)}
            - variables.keys()
        ),
        "credentials": {
            engine: {
                "user": one.credentials.user,
                "source": one.credentials.source,
                "expires_in": None
                if math.isinf(one.credentials.expires_at)
                else round(one.credentials.expires_at - time.monotonic()),
            }
            for engine, one in prepared.items()
        },
    }


def environment_of(prepared: Iterable[ClientEnvironment], inherited: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the program: what it inherits, what is taken away, what is set.

    Args:
        prepared: what each engine's client is to find.
        inherited: this process's.
    """
    environment = {name: value for name, value in inherited.items() if name != options.ADMIN_URL_VARIABLE}
    for one in prepared:
        environment = one.within(environment)
    return environment


def _become(
    context: click.Context, file: str, program: Sequence[str], prepared: dict[str, Prepared], folder: PrivateFolder
) -> NoReturn:
    """Become the program: whoever waits for this process then waits for it, and signals are its own."""
    environment = environment_of((one.environment for one in prepared.values()), os.environ)
    arguments = [argument for one in prepared.values() for argument in one.environment.arguments]
    folder.hand_over()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        # The interpreter ignores these, and what is ignored stays so in the program.
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(file, [program[0], *arguments, *program[1:]], environment)  # noqa: S606 (that is its purpose)
    except OSError as error:
        click.echo(f"soa-db: {program[0]}: {error.strerror}", err=True)
        context.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)
