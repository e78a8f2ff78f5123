"""The options that commands share, each a decorator, so that they read the same everywhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import click

from soa_db.cli.run import Invocation
from soa_db.names import ENVS

__all__ = [
    "SpecsCommand",
    "admin_url_option",
    "common_options",
    "debug_option",
    "env_option",
    "insecure_dev_option",
    "json_option",
    "prune_option",
    "reassign_option",
    "service_option",
    "settings_option",
    "specs_option",
    "yes_option",
]

_F = TypeVar("_F", bound=Callable[..., object])

DEFAULT_SPEC = Path("db-access.yaml")
ADMIN_URL_VARIABLE = "SOA_DB_ADMIN_URL"


class SpecsCommand(click.Command):
    """A command whose ``--specs`` takes every path up to the next option, as ``repos/*/db-access.yaml`` gives them.

    click's options take a fixed number of values. A path that ends in ``.json`` is not taken: it is a saved plan.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat ``--specs`` before each further path, then parse as usual."""
        spelled: list[str] = []
        taking = False
        for argument in args:
            if argument.startswith("-"):
                taking = argument == "--specs"
            elif taking and argument.endswith(".json"):
                taking = False
            elif taking and spelled[-1] != "--specs":
                spelled.append("--specs")
            spelled.append(argument)
        return super().parse_args(ctx, spelled)


def _set_debug(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).debug = True


def _set_verbose(_context: click.Context, _option: click.Parameter, value: int) -> None:
    if value:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        for name in ("soa_db", "psycopg.pool"):
            logger = logging.getLogger(name)
            logger.addHandler(handler)
            logger.setLevel(logging.INFO if value == 1 else logging.DEBUG)


def _default_specs(context: click.Context, _option: click.Parameter, value: tuple[Path, ...]) -> tuple[Path, ...]:
    if value or context.resilient_parsing:
        return value
    if DEFAULT_SPEC.is_file():
        return (DEFAULT_SPEC,)
    raise click.UsageError(
        f"no specs: there is no {DEFAULT_SPEC} here; name files or folders with --specs PATH…", context
    )


def _warn_about_password(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    given = context.get_parameter_source(option.name or "") is click.core.ParameterSource.COMMANDLINE
    if value and given and _holds_password(value):
        click.echo(
            "warning: a password in --admin-url can be read by every user of this machine in the process list; "
            f"put the URL in the environment variable {ADMIN_URL_VARIABLE} instead",
            err=True,
        )
    return value


def _holds_password(url: str) -> bool:
    try:
        return bool(urlsplit(url).password) or "password=" in url
    except ValueError:
        return True


debug_option: Callable[[_F], _F] = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="On an error, show where it was raised."
)

_verbose_option: Callable[[_F], _F] = click.option(
    "-v",
    "--verbose",
    count=True,
    expose_value=False,
    callback=_set_verbose,
    help="Say more on stderr; twice for more.",
)

# Eager: other options' rules depend on it.
env_option: Callable[[_F], _F] = click.option(
    "--env", required=True, is_eager=True, type=click.Choice(ENVS), help="The environment."
)

specs_option: Callable[[_F], _F] = click.option(
    "--specs",
    "spec_paths",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH…",
    callback=_default_specs,
    help="Specs: files or folders, any number.  [default: db-access.yaml here]",
)

settings_option: Callable[[_F], _F] = click.option(
    "--settings",
    "settings_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="soa-db.toml: accounts, regions, roles to assume.  [default: $SOA_DB_SETTINGS, or soa-db.toml here or above]",
)

admin_url_option: Callable[[_F], _F] = click.option(
    "--admin-url",
    metavar="URL",
    envvar=ADMIN_URL_VARIABLE,
    callback=_warn_about_password,
    help="The administrator's connection, instead of what AWS says; better in the variable, which nobody else sees.  "
    f"[env: {ADMIN_URL_VARIABLE}]",
)

json_option: Callable[[_F], _F] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else."
)

yes_option: Callable[[_F], _F] = click.option("-y", "--yes", is_flag=True, help="Do not ask before changing prod.")


prune_option: Callable[[_F], _F] = click.option(
    "--prune", is_flag=True, help="Also take away what no spec declares, and drop retired roles."
)

reassign_option: Callable[[_F], _F] = click.option(
    "--reassign", is_flag=True, help="Also give what other roles own in declared schemas to the owner role."
)


service_option: Callable[[_F], _F] = click.option(
    "--service", "services", multiple=True, metavar="ID", help="Only this service; may be repeated.  [default: all]"
)


def _only_in_dev(context: click.Context, _option: click.Parameter, value: bool) -> bool:
    env = context.params.get("env")
    if value and env not in {"dev", None}:
        raise click.UsageError(
            f"--insecure-dev sets passwords anybody can read in the documentation: not in {env}", context
        )
    return value


insecure_dev_option: Callable[[_F], _F] = click.option(
    "--insecure-dev", is_flag=True, callback=_only_in_dev, help="Fixed, documented development passwords; dev only."
)


def common_options(function: _F) -> _F:
    """Add what every command takes: ``--verbose`` and ``--debug``."""
    return _verbose_option(debug_option(function))
