"""Faults in the rights on databases, schemas, objects and on what the owner makes later."""

from __future__ import annotations

from tests.servers.verify.fault import BETA, MAIN, PII, SHARED, Fault

FAULTS_OF_RIGHTS = (
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
        (r"^{tag}_alpha_ro in {tag}_alpha: can use what .* lacks SELECT on a table in extra; .*on a view in extra$",),
    ),
    Fault(
        "functions_made_later_are_everybodys",
        PII,
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_pii_owner GRANT EXECUTE ON ROUTINES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_pii_owner REVOKE EXECUTE ON ROUTINES FROM PUBLIC",
        (r"^PUBLIC in {tag}_pii: .* has EXECUTE on a routine in public; .*EXECUTE on a routine in a new schema",),
        # What PUBLIC has, every user has.
        (r"^{tag}_\w+ in {tag}_pii: cannot do more than declared with what the owner makes later: has EXECUTE",),
    ),
    Fault(
        "a_stranger_gets_what_the_owner_makes_later",
        BETA,
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_beta_owner IN SCHEMA public GRANT SELECT ON TABLES TO {tag}_pii_app",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_beta_owner IN SCHEMA public REVOKE SELECT ON TABLES "
        "FROM {tag}_pii_app",
        (
            r"^{tag}_pii_app in {tag}_beta: cannot SELECT on default privileges",
            r"^{tag}_pii_app in {tag}_beta: cannot do more than declared with what the owner makes later: has SELECT",
        ),
    ),
)
