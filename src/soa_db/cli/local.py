"""``soa-db local``: the embedded environment, for a developer's own work."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from soa_db.cli import options
from soa_db.cli.run import ExitCode
from soa_db.cli.terminal import Terminal

if TYPE_CHECKING:
    from soa_db.local.engines import Engine
    from soa_db.local.environment import Status
    from soa_db.names import Env

__all__ = ["command"]

EPILOG = """\b
Examples:
  soa-db local up
  eval "$(soa-db local env)"
  soa-db provision --env dev --specs db-access.yaml
  soa-db local down
"""

_state_dir_option = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".soa-db"),
    show_default=True,
    metavar="DIR",
    help="Where it lives; another directory is another environment beside it.",
)


@click.group("local", epilog=EPILOG, short_help="An environment to work in: up, down, status, env, refresh-mirror.")
def command() -> None:
    """Real PostgreSQL, Redis and MongoDB servers and an emulated AWS on this machine.

    dev has plain servers; mirror and prod stand behind TLS, PostgreSQL and Redis also behind IAM, as on RDS and
    ElastiCache. Coordinates and secrets are published in the emulated AWS exactly where the real ones stand; its
    signatures and policies are enforced.
    """


@command.command("up")
@_state_dir_option
@options.json_option
@options.common_options
def up(*, state_dir: Path, as_json: bool) -> None:
    """Start the environment, or find it running; it stays until `local down`."""
    from soa_db.local.environment import LocalEnvironment

    terminal = Terminal()
    with terminal.busy("starting PostgreSQL, Redis and MongoDB for dev, mirror and prod, and the emulated AWS") as now:
        status = LocalEnvironment(state_dir).up(progress=now)
    _show(terminal, status, state_dir, as_json=as_json)
    if not as_json:
        place = "" if state_dir == Path(".soa-db") else f" --state-dir {shlex.quote(str(state_dir))}"
        terminal.note(f'use it in this shell with: eval "$(soa-db local env{place})"')


@command.command("down")
@_state_dir_option
@options.common_options
def down(*, state_dir: Path) -> None:
    """Stop the environment and delete its data; also puts right what one that was killed left behind."""
    from soa_db.local.environment import LocalEnvironment

    terminal = Terminal()
    with terminal.busy(f"stopping what runs in {state_dir}"):
        ran = state_dir.is_dir() and LocalEnvironment(state_dir).down()
    terminal.note(f"{'stopped' if ran else 'nothing ran'} in {state_dir}")


@command.command("status")
@_state_dir_option
@options.json_option
@options.common_options
@click.pass_context
def status(context: click.Context, *, state_dir: Path, as_json: bool) -> None:
    """Say what runs, and where; exit with 1 when nothing does."""
    from soa_db.local.environment import LocalEnvironment

    found = LocalEnvironment(state_dir).status()
    _show(Terminal(), found, state_dir, as_json=as_json)
    context.exit(ExitCode.DONE if found.running else ExitCode.FAILED)


@command.command("env")
@_state_dir_option
@options.json_option
@options.common_options
def env(*, state_dir: Path, as_json: bool) -> None:
    """Print the exports that make a shell, any AWS SDK and soa-db use this environment.

    The keys are the emulated AWS's own and open nothing else.
    """
    from soa_db.local.environment import LocalEnvironment

    exports = LocalEnvironment(state_dir).exports()
    if as_json:
        Terminal().json(exports)
    else:
        for name, value in exports.items():
            click.echo(f"export {name}={shlex.quote(value)}")


@command.command("refresh-mirror")
@_state_dir_option
@options.common_options
def refresh_mirror(*, state_dir: Path) -> None:
    """Restore mirror's PostgreSQL and MongoDB from a snapshot of prod, as the daily job does on AWS.

    Prod goes on serving. Mirror then has prod's data, roles, users and passwords, another DbiResourceId, and new
    passwords of its administrators; `provision` and `policy --apply` bring its own identities back.
    """
    from soa_db.local.environment import LocalEnvironment

    terminal = Terminal()
    with terminal.busy("restoring mirror from a snapshot of prod") as now:
        LocalEnvironment(state_dir).refresh_mirror(progress=now)
    terminal.note("mirror's identities come back with: soa-db provision --env mirror --specs …")
    terminal.note("                               and: soa-db policy --env mirror --apply --specs …")


def _show(terminal: Terminal, found: Status, state_dir: Path, *, as_json: bool) -> None:
    servers = {
        engine: {
            env: {
                "product": server.product,
                "host": server.host,
                "port": server.port,
                "version": server.version,
                "account": server.account,
                "up": found.up.get(engine, {}).get(env, False),
                "log": server.log_file,
            }
            for env, server in of_engine.items()
        }
        for engine, of_engine in found.servers.items()
    }
    if as_json:
        terminal.json({"running": found.running, "pid": found.pid, "aws": found.aws_endpoint, "servers": servers})
        return
    if not found.running:
        terminal.line(f"nothing runs in {state_dir}")
        return
    terminal.line(f"running in {state_dir} (process {found.pid})", style="bold")
    for engine, of_engine in servers.items():
        for env, server in of_engine.items():
            where = f"{server['product']} at {server['host']}:{server['port']}"
            down = "" if server["up"] else ": DOWN"
            terminal.line(f"  {env:<7} {where}, {_guard(engine, env)}, account {server['account']}{down}")
    terminal.line(f"  AWS     {found.aws_endpoint}")


def _guard(engine: Engine, env: Env) -> str:
    if env == "dev":
        return "password"
    return {"postgres": "TLS and IAM", "redis": "TLS and ElastiCache users", "mongo": "TLS and SCRAM"}[engine]
