"""A client that is refused while a rotation ends: it finds the new password wherever it stands by then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from soa_db._sync.credentials import SecretCredentials
from soa_db.config import SecretAuth
from soa_db.credentials import Credentials
from soa_db.errors import SecretNotFound


class Rotating:
    """A secret whose rotation moves on by one step with every forced read: (AWSCURRENT, AWSPENDING)."""

    def __init__(self, *steps: tuple[str, str | None]) -> None:
        self.steps = list(steps)
        self.reads: list[str] = []

    def secret(self, secret_id: str, *, stage: str = "AWSCURRENT", force: bool = False) -> Mapping[str, object]:
        assert (secret_id, force) == ("s", True), "what is cached was refused"
        self.reads.append(stage)
        current, pending = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        password = current if stage == "AWSCURRENT" else pending
        if password is None:
            raise SecretNotFound("no such stage")
        return {"username": "u", "password": password}


@pytest.mark.parametrize(
    ("steps", "found", "reads"),
    [
        ([("new", None)], "new", ["AWSCURRENT"]),
        ([("old", "new")], "new", ["AWSCURRENT", "AWSPENDING"]),
        ([("old", "new"), ("new", None)], "new", ["AWSCURRENT", "AWSPENDING", "AWSCURRENT"]),
        ([("old", None)], None, ["AWSCURRENT", "AWSPENDING", "AWSCURRENT"]),
        ([("old", "old")], None, ["AWSCURRENT", "AWSPENDING"]),
    ],
    ids=["promoted", "under way", "promoted between the reads", "no rotation", "nothing new"],
)
def test_the_new_password_is_found_wherever_it_stands(
    steps: list[tuple[str, str | None]], found: str | None, reads: list[str]
) -> None:
    """The promotion may fall between the reads of the two stages; a plain wrong password stays refused."""
    aws = Rotating(*steps)
    provider = SecretCredentials(SecretAuth(secret_id="s"), user="u", aws=cast("Any", aws))
    other = provider.refresh(Credentials("u", "old", source="s"))
    assert (other.secret if other else None) == found
    assert aws.reads == reads
