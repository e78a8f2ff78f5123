"""What the specs want × what the server has → changes, in the order they are made, and notices. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from soa_db.access.plan import Change, Notice, PlanOptions
from soa_db.access.postgres.actions import (
    AdoptRole,
    AlterRole,
    CommentRole,
    CreateDatabase,
    CreateRole,
    GrantMembership,
    ResetSetting,
    RevokeMembership,
    SetDatabaseOwner,
    SetPassword,
    sentence,
    shown,
)
from soa_db.access.postgres.context import Context, Findings
from soa_db.access.postgres.desired import IAM_ROLE, Desired, DesiredDatabase, DesiredRole, service_of
from soa_db.access.postgres.diff_contents import FRESH, diff_contents
from soa_db.access.postgres.diff_retired import retired_changes
from soa_db.access.postgres.privilege_changes import PrivilegeChanges
from soa_db.access.postgres.privileges import compare, fresh_database_acl, owner_privileges, with_new_owner
from soa_db.access.postgres.remedies import human_grant, quoted
from soa_db.access.postgres.state import DatabaseState, Membership, ObjectName, RoleState, ServerState

__all__ = ["Comparison", "compare_server", "diff_database"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing found.

    Attributes:
        changes: in the order they are made: roles, databases, contents, passwords, retirements.
        notices: what is only reported.
    """

    changes: tuple[Change, ...]
    notices: tuple[Notice, ...]


def compare_server(desired: Desired, state: ServerState, options: PlanOptions) -> Comparison:
    """Compare everything."""
    context = Context(desired, state, options)
    parts = [_roles(context)]
    contents = []
    for wanted in desired.databases.values():
        database = state.databases.get(wanted.name)
        parts.append(diff_database(wanted, database, context))
        if database is None:
            contents.append(diff_contents(wanted, FRESH, context, used=False))
        elif wanted.name in state.contents:
            used = is_used(database, context)
            contents.append(diff_contents(wanted, state.contents[wanted.name], context, used=used))
        elif database.connectable and not database.admin_may_connect:
            parts[-1].note(
                f"what is in database {shown(wanted.name)} is not seen: {shown(state.admin.name)} may not connect",
                "provision lets it in, plans for what it finds, and goes on; a saved plan ends there",
            )
    parts += contents
    parts += [_passwords(context), retired_changes(context)]
    notices = [Notice("pending", text) for text in desired.pending]
    for part in parts:
        notices += part.notices
    return Comparison(tuple(change for part in parts for change in part.changes), tuple(notices))


def is_used(database: DatabaseState, context: Context) -> bool:
    """Whether somebody who is not declared works in this database and would miss what PUBLIC loses."""
    return any(role not in context.desired.roles and not context.is_exempt(role) for role in database.used_by)


# --- roles


def _roles(context: Context) -> Findings:
    findings = Findings("roles")
    admin = context.state.admin
    for role in context.desired.roles.values():
        _role(role, context, findings)
    _memberships(context, findings)
    for setting in context.state.settings:
        if setting.role not in context.desired.roles:
            continue
        action = ResetSetting(setting.role, setting.database, setting.name)
        if setting.resettable:
            findings.change(action)
        else:
            findings.unreachable(f"not possible as {shown(admin.name)}: {sentence(action)}", "a superuser must do it")
    for state in context.state.roles.values():
        service = _service_of(state)
        if (
            service in context.desired.services
            and state.name not in context.desired.roles
            and all(retired.name != state.name for retired in context.desired.retired)
        ):
            findings.note(
                f"role {shown(state.name)} was made for service {service}, whose spec no longer declares it",
                f"to remove it, write `retire: [{{role: {state.name}}}]` and use --prune",
            )
    return findings


def _role(role: DesiredRole, context: Context, findings: Findings) -> None:
    admin = context.state.admin
    state = context.state.roles.get(role.name)
    if role.name == admin.name:
        findings.error(f"the specs declare {shown(role.name)}, which is the administrator", "choose another user")
        return
    if state is None:
        if not (admin.createrole or admin.superuser):
            findings.error(f"{shown(admin.name)} may not create roles", "provision as a role with CREATEROLE")
        findings.change(CreateRole(role.name, role.comment))
        return
    other = _service_of(state)
    if other not in {None, role.service}:
        findings.error(
            f"role {shown(role.name)} belongs to service {shown(other or '')}, but {role.service} declares it too",
            "choose another user in one of the specs",
        )
        return
    attributes, beyond = _attributes(state, context)
    if not context.may_manage(role.name):
        reason = "it is a superuser" if state.superuser else "somebody else made it"
        findings.error(
            f"role {shown(role.name)} exists, and {shown(admin.name)} may not manage it: {reason}",
            f"a superuser must run: {human_grant(role.name, state, admin.name, context.version)}",
        )
        return
    if other is None:
        findings.change(AdoptRole(role.name, role.comment), destructive=True)
    if attributes:
        # What is taken away may be missed; what is given is not.
        findings.change(
            AlterRole(role.name, attributes), destructive=any(keyword.startswith("NO") for keyword in attributes)
        )
    if beyond:
        findings.unreachable(
            f"not possible as {shown(admin.name)}: {sentence(AlterRole(role.name, beyond))}",
            f"a superuser must run: ALTER ROLE {quoted(role.name)} {' '.join(beyond)}",
        )
    if other is not None and state.comment != role.comment:
        findings.change(CommentRole(role.name, role.comment))


def _service_of(role: RoleState | None) -> str | None:
    return None if role is None else service_of(role.comment)


def is_adopted(role: str, context: Context) -> bool:
    """Whether a declared role was there before any run of ours."""
    state = context.state.roles.get(role)
    return state is not None and _service_of(state) is None


def _attributes(state: RoleState, context: Context) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Attributes that differ: those the administrator can set, and those only a superuser can.

    Who may set what: https://www.postgresql.org/docs/current/sql-alterrole.html; before 16 SUPERUSER, REPLICATION and
    BYPASSRLS were the superuser's alone, since then whoever has them (but SUPERUSER) may take them away.
    """
    admin = context.state.admin
    modern = context.version >= 16
    # (differs, keyword, may be set by this administrator)
    table = (
        (not state.login, "LOGIN", True),
        (not state.inherit, "INHERIT", True),
        (state.superuser, "NOSUPERUSER", False),
        (state.createdb, "NOCREATEDB", admin.createdb or not modern),
        (state.createrole, "NOCREATEROLE", True),
        (state.replication, "NOREPLICATION", modern and admin.replication),
        (state.bypassrls, "NOBYPASSRLS", modern and admin.bypassrls),
        (state.connection_limit != -1, "CONNECTION LIMIT -1", True),
        (state.expires, "VALID UNTIL 'infinity'", True),
    )
    may = tuple(keyword for differs, keyword, allowed in table if differs and (allowed or admin.superuser))
    beyond = tuple(keyword for differs, keyword, _ in table if differs and keyword not in may)
    return may, beyond


def _memberships(context: Context, findings: Findings) -> None:
    desired, state = context.desired, context.state
    # With ADMIN OPTION it is a right to shut others' password logins out: ended and granted anew without.
    members = {
        membership.member for membership in state.memberships if membership.role == IAM_ROLE and not membership.admin
    }
    if desired.iam and desired.roles and IAM_ROLE not in state.roles:
        findings.error(
            f"there is no role {IAM_ROLE} on this server, so nobody can log in with an IAM token",
            "turn IAM database authentication on for the RDS instance",
        )
    elif desired.iam:
        missing = [name for name in desired.roles if name not in members and name != state.admin.name]
        if missing and not context.may_manage(IAM_ROLE):
            findings.error(
                f"{shown(state.admin.name)} may not grant {IAM_ROLE}",
                f"its owner must run: GRANT {IAM_ROLE} TO {quoted(state.admin.name)} WITH ADMIN OPTION",
            )
        for name in missing:
            # RDS refuses the password of a member: a role that was there may have been logging in with one, be it ours
            # (`auth="password"`). Whether it has one stands in pg_authid, which nobody may read there.
            findings.change(GrantMembership(IAM_ROLE, name), destructive=name in state.roles)
    for membership in sorted(state.memberships):
        if membership.member in desired.roles:
            if not (desired.iam and membership.role == IAM_ROLE and not membership.admin):
                _end(membership, context, findings)
        elif membership.role in desired.roles and not context.is_exempt(membership.member):
            if context.options.prune:
                _end(membership, context, findings)
            else:
                findings.note(
                    f"role {shown(membership.member)}, which no spec declares, is a member of {shown(membership.role)}",
                    "take the membership away with --prune",
                )


def _end(membership: Membership, context: Context, findings: Findings) -> None:
    admin = context.state.admin
    action = RevokeMembership(membership.role, membership.member, membership.grantor)
    # Since 16 a membership is its grantor's to end (https://www.postgresql.org/docs/16/sql-revoke.html).
    as_grantor = (
        context.version < 16
        or admin.superuser
        or membership.grantor == admin.name
        or membership.grantor in admin.acts_as
    )
    if as_grantor and context.may_manage(membership.role):
        findings.change(action, destructive=True)
    else:
        findings.unreachable(
            f"not possible as {shown(admin.name)}: {sentence(action)}",
            f"a superuser must run: REVOKE {quoted(membership.role)} FROM {quoted(membership.member)}"
            + (f" GRANTED BY {quoted(membership.grantor)}" if context.version >= 16 else ""),
        )


# --- databases


def diff_database(wanted: DesiredDatabase, state: DatabaseState | None, context: Context) -> Findings:
    """Compare what the server's shared catalogs hold of one database: that it exists, its owner, its ACL."""
    admin = context.state.admin
    findings = Findings(f"database {wanted.name}", wanted.name)
    owner = wanted.owner
    if state is None:
        if not (admin.createdb or admin.superuser):
            findings.error(f"{shown(admin.name)} may not create databases", "provision as a role with CREATEDB")
        findings.change(CreateDatabase(wanted.name))
        state = DatabaseState(wanted.name, admin.name, fresh_database_acl(admin.name, context.version))
    elif not state.connectable:
        findings.error(
            f"database {shown(wanted.name)} accepts no connections",
            "ALTER DATABASE … ALLOW_CONNECTIONS true; or drop it, if an interrupted DROP DATABASE left it invalid",
        )
        return findings
    other = _service_of(context.state.roles.get(state.owner))
    if other not in {None, wanted.service}:
        findings.error(
            f"database {shown(wanted.name)} belongs to service {shown(other or '')}, but {wanted.service} declares it",
            "choose another database; to hand it over, let that service's owner give it to the administrator first",
        )
        return findings
    if not context.may_become(state.owner):
        findings.error(
            f"database {shown(wanted.name)} belongs to {shown(state.owner)}, as whom {shown(admin.name)} cannot act",
            f"a superuser must run: ALTER DATABASE {quoted(wanted.name)} OWNER TO {quoted(admin.name)}",
        )
        return findings
    if state.template:
        findings.unreachable(
            f"database {shown(wanted.name)} is a template: whoever may create databases can copy what is in it",
            f"its owner or a superuser must run: ALTER DATABASE {quoted(wanted.name)} IS_TEMPLATE false",
        )
    acl = state.acl
    if state.owner != owner:
        # Taking it from the administrator takes nothing from anybody.
        mine = state.owner in {admin.name, *context.desired.roles}
        findings.change(SetDatabaseOwner(wanted.name, owner, state.owner), destructive=not mine)
        acl = with_new_owner(acl, state.owner, owner)
    connect = frozenset({"CONNECT"})
    grants = dict.fromkeys(wanted.connect - {owner}, connect)
    if not admin.superuser:
        # Without it the administrator could not come back: its ownership has just gone.
        grants[admin.name] = connect
    privileges = PrivilegeChanges(context, wanted.name, is_used(state, context))
    privileges.add(
        compare(acl, grants, owner, owner_privileges("database", context.version)),
        kind="database",
        schema="",
        names=(ObjectName(wanted.name),),
        owner=owner,
    )
    privileges.tell(findings)
    return findings


# --- passwords


def _passwords(context: Context) -> Findings:
    findings = Findings("passwords")
    for role in context.desired.roles.values():
        if not role.secrets:
            continue
        names = tuple(name for name, _ in role.secrets)
        state = context.state.passwords.get(role.name)
        if state is not None and state.fault:
            # Whoever knows the password of a role that is taken over is cut off.
            findings.change(SetPassword(role.name, names, state.fault), destructive=is_adopted(role.name, context))
    return findings
