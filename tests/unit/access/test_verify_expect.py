"""What ``verify`` expects, derived from specs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from soa_db.access.postgres.expect import DatabaseAccess, ServerAccess, UserAccess, expected_access
from soa_db.access.spec import load_specs

if TYPE_CHECKING:
    from pathlib import Path

_IAM = """
version: 1
service: iam-api
postgres:
  databases:
    - id: main
      database: iam_db
      schemas: [public, audit]
    - id: pii
      isolated: true
      identities: {owner: iam_pii_owner, app: iam_pii_app, ro: null}
      grants: {app: [select, insert, update]}
  extra_grants:
    - {to: app, on: public.audit_log, revoke: [update, delete]}
    - {to: ro, on: "public.refresh_*()", privileges: [execute]}
    - {to: ro, on: public.people, revoke: [select]}
    - {to: ro, on: public.people, privileges: [select], columns: [id]}
    - {to: app, on: public.big, privileges: [truncate]}
    - {to: app, on: public.counter, revoke: [usage, update]}
    - {to: ro, on: public.ticket_seq, privileges: [select]}
    - {to: app, on: "public.secret_*()", revoke: [execute]}
  shared_with:
    - {service: sds-api, tables: [public.users], columns: [id, name]}
    - {service: sds-api, tables: [audit.log]}
  retire: [{role: old_iam}]
"""
_SDS = """
version: 1
service: sds-api
postgres:
  reads: [{service: iam-api, tables: [public.users, audit.log], to: [ro]}]
"""


@pytest.fixture
def access(tmp_path: Path) -> ServerAccess:
    """Two services, one of which reads of the other."""
    for name, text in (("iam", _IAM), ("sds", _SDS)):
        (tmp_path / f"{name}.yaml").write_text(text, "utf-8")
    return expected_access(load_specs([tmp_path / "iam.yaml", tmp_path / "sds.yaml"]))


def _part(access: ServerAccess, name: str, user: str) -> tuple[DatabaseAccess, UserAccess]:
    database = next(database for database in access.databases if database.name == name)
    part = database.of(user)
    assert part is not None
    return database, part


def test_each_identity_reaches_its_own_databases_and_those_it_reads_of_others(access: ServerAccess) -> None:
    """An isolated database is reached by its own identities alone."""
    reach = {one.user: [database.name for database in access.reachable(one)] for one in access.identities}
    assert reach == {
        "iam_api_owner": ["iam_db"],
        "iam_api_app": ["iam_db"],
        "iam_api_ro": ["iam_db"],
        "iam_pii_owner": ["iam_api_pii_db"],
        "iam_pii_app": ["iam_api_pii_db"],
        "sds_api_owner": ["sds_api"],
        "sds_api_app": ["sds_api"],
        "sds_api_ro": ["iam_db", "sds_api"],
    }
    assert access.retired == {"old_iam"}
    assert [(database.name, database.owner, database.isolated) for database in access.databases] == [
        ("iam_db", "iam_api_owner", False),
        ("iam_api_pii_db", "iam_pii_owner", True),
        ("sds_api", "sds_api_owner", False),
    ]


_RIGHTS = """
iam_api_app public.users r | SELECT INSERT UPDATE DELETE | SELECT INSERT UPDATE DELETE
iam_api_app audit.log p | SELECT INSERT UPDATE DELETE | SELECT INSERT UPDATE DELETE
iam_api_app public.audit_log r | SELECT INSERT | SELECT INSERT
iam_api_app public.big r | SELECT INSERT UPDATE DELETE TRUNCATE | SELECT INSERT UPDATE DELETE TRUNCATE
iam_api_app public.a_view v | SELECT | SELECT INSERT UPDATE DELETE
iam_api_app attic.users r |  |
iam_api_ro public.users r | SELECT | SELECT
iam_api_ro public.people r |  |
sds_api_ro public.users r |  |
sds_api_ro audit.log r | SELECT | SELECT
sds_api_ro audit.other r |  |
iam_api_app public.users_id_seq S | USAGE | USAGE SELECT UPDATE
iam_api_app public.counter S |  | SELECT
iam_api_ro public.users_id_seq S |  | SELECT
iam_api_ro public.ticket_seq S | SELECT | SELECT
iam_api_app attic.users_id_seq S |  |
sds_api_ro public.users_id_seq S |  |
"""


@pytest.mark.parametrize("line", _RIGHTS.strip().splitlines())
def test_rights_on_relations_follow_the_grants_and_their_exceptions_in_order(access: ServerAccess, line: str) -> None:
    """What is needed and what is allowed (user, object and relkind | must | may): the rest is a violation."""
    subject, must, may = line.split("|")
    user, place, kind = subject.split()
    database, part = _part(access, "iam_db", user)
    schema, name = place.split(".")
    wanted = database.on_relation(part, schema, name, kind)
    assert (wanted.must, wanted.may) == (frozenset(must.split()), frozenset(may.split()))


def test_column_rights_stand_where_the_whole_table_is_withheld(access: ServerAccess) -> None:
    """For an extra grant and for a share."""
    database, part = _part(access, "iam_db", "iam_api_ro")
    assert database.on_relation(part, "public", "people", "r").columns == {"SELECT": {"id"}}
    database, part = _part(access, "iam_db", "sds_api_ro")
    assert database.on_relation(part, "public", "users", "r").columns == {"SELECT": {"id", "name"}}


def test_routines_are_the_apps_and_whose_the_spec_names(access: ServerAccess) -> None:
    """An entry that names a routine is also what excuses SECURITY DEFINER."""
    database, app = _part(access, "iam_db", "iam_api_app")
    _, reader = _part(access, "iam_db", "iam_api_ro")
    execute = frozenset({"EXECUTE"})
    assert database.on_routine(app, "public", "f").must == execute
    assert database.on_routine(app, "public", "secret_f").may == frozenset()
    assert database.on_routine(app, "attic", "f").may == frozenset()
    assert database.on_routine(reader, "public", "refresh_all").must == execute
    assert database.on_routine(reader, "public", "f").may == frozenset()
    assert database.named_routine(reader, "public", "refresh_all")
    assert not database.named_routine(app, "public", "refresh_all")


def test_schemas_are_open_to_the_services_own_users_and_to_readers_of_something_in_them(access: ServerAccess) -> None:
    """USAGE, never CREATE; the owner needs both, and may do anything anywhere in its database."""
    database, owner = _part(access, "iam_db", "iam_api_owner")
    _, app = _part(access, "iam_db", "iam_api_app")
    _, reader = _part(access, "iam_db", "sds_api_ro")
    assert database.on_schema(app, "audit").may == {"USAGE"}
    assert database.on_schema(app, "attic").may == frozenset()
    assert database.on_schema(reader, "audit").must == {"USAGE"}
    assert database.on_schema(owner, "audit").must == {"USAGE", "CREATE"}
    assert database.on_schema(owner, "attic").must == frozenset()
    assert "CREATE" in database.on_schema(owner, "attic").may
    assert database.on_relation(owner, "public", "users", "r").must == {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert database.on_routine(owner, "public", "f").must == {"EXECUTE"}


def test_grants_of_the_spec_take_the_place_of_the_default(access: ServerAccess) -> None:
    """pii's app may not delete."""
    database, part = _part(access, "iam_api_pii_db", "iam_pii_app")
    assert database.on_relation(part, "public", "people", "r").may == {"SELECT", "INSERT", "UPDATE"}
