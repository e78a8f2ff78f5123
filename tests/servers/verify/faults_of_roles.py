"""Faults in roles, owners, views, definer functions and the server itself."""

from __future__ import annotations

from tests.servers.verify.fault import BETA, MAIN, SHARED, Fault

FAULTS_OF_ROLES = (
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
            r"^{tag}_alpha_owner in {tag}_alpha: cannot act as postgres",
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
)
