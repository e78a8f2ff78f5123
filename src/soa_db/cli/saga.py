"""``saga-provision-credentials`` and ``saga-verify-credentials``: the original tools' names for the same functions."""

from __future__ import annotations

from collections.abc import Sequence

from soa_db.cli import entry

__all__ = ["provision_main", "verify_main"]


def provision_main(arguments: Sequence[str] | None = None) -> int:
    """Run ``saga-provision-credentials``: ``create`` is ``soa-db provision``."""
    return entry("saga-provision-credentials", "soa_db.cli.saga_provision", arguments)


def verify_main(arguments: Sequence[str] | None = None) -> int:
    """Run ``saga-verify-credentials``, which is ``soa-db verify``."""
    return entry("saga-verify-credentials", "soa_db.cli.verify", arguments)
