"""Reading specs: files, folders, and faults with their places."""

from pathlib import Path

import pytest

from soa_db.access.spec import load_spec, load_specs
from soa_db.errors import SpecError


def write(path: Path, text: str | bytes) -> Path:
    """Put ``text`` there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_smallest_spec_has_the_derived_names(tmp_path: Path) -> None:
    """A file with a service and an empty postgres part declares one database and three users."""
    spec = load_spec(write(tmp_path / "db-access.yaml", "version: 1\nservice: chat-api\npostgres: {}\n"))
    assert spec.postgres_database(None) == spec.postgres_database("main") == "chat_api"
    assert spec.postgres_user("main", "ro") == "chat_api_ro"


def test_a_user_shared_by_two_databases_is_one_identity(tmp_path: Path) -> None:
    """Identities are users, not pairs of user and database."""
    text = "version: 1\nservice: chat-api\npostgres:\n  databases: [{}, {id: log}]\n"
    identities = load_specs([write(tmp_path / "x.yaml", text)]).postgres_identities()
    assert [(identity.user, identity.databases, identity.db_ids) for identity in identities] == [
        (f"chat_api_{role}", ("chat_api", "chat_api_log_db"), ("main", "log")) for role in ("owner", "app", "ro")
    ]


def test_every_fault_of_every_file_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    """One error, sorted by file and place."""
    a = write(tmp_path / "a.yaml", "version: 1\nservice: a\npostgress: {}\nredis: 5\n")
    b = write(tmp_path / "b.yaml", "version: 1\nservice: B\n")
    with pytest.raises(SpecError) as caught:
        load_specs([b, a])
    assert [problem[: problem.index(": ")] for problem in caught.value.problems] == [
        f"{a}:3:1",
        f"{a}:4:8",
        f"{b}:2:10",
    ]
