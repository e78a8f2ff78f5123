"""What a command works with, from its options: settings, AWS as the right account, the specs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from soa_db.names import Env, check_env

if TYPE_CHECKING:
    from soa_db.access.settings import Settings
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients
    from soa_db.cli.options import Target

__all__ = ["Session", "open_session"]


@dataclass(frozen=True, slots=True)
class Session:
    """One environment, who we are there, and the specs.

    Attributes:
        env: the environment.
        settings: soa-db.toml.
        aws: clients of the account that ``soa-db.toml`` expects for it.
        specs: the specs named.
    """

    env: Env
    settings: Settings
    aws: AwsClients
    specs: SpecSet


@contextmanager
def open_session(target: Target, *, services: Sequence[str] = ()) -> Iterator[Session]:
    """Read the specs and the settings, check the AWS account, close what was opened at the end.

    The specs come first: a mistake in them shows without any AWS access.

    Args:
        target: the environment, the specs and the settings' file.
        services: what --service and the like name; each must be among the specs.

    Raises:
        click.BadParameter: one is not.
        SpecError: the specs have faults.
        ConfigurationError: the settings have, or the caller is in another account than expected.
    """
    from soa_db.access.settings import load_settings
    from soa_db.access.spec import load_specs

    specs = load_specs(target.spec_paths)
    known = specs.by_service
    if unknown := [service for service in services if service not in known]:
        raise click.BadParameter(
            f"no spec is given for {', '.join(unknown)}; known are {', '.join(sorted(known))}", param_hint="--service"
        )
    settings = load_settings(target.settings_file)
    with settings.aws_for(target.env) as aws:
        settings.check_account(aws, target.env)
        yield Session(check_env(target.env), settings, aws, specs)
