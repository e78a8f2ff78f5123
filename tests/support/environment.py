"""What this process finds in its environment variables, for one test."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from soa_db.local.aws import EmulatedAws


def only(patch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Set variables, with nothing of the machine's own AWS, PostgreSQL, soa-db or proxy beside them."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "PG", "SOA_DB_")) or name.lower().endswith("_proxy"):
            patch.delenv(name)
    for name, value in variables.items():
        patch.setenv(name, value)


def user_of(emulator: EmulatedAws, account: str, name: str, region: str, home: Path) -> dict[str, str]:
    """The variables of somebody with a new user in an emulated account, and an empty home."""
    keys = emulator.create_user(account, name)
    return {
        "HOME": str(home),
        "AWS_ENDPOINT_URL": emulator.endpoint,
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
