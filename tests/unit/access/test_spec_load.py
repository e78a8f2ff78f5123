"""Reading specs: files, folders, and faults with their places."""

from pathlib import Path

import pytest

from soa_db.access.spec import SpecSet, load_spec, load_specs
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


def test_where_each_service_is_named_is_kept(tmp_path: Path) -> None:
    """For faults that only show in an environment; specs with other places are equal all the same."""
    one = write(tmp_path / "one.yaml", "version: 1\nservice: chat-api\nredis: {}\n")
    two = write(tmp_path / "two.yaml", "# two\nversion: 1\nservice:   iam-api\nredis: {}\n")
    specs = load_specs([one, two])
    assert specs.places == {"chat-api": f"{one}:2:10", "iam-api": f"{two}:3:12"}
    assert specs == SpecSet(specs.specs)


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


SMALL = "version: 1\nservice: {}\n"


def test_folders_are_searched_for_specs_and_other_folders_copies_passed_over(tmp_path: Path) -> None:
    """By name, with subfolders, in order; a file named twice is read once; a file named by itself has any name."""
    for place, service in (
        ("b/db-access.yaml", "b"),
        ("a/deep/er/db-access.yml", "a"),
        ("one.db-access.yaml", "one"),
        ("two.db-access.yml", "two"),
        ("b/other.yaml", "other"),
        ("node_modules/x/db-access.yaml", "x"),
        (".hidden/db-access.yaml", "y"),
        ("venv/db-access.yaml", "z"),
    ):
        write(tmp_path / place, SMALL.format(service))
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    specs = load_specs([tmp_path, tmp_path / "b" / "db-access.yaml", tmp_path / "b" / "other.yaml"])
    assert [spec.service for spec in specs.specs] == ["one", "two", "a", "b", "other"]


def test_what_cannot_be_read_is_a_problem_of_that_path(tmp_path: Path) -> None:
    """Missing files, folders without specs, things that are no files, and no path at all."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad" / "db-access.yaml").mkdir(parents=True)
    for paths, words in (
        ([tmp_path / "gone.yaml"], f"{tmp_path}/gone.yaml:1:1: cannot be read: No such file or directory"),
        ([tmp_path / "empty"], f"{tmp_path}/empty:1:1: no db-access.yaml in this folder or below it"),
        ([tmp_path / "bad"], f"{tmp_path}/bad:1:1: no db-access.yaml in this folder or below it"),
        (["/dev/null"], "/dev/null:1:1: cannot be read: not a regular file"),
        (["a\0b"], "a\0b:1:1: cannot be read: embedded null byte"),
        ([], "--specs:1:1: no file or folder was named"),
    ):
        with pytest.raises(SpecError) as caught:
            load_specs(paths)
        assert caught.value.problems == (words,)


def test_a_fault_in_one_file_does_not_hide_conflicts_between_the_others(tmp_path: Path) -> None:
    """Rules across specs are checked among the files that can be read."""
    a = write(tmp_path / "a.yaml", SMALL.format("a"))
    b = write(tmp_path / "b.yaml", SMALL.format("a"))
    c = write(tmp_path / "c.yaml", SMALL.format("C"))
    with pytest.raises(SpecError) as caught:
        load_specs([a, b, c])
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [f"{b}:2:10", f"{c}:2:10"]
