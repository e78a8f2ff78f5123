"""``saga-provision-credentials``: ``create`` is ``soa-db provision`` under the name the original tool has."""

from __future__ import annotations

import click

from soa_db.cli import provision

__all__ = ["command"]


@click.group("saga-provision-credentials")
def command() -> None:
    """Provision database credentials; the same as `soa-db provision`."""


command.add_command(provision.command, "create")
