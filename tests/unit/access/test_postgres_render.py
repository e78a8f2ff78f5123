"""Every action has one sentence and its statements; names are quoted, whatever they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soa_db.access.postgres.actions import (
    Action,
    AdoptRole,
    AlterRole,
    CommentRole,
    CreateDatabase,
    CreateRole,
    CreateSchema,
    DefaultPrivileges,
    DropRole,
    GrantMembership,
    Privileges,
    ResetSetting,
    RetireIn,
    RevokeMembership,
    SetDatabaseOwner,
    SetObjectOwner,
    SetPassword,
    SetSchemaOwner,
    sentence,
    shown,
)
from soa_db.access.postgres.render import bracket_close, bracket_open, owners, render, set_password
from soa_db.access.postgres.state import PUBLIC, ObjectName

T = (ObjectName("t"),)

# action, sentence in database d, statements
CASES: list[tuple[Action, str, list[str]]] = [
    (
        CreateRole("a", "it's"),
        "create role a",
        ['CREATE ROLE "a" LOGIN INHERIT NOCREATEDB NOCREATEROLE', "COMMENT ON ROLE \"a\" IS 'it''s'"],
    ),
    (AlterRole("a", ("LOGIN", "INHERIT")), "alter role a: LOGIN, INHERIT", ['ALTER ROLE "a" LOGIN INHERIT']),
    (
        AdoptRole("a", "c"),
        "take over role a, which soa-db did not make: its password and rights become the spec's",
        ["COMMENT ON ROLE \"a\" IS 'c'"],
    ),
    (CommentRole("a", "c"), "set the comment of role a", ["COMMENT ON ROLE \"a\" IS 'c'"]),
    (GrantMembership("r", "a"), "grant membership in r to a", ['GRANT "r" TO "a"']),
    (
        RevokeMembership("r", "a", "g"),
        "revoke membership in r from a (granted by g)",
        ['REVOKE "r" FROM "a" GRANTED BY "g" CASCADE'],
    ),
    (ResetSetting("a", None, "my.x"), "reset setting my.x of role a", ['ALTER ROLE "a" RESET "my"."x"']),
    (
        ResetSetting("a", "e", "work_mem"),
        "reset setting work_mem of role a in database e",
        ['ALTER ROLE "a" IN DATABASE "e" RESET "work_mem"'],
    ),
    (CreateDatabase("d"), "create database d", ["CREATE DATABASE \"d\" TEMPLATE template0 ENCODING 'UTF8'"]),
    (
        SetDatabaseOwner("d", "o", "p"),
        "make o the owner of database d (now p)",
        ['ALTER DATABASE "d" OWNER TO "o"'],
    ),
    (
        CreateSchema("s", "o"),
        "create schema s of database d owned by o",
        ['CREATE SCHEMA "s" AUTHORIZATION "o"'],
    ),
    (
        SetSchemaOwner("s", "o", "p"),
        "make o the owner of schema s of database d (now p)",
        ['ALTER SCHEMA "s" OWNER TO "o"'],
    ),
    (
        SetObjectOwner("materialized view", "s", (*T, ObjectName("u")), "o", "p"),
        "make o the owner of 2 materialized views in schema s of database d (now p)",
        ['ALTER MATERIALIZED VIEW "s"."t" OWNER TO "o"', 'ALTER MATERIALIZED VIEW "s"."u" OWNER TO "o"'],
    ),
    (
        SetObjectOwner("routine", "s", (ObjectName("f", "integer, text"),), "o", "p"),
        "make o the owner of routine f(integer, text) in schema s of database d (now p)",
        ['ALTER ROUTINE "s"."f"(integer, text) OWNER TO "o"'],
    ),
    (
        Privileges("grant", "view", "s", T, "o", ("a", "b"), ("INSERT", "SELECT")),
        "grant INSERT, SELECT on view t in schema s of database d to a, b",
        ['GRANT INSERT, SELECT ON TABLE "s"."t" TO "a", "b"'],
    ),
    (
        Privileges("grant", "table", "s", T, "o", ("a",), ("SELECT", "UPDATE"), ("c", "e%")),
        'grant SELECT, UPDATE (c, "e%") on table t in schema s of database d to a',
        ['GRANT SELECT ("c", "e%"), UPDATE ("c", "e%") ON TABLE "s"."t" TO "a"'],
    ),
    (
        Privileges("revoke", "database", "", (ObjectName("d"),), "o", (PUBLIC,), ("CONNECT",)),
        "revoke CONNECT on database d from PUBLIC",
        ['REVOKE CONNECT ON DATABASE "d" FROM PUBLIC CASCADE'],
    ),
    (
        Privileges("revoke grant option", "schema", "", (*T, ObjectName("u")), "o", ("a",), ("USAGE",)),
        "revoke grant option for USAGE on schemas t, u of database d from a",
        ['REVOKE GRANT OPTION FOR USAGE ON SCHEMA "t", "u" FROM "a" CASCADE'],
    ),
    (
        DefaultPrivileges("grant", "o", "s", "table", ("a",), ("SELECT",)),
        "grant SELECT on tables o makes later in schema s of database d to a",
        ['ALTER DEFAULT PRIVILEGES FOR ROLE "o" IN SCHEMA "s" GRANT SELECT ON TABLES TO "a"'],
    ),
    (
        DefaultPrivileges("revoke", "o", None, "routine", (PUBLIC,), ("EXECUTE",)),
        "revoke EXECUTE on routines o makes later in database d from PUBLIC",
        ['ALTER DEFAULT PRIVILEGES FOR ROLE "o" REVOKE EXECUTE ON ROUTINES FROM PUBLIC CASCADE'],
    ),
    (SetPassword("a", ("x", "y"), "why"), "set password of a in x, y (why)", []),
    (
        RetireIn("a", "o", ("p",)),
        "give what retired role a owns in database d to o, drop its privileges there",
        ['REASSIGN OWNED BY "a" TO "o"', 'DROP OWNED BY "a"'],
    ),
    (DropRole("a"), "drop retired role a", ['DROP ROLE "a"']),
]


@pytest.mark.parametrize(("action", "said", "statements"), CASES, ids=[type(case[0]).__name__ for case in CASES])
def test_an_action_as_sentence_and_as_sql(action: Action, said: str, statements: list[str]) -> None:
    """What a person reads is what is done."""
    assert sentence(action, "d") == said
    assert [statement.as_string(None) for statement in render(action, 16)] == statements


def test_every_action_has_a_case() -> None:
    """A new action cannot be forgotten here."""
    assert {type(action) for action, _, _ in CASES} == set(Action.__args__)


def test_before_16_a_membership_has_no_grantor_to_name() -> None:
    """The options of a grant of membership came with 16 too."""
    (revoke,) = render(RevokeMembership("r", "a", "g"), 15)
    assert revoke.as_string(None) == 'REVOKE "r" FROM "a" CASCADE'
    assert bracket_open("r", "m", 15).as_string(None) == 'GRANT "r" TO "m"'
    assert bracket_open("r", "m", 16).as_string(None) == 'GRANT "r" TO "m" WITH INHERIT TRUE, SET TRUE'
    assert bracket_close("r", "m", 15).as_string(None) == 'REVOKE "r" FROM "m"'
    assert bracket_close("r", "m", 16).as_string(None) == 'REVOKE "r" FROM "m" GRANTED BY "m"'


def test_many_objects_are_several_statements() -> None:
    """A statement does not grow without end; no object is lost."""
    names = tuple(ObjectName(f"t{number}") for number in range(2500))
    found = [
        one.as_string(None) for one in render(Privileges("grant", "table", "s", names, "o", ("a",), ("SELECT",)), 17)
    ]
    assert len(found) == 3
    assert sum(text.count('"s".') for text in found) == 2500


def test_actions_are_done_as_the_owners_they_touch() -> None:
    """Both the old and the new owner where something changes hands; nobody for roles."""
    assert owners(SetSchemaOwner("s", "o", "p")) == {"o", "p"}
    assert owners(SetObjectOwner("table", "s", T, "o", "p")) == {"o", "p"}
    assert owners(Privileges("grant", "table", "s", T, "o", ("a",), ("SELECT",))) == {"o"}
    assert owners(RetireIn("a", "o", ("p",))) == {"a", "o", "p"}
    assert owners(CreateRole("a", "")) == frozenset()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_name_is_only_ever_a_name(name: str) -> None:
    """In SQL one quoted identifier; in a sentence printable, on one line, and never mistaken for PUBLIC."""
    quoted = '"' + name.replace('"', '""') + '"'
    assert [one.as_string(None) for one in render(DropRole(name), 17)] == [f"DROP ROLE {quoted}"]
    assert set_password(name, "v").as_string(None) == f"ALTER ROLE {quoted} PASSWORD 'v'"
    assert shown(name).isprintable()
