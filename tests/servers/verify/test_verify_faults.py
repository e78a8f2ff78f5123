"""One fault planted on a server that is otherwise as the specs say: ``verify`` names it, and nothing but it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.verify.conftest import World

MAIN, PII, BETA, SHARED = "{tag}_alpha", "{tag}_pii", "{tag}_beta", "postgres"


@dataclass(frozen=True)
class Fault:
    """What is wrong, how to put it right, and what ``verify`` must say.

    ``says``: a pattern per violation that must be there; every violation must match one of ``says`` and ``also``
    (what follows from the fault by itself).
    """

    name: str
    database: str
    plant: str
    undo: str
    says: tuple[str, ...]
    also: tuple[str, ...] = ()
    version: int = 17


FAULTS = (
    Fault(
        "public_may_make_temporary_tables",
        MAIN,
        "GRANT TEMP ON DATABASE {tag}_alpha TO PUBLIC",
        "REVOKE TEMP ON DATABASE {tag}_alpha FROM PUBLIC",
        (
            r"^PUBLIC in {tag}_alpha: cannot TEMPORARY on database",
            r"^{tag}_alpha_app in {tag}_alpha: cannot create a temporary table: it is permitted",
            r"^{tag}_alpha_ro in {tag}_alpha: cannot create a temporary table",
            r"^{tag}_beta_app in {tag}_alpha: cannot create a temporary table",
            r"^{tag}_beta_ro in {tag}_alpha: cannot create a temporary table",
        ),
    ),
    Fault(
        "an_isolated_database_is_open_to_one_identity",
        SHARED,
        "GRANT CONNECT ON DATABASE {tag}_pii TO {tag}_beta_ro",
        "REVOKE CONNECT ON DATABASE {tag}_pii FROM {tag}_beta_ro",
        (
            r"^{tag}_beta_ro in {tag}_pii: cannot connect to this isolated database: the login succeeded",
            r"^{tag}_beta_ro in {tag}_pii: cannot CONNECT on database",
        ),
    ),
    Fault(
        "another_services_database_is_open_to_everybody",
        SHARED,
        "GRANT CONNECT ON DATABASE {tag}_beta TO PUBLIC",
        "REVOKE CONNECT ON DATABASE {tag}_beta FROM PUBLIC",
        (
            r"^PUBLIC in {tag}_beta: cannot CONNECT on database",
            r"^{tag}_alpha_owner in {tag}_beta: cannot connect: the login succeeded",
            r"^{tag}_pii_app in {tag}_beta: cannot connect",
        ),
        (r"in {tag}_beta: cannot connect: the login succeeded",),
    ),
    Fault(
        "an_identity_cannot_connect_to_its_own_database",
        SHARED,
        "REVOKE CONNECT ON DATABASE {tag}_beta FROM {tag}_beta_app",
        "GRANT CONNECT ON DATABASE {tag}_beta TO {tag}_beta_app",
        (r"^{tag}_beta_app in {tag}_beta: can connect: .*permission denied for database",),
    ),
    Fault(
        "app_may_create_in_a_schema",
        MAIN,
        "GRANT CREATE ON SCHEMA extra TO {tag}_alpha_app",
        "REVOKE CREATE ON SCHEMA extra FROM {tag}_alpha_app",
        (
            r"^{tag}_alpha_app in {tag}_alpha: cannot create a table in extra: it is permitted",
            r"^{tag}_alpha_app in {tag}_alpha: cannot CREATE in 2 schemas: permitted on extra",
        ),
    ),
    Fault(
        "app_may_create_schemas",
        SHARED,
        "GRANT CREATE ON DATABASE {tag}_alpha TO {tag}_alpha_app",
        "REVOKE CREATE ON DATABASE {tag}_alpha FROM {tag}_alpha_app",
        (r"^{tag}_alpha_app in {tag}_alpha: cannot create a schema: it is permitted",),
    ),
    Fault(
        "a_write_that_the_spec_takes_away_is_there",
        MAIN,
        "GRANT DELETE ON public.audit_log TO {tag}_alpha_app",
        "REVOKE DELETE ON public.audit_log FROM {tag}_alpha_app",
        (r"^{tag}_alpha_app in {tag}_alpha: cannot DELETE on 1 relations: permitted on public.audit_log",),
    ),
    Fault(
        "a_privilege_is_missing_on_one_table",
        MAIN,
        "REVOKE SELECT ON public.users FROM {tag}_alpha_ro",
        "GRANT SELECT ON public.users TO {tag}_alpha_ro",
        (r"^{tag}_alpha_ro in {tag}_alpha: can SELECT on \d+ relations: missing on public.users",),
        # The view over the table is read with its owner's rights, and now shows what ro may not read itself.
        (r"^{tag}_alpha_ro in {tag}_alpha: cannot read public.users through public.names",),
    ),
    Fault(
        "usage_of_a_schema_is_missing",
        MAIN,
        "REVOKE USAGE ON SCHEMA extra FROM {tag}_alpha_ro",
        "GRANT USAGE ON SCHEMA extra TO {tag}_alpha_ro",
        (r"^{tag}_alpha_ro in {tag}_alpha: can USAGE of 2 schemas: missing on extra",),
        (r"^{tag}_alpha_ro in {tag}_alpha: can SELECT on \d+ relations: extra.events: 42501",),
    ),
    Fault(
        "truncate_is_there",
        MAIN,
        "GRANT TRUNCATE ON extra.events TO {tag}_alpha_app",
        "REVOKE TRUNCATE ON extra.events FROM {tag}_alpha_app",
        (r"^{tag}_alpha_app in {tag}_alpha: cannot TRUNCATE on \d+ relations: permitted on extra.events",),
    ),
    Fault(
        "a_sequence_of_a_serial_column_cannot_be_used",
        MAIN,
        "REVOKE USAGE ON SEQUENCE public.users_id_seq FROM {tag}_alpha_app",
        "GRANT USAGE ON SEQUENCE public.users_id_seq TO {tag}_alpha_app",
        (r"^{tag}_alpha_app in {tag}_alpha: can USAGE on 1 sequences: missing on public.users_id_seq",),
    ),
    Fault(
        "a_column_too_many_is_shared",
        MAIN,
        "GRANT SELECT (email) ON public.users TO {tag}_beta_app",
        "REVOKE SELECT (email) ON public.users FROM {tag}_beta_app",
        (r"^{tag}_beta_app in {tag}_alpha: cannot SELECT on \d+ columns: permitted on public.users\(email\)",),
    ),
    Fault(
        "a_shared_column_is_missing",
        MAIN,
        "REVOKE SELECT (name) ON public.users FROM {tag}_beta_ro",
        "GRANT SELECT (name) ON public.users TO {tag}_beta_ro",
        (r"^{tag}_beta_ro in {tag}_alpha: can SELECT on 2 columns: missing on public.users\(name\)",),
    ),
    Fault(
        "a_right_comes_with_the_grant_option",
        MAIN,
        "GRANT SELECT ON public.users TO {tag}_alpha_ro WITH GRANT OPTION",
        "REVOKE GRANT OPTION FOR SELECT ON public.users FROM {tag}_alpha_ro",
        (r"^{tag}_alpha_ro in {tag}_alpha: cannot grant SELECT on table public.users to others",),
    ),
    Fault(
        "public_may_read_a_table",
        MAIN,
        "GRANT SELECT ON extra.events_all TO PUBLIC",
        "REVOKE SELECT ON extra.events_all FROM PUBLIC",
        (
            r"^PUBLIC in {tag}_alpha: cannot SELECT on table extra.events_all",
            r"^{tag}_beta_app in {tag}_alpha: cannot SELECT on \d+ relations: permitted on extra.events_all",
            r"^{tag}_beta_ro in {tag}_alpha: cannot SELECT on \d+ relations: permitted on extra.events_all",
        ),
    ),
    Fault(
        "public_may_use_the_schema_public",
        BETA,
        "GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC",
        "REVOKE USAGE, CREATE ON SCHEMA public FROM PUBLIC",
        (
            r"^PUBLIC in {tag}_beta: cannot USAGE on schema public",
            r"^PUBLIC in {tag}_beta: cannot CREATE on schema public",
            r"^{tag}_beta_app in {tag}_beta: cannot create a table in public: it is permitted",
        ),
        (r"^{tag}_beta_(app|ro) in {tag}_beta: cannot (create a table in public|CREATE in 1 schemas)",),
    ),
    Fault(
        "public_may_call_a_function",
        MAIN,
        "GRANT EXECUTE ON FUNCTION public.plain(integer) TO PUBLIC",
        "REVOKE EXECUTE ON FUNCTION public.plain(integer) FROM PUBLIC",
        (
            r"^PUBLIC in {tag}_alpha: cannot EXECUTE on routine public.plain\(integer\)",
            r"^{tag}_alpha_ro in {tag}_alpha: cannot EXECUTE of 1 routines: permitted on public.plain\(integer\)",
        ),
        (r"^{tag}_beta_(app|ro) in {tag}_alpha: cannot EXECUTE of 3 routines: permitted on public.plain",),
    ),
    Fault(
        "a_view_calls_a_function_its_readers_may_not",
        MAIN,
        "REVOKE EXECUTE ON FUNCTION public.all_names() FROM {tag}_alpha_ro",
        "GRANT EXECUTE ON FUNCTION public.all_names() TO {tag}_alpha_ro",
        (
            r"^{tag}_alpha_ro in {tag}_alpha: can EXECUTE of 2 routines: missing on public.all_names\(\)",
            r"^{tag}_alpha_ro in .*: can SELECT on 6 relations: extra.summary: 42501 permission denied for function",
        ),
    ),
    Fault(
        "default_privileges_for_tables_are_missing",
        MAIN,
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_alpha_owner IN SCHEMA extra REVOKE SELECT ON TABLES "
        "FROM {tag}_alpha_ro",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_alpha_owner IN SCHEMA extra GRANT SELECT ON TABLES TO {tag}_alpha_ro",
        (
            r"^{tag}_alpha_ro in {tag}_alpha: can use what .* lacks SELECT on a table in extra; .*on a view in extra$",
        ),
    ),
    Fault(
        "functions_made_later_are_everybodys",
        PII,
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_pii_owner GRANT EXECUTE ON ROUTINES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_pii_owner REVOKE EXECUTE ON ROUTINES FROM PUBLIC",
        (
            r"^PUBLIC in {tag}_pii: .* has EXECUTE on a routine in public; .*EXECUTE on a routine in a new schema",
        ),
        # What PUBLIC has, every user has.
        (r"^{tag}_\w+ in {tag}_pii: cannot do more than declared with what the owner makes later: has EXECUTE",),
    ),
    Fault(
        "a_stranger_gets_what_the_owner_makes_later",
        BETA,
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_beta_owner IN SCHEMA public GRANT SELECT ON TABLES "
        "TO {tag}_pii_app",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_beta_owner IN SCHEMA public REVOKE SELECT ON TABLES "
        "FROM {tag}_pii_app",
        (
            r"^{tag}_pii_app in {tag}_beta: cannot SELECT on default privileges",
            r"^{tag}_pii_app in {tag}_beta: cannot do more than declared with what the owner makes later: has SELECT",
        ),
    ),
    Fault(
        "the_owner_may_make_databases",
        SHARED,
        "ALTER ROLE {tag}_alpha_owner CREATEDB",
        "ALTER ROLE {tag}_alpha_owner NOCREATEDB",
        (
            r"^{tag}_alpha_owner: a plain login role without special attributes: has CREATEDB",
            r"^{tag}_alpha_owner: cannot create a database: it is permitted",
        ),
    ),
    Fault(
        "an_identity_may_bypass_row_security_and_replicate",
        SHARED,
        "ALTER ROLE {tag}_beta_ro BYPASSRLS REPLICATION",
        "ALTER ROLE {tag}_beta_ro NOBYPASSRLS NOREPLICATION",
        (r"^{tag}_beta_ro: a plain login role without special attributes: has REPLICATION, BYPASSRLS",),
    ),
    Fault(
        "a_role_has_a_setting",
        SHARED,
        "ALTER ROLE {tag}_beta_app IN DATABASE {tag}_beta SET search_path = public, pg_catalog",
        "ALTER ROLE {tag}_beta_app IN DATABASE {tag}_beta RESET search_path",
        (r"^{tag}_beta_app: no settings of its own: search_path is set in {tag}_beta",),
    ),
    Fault(
        "a_database_sets_the_role_of_its_sessions",
        SHARED,
        "ALTER DATABASE {tag}_beta SET session_preload_libraries = ''",
        "ALTER DATABASE {tag}_beta RESET session_preload_libraries",
        (r"^the server: nobody's session_preload_libraries is set",),
    ),
    Fault(
        "membership_in_a_predefined_role",
        SHARED,
        "GRANT pg_read_all_data TO {tag}_beta_ro",
        "REVOKE pg_read_all_data FROM {tag}_beta_ro",
        (
            r"^{tag}_beta_ro: cannot be a member of pg_read_all_data: ",
            r"^{tag}_beta_ro: cannot SET ROLE to any of \d+ other roles: it can become pg_read_all_data",
            r"^{tag}_beta_ro in {tag}_alpha: cannot SELECT on \d+ relations: permitted on",
        ),
        (
            r"^{tag}_beta_ro in ({tag}_alpha|{tag}_beta): cannot (SELECT|USAGE)",
            r"^{tag}_beta_ro in {tag}_\w+: cannot do more than declared",
        ),
    ),
    Fault(
        "membership_in_the_owner",
        SHARED,
        "GRANT {tag}_alpha_owner TO {tag}_alpha_app",
        "REVOKE {tag}_alpha_owner FROM {tag}_alpha_app",
        (
            r"^{tag}_alpha_app: cannot be a member of {tag}_alpha_owner: ",
            r"^{tag}_alpha_app: cannot SET ROLE to any of \d+ other roles: it can become {tag}_alpha_owner",
        ),
        (r"^{tag}_alpha_app in {tag}_alpha: cannot ",),
    ),
    Fault(
        "membership_that_can_only_be_set",
        SHARED,
        "GRANT {tag}_alpha_owner TO {tag}_beta_app WITH INHERIT FALSE, SET TRUE",
        "REVOKE {tag}_alpha_owner FROM {tag}_beta_app",
        (
            r"^{tag}_beta_app: cannot be a member of {tag}_alpha_owner: .*\(SET only\)",
            r"^{tag}_beta_app: cannot SET ROLE to any of \d+ other roles: it can become {tag}_alpha_owner",
        ),
    ),
    Fault(
        "membership_by_way_of_another_role",
        SHARED,
        "CREATE ROLE {tag}_helpers; GRANT {tag}_pii_app TO {tag}_helpers; GRANT {tag}_helpers TO {tag}_beta_owner",
        "DROP ROLE {tag}_helpers",
        (
            r"^{tag}_beta_owner: cannot be a member of {tag}_helpers: ",
            r"^{tag}_beta_owner: cannot be a member of {tag}_pii_app: .* → {tag}_helpers .* → {tag}_pii_app",
            r"^{tag}_helpers: cannot become {tag}_pii_app: ",
            r"^{tag}_beta_owner: cannot SET ROLE",
        ),
        (r"^{tag}_beta_owner in {tag}_pii: cannot connect", r"^{tag}_beta_owner in {tag}_pii: cannot do more"),
        version=15,
    ),
    Fault(
        "an_unknown_role_has_rights",
        MAIN,
        "CREATE ROLE {tag}_stray LOGIN; GRANT CONNECT ON DATABASE {tag}_alpha TO {tag}_stray; "
        "GRANT UPDATE ON public.users TO {tag}_stray",
        "DROP OWNED BY {tag}_stray; DROP ROLE {tag}_stray",
        (
            r"^{tag}_stray in {tag}_alpha: cannot CONNECT on database",
            r"^{tag}_stray in {tag}_alpha: cannot UPDATE on table public.users",
        ),
    ),
    Fault(
        "an_unknown_role_reads_everything",
        SHARED,
        "CREATE ROLE {tag}_reporter LOGIN; GRANT pg_read_all_data TO {tag}_reporter",
        "DROP ROLE {tag}_reporter",
        (r"^{tag}_reporter: cannot have the rights of pg_read_all_data in every database: {tag}_reporter → pg_read",),
    ),
    Fault(
        "a_retired_role_still_has_rights",
        MAIN,
        "CREATE ROLE {tag}_old; GRANT SELECT ON public.users TO {tag}_old",
        "DROP OWNED BY {tag}_old; DROP ROLE {tag}_old",
        (r"^{tag}_old in {tag}_alpha: cannot SELECT on table public.users",),
    ),
    Fault(
        "a_view_shows_a_withheld_table",
        MAIN,
        "CREATE VIEW public.leak AS SELECT value FROM public.secrets; "
        "ALTER VIEW public.leak OWNER TO {tag}_alpha_owner; GRANT SELECT ON public.leak TO {tag}_alpha_ro; "
        "GRANT SELECT, INSERT, UPDATE, DELETE ON public.leak TO {tag}_alpha_app",
        "DROP VIEW public.leak",
        (r"^{tag}_alpha_ro in {tag}_alpha: cannot read public.secrets through public.leak",),
    ),
    Fault(
        "a_materialized_view_shows_a_withheld_table",
        MAIN,
        "CREATE MATERIALIZED VIEW public.copy AS SELECT value FROM public.secrets; "
        "ALTER MATERIALIZED VIEW public.copy OWNER TO {tag}_alpha_owner; "
        "GRANT SELECT ON public.copy TO {tag}_alpha_ro; "
        "GRANT SELECT, INSERT, UPDATE, DELETE ON public.copy TO {tag}_alpha_app",
        "DROP MATERIALIZED VIEW public.copy",
        (r"^{tag}_alpha_ro in {tag}_alpha: cannot read public.secrets through public.copy",),
    ),
    Fault(
        "a_definer_function_nobody_named",
        MAIN,
        "SET ROLE {tag}_alpha_owner; CREATE FUNCTION public.power() RETURNS integer LANGUAGE sql SECURITY DEFINER "
        "SET search_path = pg_catalog AS 'SELECT 1'",
        "DROP FUNCTION public.power()",
        (r"^{tag}_alpha_app in {tag}_alpha: cannot act as {tag}_alpha_owner through public.power\(\)",),
    ),
    Fault(
        "a_named_definer_function_without_a_search_path",
        MAIN,
        "ALTER FUNCTION public.refresh_all() SECURITY DEFINER",
        "ALTER FUNCTION public.refresh_all() SECURITY INVOKER",
        (
            r"^the server in {tag}_alpha: cannot act as {tag}_alpha_owner through public.refresh_all\(\).*search_path",
            r"^{tag}_alpha_app in {tag}_alpha: cannot act as {tag}_alpha_owner through public.refresh_all\(\)",
        ),
    ),
    Fault(
        "a_table_that_is_not_the_owners",
        MAIN,
        "CREATE TABLE public.stray (id integer); "
        "GRANT SELECT, INSERT, UPDATE, DELETE ON public.stray TO {tag}_alpha_app, {tag}_alpha_owner; "
        "GRANT SELECT ON public.stray TO {tag}_alpha_ro",
        "DROP TABLE public.stray",
        (r"^postgres in {tag}_alpha: cannot own table public.stray: {tag}_alpha_owner is to own everything",),
    ),
    Fault(
        "a_schema_nobody_declared",
        BETA,
        "CREATE SCHEMA attic AUTHORIZATION {tag}_beta_ro",
        "DROP SCHEMA attic",
        (
            r"^{tag}_beta_ro in {tag}_beta: cannot own schema attic: a schema no spec declares",
            r"^{tag}_beta_ro in {tag}_beta: cannot USAGE of 1 schemas: permitted on attic",
        ),
        (r"^{tag}_beta_ro in {tag}_beta: cannot CREATE in 2 schemas: permitted on attic",),
    ),
    Fault(
        "the_database_is_not_the_owners",
        SHARED,
        "ALTER DATABASE {tag}_pii OWNER TO {tag}_pii_app",
        # A change of owner hands the old one's rights to the new one: pii_app's own CONNECT was merged away.
        "ALTER DATABASE {tag}_pii OWNER TO {tag}_pii_owner; GRANT CONNECT ON DATABASE {tag}_pii TO {tag}_pii_app",
        (
            r"^{tag}_pii_owner in {tag}_pii: owns the database: {tag}_pii_app does",
            r"^{tag}_pii_owner in {tag}_pii: can connect: .*permission denied",
            r"^{tag}_pii_app in {tag}_pii: cannot create a schema",
            r"^{tag}_pii_app in {tag}_pii: cannot create a temporary table",
        ),
        (r"^{tag}_pii_app: cannot SET ROLE", r"^{tag}_pii_app in {tag}_pii: cannot "),
    ),
    Fault(
        "a_server_parameter_may_be_set",
        SHARED,
        "GRANT SET ON PARAMETER session_replication_role TO {tag}_beta_app",
        "REVOKE SET ON PARAMETER session_replication_role FROM {tag}_beta_app",
        (
            r"^{tag}_beta_app: cannot SET on the server parameter session_replication_role",
            r"^{tag}_beta_app: cannot turn triggers off: it is permitted",
        ),
    ),
    Fault(
        "a_foreign_server_can_be_used",
        MAIN,
        "CREATE FOREIGN DATA WRAPPER {tag}_fdw; CREATE SERVER {tag}_far FOREIGN DATA WRAPPER {tag}_fdw; "
        "GRANT USAGE ON FOREIGN SERVER {tag}_far TO PUBLIC; CREATE USER MAPPING FOR {tag}_alpha_app SERVER {tag}_far",
        "DROP FOREIGN DATA WRAPPER {tag}_fdw CASCADE",
        (
            r"^{tag}_alpha_app in {tag}_alpha: cannot log in elsewhere through the foreign server {tag}_far",
            r"^PUBLIC in {tag}_alpha: cannot USAGE on foreign server {tag}_far",
        ),
    ),
    Fault(
        "a_large_object_is_everybodys",
        BETA,
        "SELECT lo_create(424242); GRANT SELECT ON LARGE OBJECT 424242 TO {tag}_beta_ro, {tag}_pii_app",
        "SELECT lo_unlink(424242)",
        (r"^{tag}_pii_app in {tag}_beta: cannot SELECT on large object 424242",),
    ),
    Fault(
        "a_function_of_the_system_is_lent",
        BETA,
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO {tag}_beta_app",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() FROM {tag}_beta_app",
        (r"^{tag}_beta_app in {tag}_beta: cannot call functions reserved for administrators: pg_reload_conf\(\)",),
    ),
    Fault(
        "programs_and_files_of_the_server",
        SHARED,
        "GRANT pg_execute_server_program, pg_read_server_files, pg_write_server_files TO {tag}_beta_app",
        "REVOKE pg_execute_server_program, pg_read_server_files, pg_write_server_files FROM {tag}_beta_app",
        (
            r"^{tag}_beta_app: cannot run programs on the server: it is permitted",
            r"^{tag}_beta_app: cannot read files of the server: it is permitted",
            r"^{tag}_beta_app: cannot write files on the server: it is permitted",
        ),
        (r"^{tag}_beta_app: cannot (be a member of pg_|SET ROLE)",),
    ),
    Fault(
        "an_identity_may_make_roles",
        SHARED,
        "ALTER ROLE {tag}_beta_app CREATEROLE",
        "ALTER ROLE {tag}_beta_app NOCREATEROLE",
        (
            r"^{tag}_beta_app: a plain login role without special attributes: has CREATEROLE",
            r"^{tag}_beta_app: cannot create a role: it is permitted",
        ),
    ),
    Fault(
        "an_identity_owns_a_database_no_spec_declares",
        SHARED,
        "CREATE DATABASE {tag}_attic OWNER {tag}_beta_app",
        "DROP DATABASE {tag}_attic",
        (
            r"^{tag}_beta_app: cannot CONNECT on the undeclared database {tag}_attic: it belongs to {tag}_beta_app",
            r"^{tag}_beta_app: cannot CREATE on the undeclared database {tag}_attic",
        ),
        (r"^{tag}_beta_app: cannot TEMPORARY on the undeclared database {tag}_attic",),
    ),
    Fault(
        "a_declared_database_is_missing",
        SHARED,
        "ALTER DATABASE {tag}_pii RENAME TO {tag}_elsewhere",
        "ALTER DATABASE {tag}_elsewhere RENAME TO {tag}_pii",
        (
            r"^{tag}_pii_owner in {tag}_pii: owns the database: there is no such database",
            r"^{tag}_pii_owner: cannot CONNECT on the undeclared database {tag}_elsewhere",
            r"^{tag}_pii_app: cannot CONNECT on the undeclared database {tag}_elsewhere",
        ),
        (r"^{tag}_pii_owner: cannot (CREATE|TEMPORARY) on the undeclared database",),
    ),
    Fault(
        "a_parameter_lets_everybody_at_large_objects",
        SHARED,
        "ALTER DATABASE {tag}_alpha SET lo_compat_privileges = on",
        "ALTER DATABASE {tag}_alpha RESET lo_compat_privileges",
        (
            r"^the server: the server parameter lo_compat_privileges is off: it is on",
            r"^the server: nobody's lo_compat_privileges is set: lo_compat_privileges is set in {tag}_alpha",
        ),
    ),
    Fault(
        "a_role_cannot_log_in_any_more",
        SHARED,
        "ALTER ROLE {tag}_beta_ro NOLOGIN NOINHERIT VALID UNTIL '2001-01-01'",
        "ALTER ROLE {tag}_beta_ro LOGIN INHERIT VALID UNTIL 'infinity'",
        (
            r"^{tag}_beta_ro: a plain login role .*: has NOLOGIN, NOINHERIT, VALID UNTIL a time that has passed",
            r"^{tag}_beta_ro in {tag}_beta: can connect: ",
            r"^{tag}_beta_ro in {tag}_alpha: can connect: ",
        ),
    ),
    Fault(
        "a_definer_function_of_a_superuser_that_is_everybodys",
        MAIN,
        "ALTER FUNCTION public.refresh_all() SECURITY DEFINER SET search_path = pg_catalog; "
        "ALTER FUNCTION public.refresh_all() OWNER TO postgres; "
        "GRANT EXECUTE ON FUNCTION public.refresh_all() TO PUBLIC",
        "ALTER FUNCTION public.refresh_all() SECURITY INVOKER RESET ALL; "
        "ALTER FUNCTION public.refresh_all() OWNER TO {tag}_alpha_owner; "
        "REVOKE EXECUTE ON FUNCTION public.refresh_all() FROM PUBLIC",
        (
            r"^PUBLIC in {tag}_alpha: cannot act as postgres through public.refresh_all",
            r"^PUBLIC in {tag}_alpha: cannot EXECUTE on routine public.refresh_all",
            r"^the server in {tag}_alpha: cannot act as postgres through public.refresh_all.*not as {tag}_alpha_owner",
            r"^postgres in {tag}_alpha: cannot own routine public.refresh_all",
            r"^{tag}_alpha_app in {tag}_alpha: cannot act as postgres",
        ),
        (
            r"^{tag}_beta_(app|ro) in {tag}_alpha: cannot act as postgres",
            r"^{tag}_beta_(app|ro) in {tag}_alpha: cannot EXECUTE of 3 routines: permitted on public.refresh_all",
        ),
    ),
    Fault(
        "a_role_is_missing",
        SHARED,
        "ALTER ROLE {tag}_beta_ro RENAME TO {tag}_gone",
        "ALTER ROLE {tag}_gone RENAME TO {tag}_beta_ro",
        (
            r"^{tag}_beta_ro: can log in: there is no such role",
            r"^{tag}_beta_ro in {tag}_beta: can connect: ",
            r"^{tag}_beta_ro in {tag}_alpha: can connect: ",
        ),
        (r"^{tag}_gone in {tag}_(alpha|beta)",),
    ),
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_named_with_what_follows_from_it_and_nothing_else(
    fault: Fault, worlds: Callable[[int], World]
) -> None:
    """Each expected violation is reported with a way to mend it, and no violation without connection to the fault."""
    world = worlds(fault.version)
    world.run(fault.database, fault.plant)
    try:
        report = world.verify()
    finally:
        world.run(fault.database, fault.undo)
    said = [str(check) for check in report.violations]
    missing = [pattern for pattern in fault.says if not any(re.search(world.name(pattern), text) for text in said)]
    patterns = [world.name(pattern) for pattern in (*fault.says, *fault.also)]
    beside = [text for text in said if not any(re.search(pattern, text) for pattern in patterns)]
    assert not missing, "\n".join(("not said:", *missing, "said:", *said))
    assert not beside, "\n".join(("beside the point:", *beside))
    assert all(check.mend for check in report.violations)
    assert report.exit_code == 4
