"""Rules between several services' specs, and who reads whom."""

from pathlib import Path

import pytest

from soa_db.access.spec import SpecSet, load_specs
from soa_db.errors import SpecError


def load(folder: Path, *texts: str) -> SpecSet:
    """Specs from texts without their version line, in files a.yaml, b.yaml …"""
    files = []
    for name, text in zip("abc", texts, strict=False):
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(f"version: 1\n{text}")
    return load_specs(files)


ISOLATED = "service: b\npostgres: {databases: [{isolated: true}]}\n"
CONFLICTS = [
    ("service: a\n", "service: §a\n", "a second spec for a: one service has one spec"),
    (
        "service: a\npostgres: {databases: [{identities: {app: x}}]}\n",
        "service: b\npostgres: {databases: [{identities: {app: §x}}]}\n",
        "the user 'x' belongs to a already",
    ),
    (
        "service: a\npostgres: {databases: [{identities: {app: b_app}}]}\n",
        "service: b\npostgres: §{}\n",
        "the user 'b_app' belongs to a already",
    ),
    (
        "service: a\npostgres: {}\n",
        "service: b\npostgres: {databases: [{database: §a}]}\n",
        "the database 'a' belongs to a already",
    ),
    (
        "service: a\npostgres: {databases: [{id: b, database: x}]}\n",
        "service: a-b\npostgres: {databases: [§{}]}\n",
        "the password secret of 'a-b' belongs to a already",
    ),
    (
        "service: a\nmongo: {database: B_DB}\n",
        "service: b\nmongo: §{}\n",
        "the MongoDB database 'b_db' belongs to a already",
    ),
    (
        "service: a\npostgres: {}\n",
        "service: b\npostgres: {retire: [{role: §a_app}]}\n",
        "the role 'a_app' is declared by a",
    ),
    (
        "service: a\npostgres: {retire: [{role: old}]}\n",
        "service: b\npostgres: {retire: [{role: §old}]}\n",
        "the role 'old' is retired by a already",
    ),
    ("service: a\nmongo: {}\n", "service: b\nmongo: {retire: [{user: §a_app}]}\n", "the user 'a_app' is declared by a"),
    (
        "service: a\nredis: {}\n",
        "service: b\nredis: {keys: [b:*, §'a:x:*']}\n",
        "'a:x:*' overlaps 'a:*', which a writes",
    ),
    ("service: a\nredis: {keys: ['b:y:*']}\n", "service: b\nredis: §{}\n", "'b:*' overlaps 'b:y:*', which a writes"),
    (
        "service: a\n",
        "service: b\npostgres: {reads: [{service: §a, tables: [public.x]}]}\n",
        "a declares no PostgreSQL database 'main'",
    ),
    (
        "service: a\npostgres: {}\n",
        "service: b\npostgres: {reads: [{service: a, db: §log, tables: [public.x]}]}\n",
        "a declares no PostgreSQL database 'log'",
    ),
    (
        "service: a\npostgres: {databases: [{isolated: true}]}\n",
        "service: b\npostgres: {reads: [§{service: a, tables: [public.x]}]}\n",
        "the database 'main' of a is isolated: nobody else reads it",
    ),
    (
        "service: a\npostgres: {shared_with: [{service: b, tables: [public.x]}, {service: c, tables: [public.y]}]}\n",
        "service: b\npostgres: {reads: [{service: a, tables: [public.x, §public.y]}]}\n",
        "a does not share public.y with b: its `shared_with` must name it",
    ),
    (
        "service: a\npostgres: {shared_with: [{service: b, tables: [public.x]}]}\n",
        "service: b\npostgres: {reads: [{service: a, tables: [§public.x*]}]}\n",
        "a does not share public.x* with b: its `shared_with` must name it",
    ),
    (
        "service: a\nmongo: {shared_with: [{service: b, collections: [x]}]}\n",
        "service: b\nmongo: {reads: [{service: a, collections: [x, §z]}]}\n",
        "a does not share z with b: its `shared_with` must name it",
    ),
    (
        "service: a\n",
        "service: b\nmongo: {reads: [{service: a, collections: [§z]}]}\n",
        "a does not share z with b: its `shared_with` must name it",
    ),
]


@pytest.mark.parametrize(("first", "marked", "words"), CONFLICTS, ids=[words for *_, words in CONFLICTS])
def test_a_conflict_is_told_in_the_later_spec_or_the_reader(
    tmp_path: Path, first: str, marked: str, words: str
) -> None:
    """With the place in that file (marked with §)."""
    before = "version: 1\n" + marked[: marked.index("§")]
    place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    with pytest.raises(SpecError) as caught:
        load(tmp_path, first, marked.replace("§", ""))
    assert f"{tmp_path / 'b.yaml'}:{place}: {words}" in caught.value.problems
    assert {problem.split(":")[0] for problem in caught.value.problems} == {str(tmp_path / "b.yaml")}


def test_a_read_is_granted_only_where_both_sides_say_so(tmp_path: Path) -> None:
    """Agreed with the entry that shares it, pending where the other spec isn't given."""
    specs = load(
        tmp_path,
        """service: a
postgres:
  databases: [{schemas: [public, log]}]
  shared_with:
    - {service: b, tables: [public.users], columns: [id]}
    - {service: b, tables: ["log.*", public.rooms]}
    - {service: c, tables: [public.rooms]}
""",
        """service: b
postgres:
  databases: [{id: first, identities: {app: bee, ro: null}}, {id: second}]
  reads:
    - {service: a, tables: [public.rooms, public.users, "log.e_*"]}
    - {service: zed, tables: [public.x], to: [app]}
""",
    )
    agreed = [
        (read.reader.service, read.target.service, [str(table) for table in read.tables], read.share.columns)
        for read in specs.agreed_reads()
    ]
    assert agreed == [("b", "a", ["public.users"], ("id",)), ("b", "a", ["public.rooms", "log.e_*"], ())]
    (pending,) = specs.pending_reads()
    assert (pending.reader.service, pending.read.service) == ("b", "zed")
    reader = specs.by_service["b"]
    assert reader.read_users(specs.agreed_reads()[0].read) == (("app", "bee"),)


def test_a_share_is_of_one_database_and_a_read_by_the_users_of_main(tmp_path: Path) -> None:
    """Another database's table of the same name is not shared with it; main need not stand first."""
    target = "service: a\npostgres:\n  databases: [{}, {id: log}]\n  shared_with: [{service: b, tables: [public.x]}]\n"
    reader = """service: b
postgres:
  databases: [{id: first, identities: {app: other}}, {id: main}]
  reads: [{service: a, db: DB, tables: [public.x], to: [app]}]
"""
    with pytest.raises(SpecError, match=r"a does not share public\.x with b"):
        load(tmp_path, target, reader.replace("DB", "log"))
    (read,) = load(tmp_path, target, reader.replace("DB", "main")).agreed_reads()
    assert read.reader.read_users(read.read) == (("app", "b_app"),)


def test_a_table_shared_whole_and_by_columns_is_read_whole(tmp_path: Path) -> None:
    """The wider of two shares counts, once."""
    specs = load(
        tmp_path,
        "service: a\npostgres: {shared_with: [{service: b, tables: [public.x], columns: [i]}, {service: b, "
        'tables: ["public.*"]}]}\n',
        "service: b\npostgres: {reads: [{service: a, tables: [public.x]}]}\n",
    )
    (read,) = specs.agreed_reads()
    assert read.share.columns == ()


def test_specs_that_fit_together_make_no_fault(tmp_path: Path) -> None:
    """Reading others' keys, and the same pattern twice within one service's parts, are no conflicts."""
    specs = load(
        tmp_path,
        "service: a\nredis: {keys: ['a:*', 'a:b:*']}\nmongo: {shared_with: [{service: b, collections: [x]}]}\n",
        "service: b\nredis: {read_only_keys: ['a:*']}\n"
        "mongo: {reads: [{service: a, collections: [x]}, {service: zed, collections: [y]}]}\n",
    )
    assert [spec.service for spec in specs.specs] == ["a", "b"]
