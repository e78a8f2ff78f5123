"""One database's contents: what the specs want × what is there → changes and notices. Pure.

Objects are compared group by group (``ObjectGroup``), and changes are gathered by what is done for whom, so that
"grant SELECT on 2,500 tables" is one change and one statement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from soa_db.access.postgres.actions import (
    CreateSchema,
    GrantKind,
    SetObjectOwner,
    SetSchemaOwner,
    sentence,
    shown,
)
from soa_db.access.postgres.context import Context, Findings
from soa_db.access.postgres.desired import TABLE_KINDS, DesiredDatabase, Rule
from soa_db.access.postgres.privilege_changes import PrivilegeChanges, default_privilege_changes
from soa_db.access.postgres.privileges import (
    AclDiff,
    applicable,
    builtin_acl,
    compare,
    owner_privileges,
    with_new_owner,
)
from soa_db.access.postgres.remedies import quoted
from soa_db.access.postgres.state import (
    PUBLIC,
    AclItem,
    Contents,
    ObjectGroup,
    ObjectName,
    SchemaState,
)

__all__ = ["FRESH", "diff_contents"]

_DATABASE_OWNER = "pg_database_owner"
_DEFAULT_KINDS: tuple[GrantKind, ...] = ("table", "sequence", "routine", "type")

# What CREATE DATABASE … TEMPLATE template0 gives on 15 and later; looked at again once the database is there.
FRESH = Contents(
    schemas=(
        SchemaState(
            "public",
            _DATABASE_OWNER,
            (
                AclItem(_DATABASE_OWNER, "CREATE", _DATABASE_OWNER),
                AclItem(_DATABASE_OWNER, "USAGE", _DATABASE_OWNER),
                AclItem(PUBLIC, "USAGE", _DATABASE_OWNER),
            ),
        ),
    )
)


def diff_contents(wanted: DesiredDatabase, contents: Contents, context: Context, *, used: bool) -> Findings:
    """Compare one database.

    Args:
        wanted: what the specs want.
        contents: what is there.
        context: the rest of the server.
        used: somebody not declared uses the database.
    """
    comparison = _Comparison(
        wanted=wanted,
        contents=contents,
        context=context,
        owner=wanted.owner,
        findings=Findings(f"database {wanted.name}", wanted.name),
        privileges=PrivilegeChanges(context, wanted.name, used),
    )
    comparison.run()
    return comparison.findings


def wanted_on(
    kind: GrantKind, name: str, schema: str, wanted: DesiredDatabase, version: int
) -> tuple[dict[str, frozenset[str]], dict[str, dict[str, frozenset[str]]]]:
    """Who is to have what on one object: on the whole (grantee → privileges) and by column."""
    whole = _general(kind, wanted)
    columns: dict[str, dict[str, frozenset[str]]] = {}
    for rule in wanted.rules:
        if kind in rule.kinds and rule.pattern.matches(schema, name):
            _follow(rule, whole, columns)
    return {grantee: applicable(privileges, kind, version) for grantee, privileges in whole.items()}, columns


def _general(kind: GrantKind, wanted: DesiredDatabase) -> dict[str, frozenset[str]]:
    match kind:
        case "sequence":
            return {user: _on_sequences(privileges) for user, privileges in wanted.tables.items()}
        case "routine":
            return dict.fromkeys(wanted.executes, frozenset({"EXECUTE"}))
        case "type":
            return dict.fromkeys(wanted.tables, frozenset({"USAGE"}))
        case _:
            return dict(wanted.tables)


def _on_sequences(on_tables: frozenset[str]) -> frozenset[str]:
    """Serial columns need USAGE on their sequence to be inserted into; pg_dump reads sequences."""
    usage = frozenset({"USAGE"}) if on_tables & {"INSERT", "UPDATE"} else frozenset()
    return usage | (on_tables & {"SELECT"})


def _follow(rule: Rule, whole: dict[str, frozenset[str]], columns: dict[str, dict[str, frozenset[str]]]) -> None:
    whole[rule.grantee] = whole.get(rule.grantee, frozenset()) - rule.revoked
    for per_grantee in columns.values():
        if rule.grantee in per_grantee:
            per_grantee[rule.grantee] -= rule.revoked
    if not rule.columns:
        whole[rule.grantee] |= rule.privileges
        return
    for column in rule.columns:
        per_grantee = columns.setdefault(column, {})
        per_grantee[rule.grantee] = per_grantee.get(rule.grantee, frozenset()) | rule.privileges


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The comparison of one database under way; ``owner`` is the role that is to own what is declared."""

    wanted: DesiredDatabase
    contents: Contents
    context: Context
    owner: str
    findings: Findings
    privileges: PrivilegeChanges

    def run(self) -> None:
        self.too_new()
        # First, so that a schema made next gets what the specs say and no more.
        self.default_privileges_anywhere()
        self.schemas()
        groups = self.owned()
        self.default_privileges_in_schemas()
        for group in groups:
            self.objects(group)
        self.columns()
        self.privileges.tell(self.findings)

    def too_new(self) -> None:
        wanted = frozenset().union(*self.wanted.tables.values(), *(rule.privileges for rule in self.wanted.rules))
        if self.context.version < 17 and "MAINTAIN" in wanted:
            self.findings.note(
                f"MAINTAIN came with PostgreSQL 17: on this server ({self.context.version}) nobody is granted it in "
                f"database {shown(self.wanted.name)}"
            )

    def is_ours(self, role: str) -> bool:
        """Taking something from this role takes nothing from anybody."""
        return role in self.context.desired.roles or role == self.context.state.admin.name

    # --- schemas

    def schemas(self) -> None:
        there = {schema.name: schema for schema in self.contents.schemas}
        for name in self.wanted.schemas:
            self.schema(name, there.get(name))
        for schema in self.contents.schemas:
            if schema.name not in self.wanted.schemas:
                self.undeclared_schema(schema)

    def schema(self, name: str, schema: SchemaState | None) -> None:
        own = owner_privileges("schema", self.context.version)
        grants = {user: frozenset({"USAGE"}) for user in self.wanted.usage[name]}
        if schema is None:
            self.findings.change(CreateSchema(name, self.owner))
            schema = SchemaState(name, self.owner, builtin_acl("schema", self.owner, self.context.version))
        elif schema.owner not in {self.owner, _DATABASE_OWNER}:
            if self.context.may_become(schema.owner):
                self.findings.change(
                    SetSchemaOwner(name, self.owner, schema.owner), destructive=not self.is_ours(schema.owner)
                )
                schema = SchemaState(name, self.owner, with_new_owner(schema.acl, schema.owner, self.owner))
            else:
                self.findings.unreachable(
                    f"schema {shown(name)} of database {shown(self.wanted.name)} belongs to {shown(schema.owner)}, "
                    f"as whom {shown(self.context.state.admin.name)} cannot act",
                    f"a superuser can run: ALTER SCHEMA {quoted(name)} OWNER TO {quoted(self.owner)}",
                )
                grants |= {self.owner: own}
        self.privileges.add(
            compare(schema.acl, grants, schema.owner, own),
            kind="schema",
            schema="",
            names=(ObjectName(name),),
            owner=schema.owner,
        )

    def undeclared_schema(self, schema: SchemaState) -> None:
        context = self.context
        mine = tuple(item for item in schema.acl if context.is_managed(item.grantee) or item.grantee == schema.owner)
        holders = sorted({item.grantee for item in mine} - {schema.owner})
        if not holders:
            return
        if context.options.prune and context.may_become(schema.owner, self.wanted.name):
            own = frozenset(item.privilege for item in mine if item.grantee == schema.owner)
            self.privileges.add(
                compare(mine, {}, schema.owner, own),
                kind="schema",
                schema="",
                names=(ObjectName(schema.name),),
                owner=schema.owner,
            )
            return
        self.findings.note(
            f"schema {shown(schema.name)} of database {shown(self.wanted.name)} is not declared, and "
            f"{', '.join(map(shown, holders))} may use it",
            "declare it under `schemas`, or take these rights away with --prune",
        )

    # --- objects

    def owned(self) -> list[ObjectGroup]:
        """The objects of the declared schemas, with the owner they will have; others' objects are reported."""
        groups = []
        for group in self.contents.objects:
            if group.schema not in self.wanted.schemas:
                continue
            if group.owner == self.owner:
                groups.append(group)
                continue
            possible = self.context.may_become(group.owner, self.wanted.name)
            action = SetObjectOwner(group.kind, group.schema, group.names, self.owner, group.owner)
            if self.context.options.reassign and possible:
                if not group.linked:
                    self.findings.change(action, destructive=not self.is_ours(group.owner))
                acl = with_new_owner(group.acl, group.owner, self.owner)
                groups.append(replace(group, owner=self.owner, acl=acl))
                continue
            groups.append(group)
            if not group.linked:
                self.findings.note(
                    f"not owned by the owner role, left as it is: {sentence(action, self.wanted.name)}",
                    "use --reassign" if possible else f"{shown(group.owner)} or a superuser must do it",
                )
        return groups

    def objects(self, group: ObjectGroup) -> None:
        rules = [rule for rule in self.wanted.rules if group.kind in rule.kinds and rule.pattern.schema == group.schema]
        # Objects that the same rules name are to have the same ACL: nearly always one part.
        parts: dict[tuple[int, ...], list[ObjectName]] = {}
        for name in group.names:
            matching = tuple(index for index, rule in enumerate(rules) if rule.pattern.matches(group.schema, name.name))
            parts.setdefault(matching, []).append(name)
        own = owner_privileges(group.kind, self.context.version)
        for names in parts.values():
            whole, _ = wanted_on(group.kind, names[0].name, group.schema, self.wanted, self.context.version)
            self.privileges.add(
                compare(group.acl, whole, group.owner, own),
                kind=group.kind,
                schema=group.schema,
                names=names,
                owner=group.owner,
            )

    def columns(self) -> None:
        if not self.contents.columns:
            return
        kinds = {
            (group.schema, name.name): group.kind
            for group in self.contents.objects
            if group.kind in TABLE_KINDS
            for name in group.names
        }
        for column in self.contents.columns:
            kind = kinds.get((column.schema, column.table))
            if kind is None or column.schema not in self.wanted.schemas:
                continue
            owner, acl = column.owner, column.acl
            if self.context.options.reassign and self.context.may_become(owner, self.wanted.name):
                acl = with_new_owner(acl, owner, self.owner)
                owner = self.owner
            _, by_column = wanted_on(kind, column.table, column.schema, self.wanted, self.context.version)
            grants = {
                grantee: applicable(privileges, "column", self.context.version)
                for grantee, privileges in by_column.get(column.column, {}).items()
            }
            self.privileges.add(
                # What the owner has, it has through the table.
                compare(acl, grants, owner, frozenset()),
                kind=kind,
                schema=column.schema,
                names=(ObjectName(column.table),),
                owner=owner,
                column=column.column,
            )

    # --- what the owner makes later

    def default_privileges_anywhere(self) -> None:
        """The global form replaces the built-in default: only there can PUBLIC's EXECUTE and USAGE be taken away.

        Default privileges follow the creating role, hence FOR ROLE owner
        (https://www.postgresql.org/docs/current/sql-alterdefaultprivileges.html).
        """
        version = self.context.version
        for kind in (*_DEFAULT_KINDS, "schema"):
            acl = self.default_acl_of(None, kind, builtin_acl(kind, self.owner, version))
            self.default_acl(compare(acl, {}, self.owner, owner_privileges(kind, version)), None, kind)

    def default_privileges_in_schemas(self) -> None:
        """What is set for a schema is added to the global form."""
        for schema in self.wanted.schemas:
            for kind in _DEFAULT_KINDS:
                grants = {
                    user: applicable(privileges, kind, self.context.version)
                    for user, privileges in _general(kind, self.wanted).items()
                }
                acl = self.default_acl_of(schema, kind, ())
                self.default_acl(compare(acl, grants, self.owner, frozenset()), schema, kind)

    def default_acl_of(self, schema: str | None, kind: str, otherwise: tuple[AclItem, ...]) -> tuple[AclItem, ...]:
        for entry in self.contents.default_acls:
            if (entry.role, entry.schema, entry.kind) == (self.owner, schema, kind):
                return entry.acl
        return otherwise

    def default_acl(self, diff: AclDiff, schema: str | None, kind: str) -> None:
        default_privilege_changes(
            diff, owner=self.owner, schema=schema, kind=kind, context=self.context, findings=self.findings
        )
