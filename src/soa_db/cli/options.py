"""The options that commands share, each a decorator, so that they read the same everywhere."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar
from urllib.parse import urlsplit

import click

from soa_db.cli.run import Invocation
from soa_db.names import ENVS

__all__ = [
    "OutputFile",
    "SpecsCommand",
    "Target",
    "admin_url_option",
    "common_options",
    "debug_option",
    "engine_option",
    "env_option",
    "identities_options",
    "insecure_dev_option",
    "json_option",
    "prune_option",
    "reassign_option",
    "service_option",
    "settings_option",
    "yes_option",
]

_F = TypeVar("_F", bound=Callable[..., object])

DEFAULT_SPEC = Path("db-access.yaml")
ENGINES = ("postgres", "redis", "mongo")
ADMIN_URL_VARIABLE = "SOA_DB_ADMIN_URL"


@dataclass(frozen=True, slots=True)
class Target:
    """What a command works on: one environment, as some specs want it.

    Attributes:
        env: the environment.
        spec_paths: the specs named.
        settings_file: ``soa-db.toml``; None to look for it.
    """

    env: str
    spec_paths: tuple[Path, ...]
    settings_file: Path | None


class SpecsCommand(click.Command):
    """A command on specs in an environment: it takes the options all of these have, and is called with ``target``.

    Its ``--specs`` takes every path up to the next option, as ``repos/*/db-access.yaml`` gives them: click's options
    take a fixed number of values. A path that ends in ``.json`` is not taken: it is a saved plan.
    """

    def __init__(self, name: str | None, *, params: list[click.Parameter], **keywords: Any) -> None:
        first = _parameters(env_option, _specs_option)
        last = _parameters(settings_option, json_option, common_options)
        super().__init__(name, params=[*first, *params, *last], **keywords)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command with its target in place of the options that name it."""
        named = (ctx.params.pop(name) for name in ("env", "spec_paths", "settings_file"))
        ctx.params["target"] = Target(*named)
        return super().invoke(ctx)

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


class OutputFile(click.Path):
    """A file written at the end of the work: that it can be is found out before the work begins."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Fail when there is no folder to write it in."""
        path = Path(str(super().convert(value, param, ctx)))
        folder = path.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            self.fail(f"{path} cannot be written: there is no directory {folder} to write in", param, ctx)
        return path


def _parameters(*decorators: Callable[[Callable[..., object]], Callable[..., object]]) -> list[click.Parameter]:
    """The parameters that some of click's decorators make."""

    def nothing() -> None: ...

    for decorate in reversed(decorators):
        decorate(nothing)
    return click.command(nothing).params


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the moment: while a bar or a spinner moves there, rich puts the lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self.stream = sys.stderr
        super().emit(record)


def _set_debug(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).debug = True


def _set_verbose(context: click.Context, _option: click.Parameter, value: int) -> None:
    if value:
        invocation = context.ensure_object(Invocation)
        invocation.verbose = value
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        # psycopg_pool tells every connection it hands out at INFO.
        for name, once in (("soa_db", logging.INFO), ("psycopg.pool", logging.WARNING)):
            logger = logging.getLogger(name)
            # Who calls `main` within a process of their own: stderr may be another one, or closed, by the next call.
            invocation.undo.callback(logger.setLevel, logger.level)
            invocation.undo.callback(logger.removeHandler, handler)
            logger.addHandler(handler)
            logger.setLevel(once if value == 1 else logging.DEBUG)


def _default_specs(context: click.Context, _option: click.Parameter, value: tuple[Path, ...]) -> tuple[Path, ...]:
    if value or context.resilient_parsing:
        return value
    if DEFAULT_SPEC.is_file():
        return (DEFAULT_SPEC,)
    raise click.UsageError(
        f"no specs: there is no {DEFAULT_SPEC} here; name files or folders with --specs PATH…", context
    )


def _with_variable(context: click.Context, option: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """An administrator given for one engine leaves that of another, in the variable, where it is."""
    if context.get_parameter_source(option.name or "") is not click.core.ParameterSource.COMMANDLINE:
        return value
    if any(map(_holds_password, value)):
        click.echo(
            "warning: a password in --admin-url can be read by every user of this machine in the process list; "
            f"put the URL in the environment variable {ADMIN_URL_VARIABLE} instead",
            err=True,
        )
    from soa_db.access.engine import with_variable
    from soa_db.access.engines import ENGINES

    return with_variable(ENGINES, value)


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

_specs_option: Callable[[_F], _F] = click.option(
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
    "admin_urls",
    multiple=True,
    metavar="URL",
    envvar=ADMIN_URL_VARIABLE,
    callback=_with_variable,
    help="The administrator's connection, instead of what AWS says; its scheme tells for which engine, so it may be "
    f"repeated. Better in the variable, which nobody else sees; an engine's URL given here wins over the one there.  "
    f"[env: {ADMIN_URL_VARIABLE}]",
)

engine_option: Callable[[_F], _F] = click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(ENGINES),
    help="Only this engine; may be repeated.  [default: those the specs have a part for]",
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


def _role_arn(context: click.Context, option: click.Parameter, given: str | None) -> str | None:
    if given is not None and not given.startswith("arn:"):
        raise click.BadParameter(f"{given} is no ARN of a role: it begins with arn:", context, option)
    return given


_assume_role_option: Callable[[_F], _F] = click.option(
    "--assume-role",
    metavar="ARN",
    callback=_role_arn,
    help="Log in with each service's own AWS rights: a role's ARN with the fields {service}, {role}, {env}, {account}.",
)


_jobs_option: Callable[[_F], _F] = click.option(
    "--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="How many identities at the same time."
)


def identities_options(function: _F) -> _F:
    """Add what every command takes that logs in as many identities: which, with whose AWS rights, how many at once."""
    return _assume_role_option(engine_option(service_option(_jobs_option(function))))


def common_options(function: _F) -> _F:
    """Add what every command takes: ``--verbose`` and ``--debug``."""
    return _verbose_option(debug_option(function))
