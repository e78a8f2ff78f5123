"""Ways round what a spec withholds: with the rights of others, by the system's own objects, by those of extensions."""

from __future__ import annotations

from tests.servers.verify.fault import MAIN, PII, SHARED, Fault

_OWNER = "SET ROLE {tag}_alpha_owner; "
_TOAST = (
    "DO $$ BEGIN EXECUTE (SELECT format('{verb} SELECT ON %s {word} {tag}_alpha_ro', reltoastrelid::regclass) "
    "FROM pg_class WHERE oid = 'public.secrets'::regclass); END $$; "
    "{verb} USAGE ON SCHEMA pg_toast {word} {tag}_alpha_ro"
)
_PUT = (
    "CREATE FUNCTION public.put() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {path} "
    "AS 'BEGIN DELETE FROM public.audit_log; RETURN NEW; END'; "
)
_APP, _RO = "^{tag}_alpha_app in {tag}_alpha: cannot ", "^{tag}_alpha_ro in {tag}_alpha: cannot "

FAULTS_OF_WAYS_ROUND = (
    Fault(
        "a_view_that_also_reads_a_writable_table_writes_what_is_withheld",
        MAIN,
        _OWNER + "CREATE VIEW extra.audit AS SELECT * FROM public.audit_log WHERE EXISTS (SELECT FROM public.users)",
        "DROP VIEW extra.audit",
        (_APP + "DELETE public.audit_log through extra.audit", _APP + "UPDATE public.audit_log through extra.audit"),
        everywhere=True,
    ),
    Fault(
        "a_joined_views_trigger_writes_with_its_owners_rights",
        MAIN,
        _OWNER
        + _PUT.format(path="SET search_path = pg_catalog")
        + "CREATE VIEW extra.both AS SELECT u.id, a.what FROM public.users u JOIN public.audit_log a USING (id); "
        "CREATE TRIGGER put INSTEAD OF UPDATE ON extra.both FOR EACH ROW EXECUTE FUNCTION public.put()",
        "DROP VIEW extra.both; DROP FUNCTION public.put()",
        (_APP + r"UPDATE public.audit_log, public.users through extra.both: its trigger calls public.put\(\)",),
        everywhere=True,
    ),
    Fault(
        "a_rule_on_a_table_deletes_from_another",
        MAIN,
        _OWNER + "CREATE RULE wipe AS ON INSERT TO public.users DO ALSO DELETE FROM public.audit_log",
        "DROP RULE wipe ON public.users",
        (_APP + "DELETE public.audit_log through public.users: a rule does so",),
        everywhere=True,
    ),
    Fault(
        "a_rule_on_a_view_turns_one_command_into_another",
        MAIN,
        _OWNER + "CREATE VIEW extra.audit AS SELECT id FROM public.users; "
        "CREATE RULE wipe AS ON UPDATE TO extra.audit DO INSTEAD DELETE FROM public.audit_log",
        "DROP VIEW extra.audit",
        (_APP + "DELETE public.audit_log through extra.audit: a rule does so",),
        everywhere=True,
    ),
    Fault(
        "a_triggers_definer_function_has_no_search_path",
        MAIN,
        _OWNER
        + _PUT.format(path="")
        + "CREATE TRIGGER put BEFORE INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.put()",
        "DROP TRIGGER put ON public.users; DROP FUNCTION public.put()",
        (r"^the server in {tag}_alpha: cannot act as {tag}_alpha_owner through public.put\(\).*search_path",),
    ),
    Fault(
        "a_withheld_table_is_reached_through_a_parent",
        MAIN,
        _OWNER + "CREATE TABLE public.shell (id integer, value text); ALTER TABLE public.secrets INHERIT public.shell",
        "ALTER TABLE public.secrets NO INHERIT public.shell; DROP TABLE public.shell",
        (_RO + "SELECT public.secrets through its parent public.shell",),
        everywhere=True,
    ),
    Fault(
        "another_role_promises_rights_on_what_it_makes_later",
        MAIN,
        "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT SELECT, INSERT ON TABLES TO {tag}_alpha_ro; "
        "ALTER DEFAULT PRIVILEGES FOR ROLE master GRANT SELECT ON TABLES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public REVOKE ALL ON TABLES FROM {tag}_alpha_ro; "
        "ALTER DEFAULT PRIVILEGES FOR ROLE master REVOKE ALL ON TABLES FROM PUBLIC",
        (
            _RO + "INSERT on every table postgres makes later in public",
            "^PUBLIC in {tag}_alpha: cannot SELECT on every table master makes later",
        ),
        everywhere=True,
    ),
    Fault(
        "the_owner_promises_rights_in_a_schema_no_spec_declares",
        MAIN,
        _OWNER
        + "CREATE SCHEMA attic; ALTER DEFAULT PRIVILEGES IN SCHEMA attic GRANT SELECT ON TABLES TO {tag}_beta_ro",
        "DROP SCHEMA attic CASCADE",
        ("^{tag}_beta_ro in {tag}_alpha: cannot SELECT on every table {tag}_alpha_owner makes later in attic",),
    ),
    Fault(
        "the_owner_promises_large_objects_to_a_reader",
        PII,
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_pii_owner GRANT SELECT, DELETE ON TABLES TO {tag}_pii_app; "
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_pii_owner REVOKE ALL ON TABLES FROM {tag}_pii_app; "
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_pii_owner GRANT SELECT ON LARGE OBJECTS TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tag}_pii_owner REVOKE ALL ON LARGE OBJECTS FROM PUBLIC",
        ("^PUBLIC in {tag}_pii: cannot SELECT on every large object {tag}_pii_owner makes later",),
        version=18,
    ),
    Fault(
        "an_extensions_table_may_be_written",
        MAIN,
        "CREATE TABLE public.spatial_ref_sys (srid integer, srtext text); "
        "GRANT SELECT ON public.spatial_ref_sys TO PUBLIC; ALTER EXTENSION plpgsql ADD TABLE public.spatial_ref_sys; "
        "GRANT INSERT ON public.spatial_ref_sys TO {tag}_alpha_app; "
        "GRANT UPDATE (srtext) ON public.spatial_ref_sys TO {tag}_beta_ro",
        "ALTER EXTENSION plpgsql DROP TABLE public.spatial_ref_sys; DROP TABLE public.spatial_ref_sys",
        (
            _APP + "INSERT on 1 relations of extensions: permitted on public.spatial_ref_sys",
            r"^{tag}_beta_ro in {tag}_alpha: cannot UPDATE on \d+ columns: .*public.spatial_ref_sys\(srtext\)",
        ),
        # Who may insert may insert into the column that has rights of its own.
        (_APP + r"INSERT on 1 columns: permitted on public.spatial_ref_sys\(srtext\)",),
        everywhere=True,
    ),
    Fault(
        "an_extensions_schema_is_open_for_creation",
        MAIN,
        "CREATE SCHEMA tiles; ALTER EXTENSION plpgsql ADD SCHEMA tiles; "
        "GRANT CREATE, USAGE ON SCHEMA tiles TO {tag}_alpha_app",
        "ALTER EXTENSION plpgsql DROP SCHEMA tiles; DROP SCHEMA tiles",
        (_APP + r"CREATE in \d schemas: permitted on tiles",),
    ),
    Fault(
        "a_copy_stands_in_the_information_schema",
        MAIN,
        "CREATE TABLE information_schema.stash AS SELECT * FROM public.secrets; "
        "GRANT SELECT ON information_schema.stash TO {tag}_alpha_ro",
        "DROP TABLE information_schema.stash",
        (_RO + r"SELECT on \d relations: permitted on information_schema.stash",),
    ),
    Fault(
        "the_systems_schemas_are_open",
        MAIN,
        "GRANT CREATE ON SCHEMA pg_catalog TO {tag}_alpha_app; GRANT CREATE ON SCHEMA information_schema TO PUBLIC",
        "REVOKE CREATE ON SCHEMA pg_catalog FROM {tag}_alpha_app; "
        "REVOKE CREATE ON SCHEMA information_schema FROM PUBLIC",
        (
            _APP + "CREATE on system schema information_schema, pg_catalog",
            "^{tag}_alpha_owner in {tag}_alpha: cannot CREATE on system schema information_schema",
        ),
        (r"in {tag}_alpha: cannot CREATE on system schema information_schema",),
        everywhere=True,
    ),
    Fault(
        "a_withheld_tables_toast_can_be_read",
        MAIN,
        _TOAST.replace("{verb}", "GRANT").replace("{word}", "TO"),
        _TOAST.replace("{verb}", "REVOKE").replace("{word}", "FROM"),
        (_RO + "SELECT on system table pg_toast.pg_toast_", _RO + "USAGE on system schema pg_toast"),
        everywhere=True,
    ),
    Fault(
        "the_information_schemas_tables_may_be_written_and_its_inner_views_read",
        MAIN,
        "GRANT INSERT ON information_schema.sql_features TO {tag}_alpha_ro; "
        "GRANT SELECT ON information_schema._pg_user_mappings TO {tag}_alpha_app",
        "REVOKE INSERT ON information_schema.sql_features FROM {tag}_alpha_ro; "
        "REVOKE SELECT ON information_schema._pg_user_mappings FROM {tag}_alpha_app",
        (
            _RO + "INSERT on system table information_schema.sql_features",
            _APP + "SELECT on system table information_schema._pg_user_mappings",
        ),
    ),
    Fault(
        "a_function_of_the_system_runs_as_the_superuser",
        MAIN,
        "ALTER FUNCTION pg_catalog.query_to_xml(text, boolean, boolean, text) SECURITY DEFINER",
        "ALTER FUNCTION pg_catalog.query_to_xml(text, boolean, boolean, text) SECURITY INVOKER",
        (r"^PUBLIC in {tag}_alpha: cannot act as postgres through pg_catalog.query_to_xml\(",),
        (r"in {tag}_alpha: cannot act as postgres through pg_catalog.query_to_xml\(",),
        everywhere=True,
    ),
    Fault(
        "a_function_of_the_system_belongs_to_an_identity",
        MAIN,
        "ALTER FUNCTION pg_catalog.pg_read_file(text) OWNER TO {tag}_alpha_app; "
        "ALTER FUNCTION pg_catalog.pg_ls_dir(text) OWNER TO {tag}_alpha_owner",
        "ALTER FUNCTION pg_catalog.pg_read_file(text) OWNER TO postgres; "
        "ALTER FUNCTION pg_catalog.pg_ls_dir(text) OWNER TO postgres",
        (
            _APP + r"own function (pg_catalog\.)?pg_read_file\(text\)",
            _APP + r"call functions reserved for administrators: pg_read_file\(text\)",
            r"^{tag}_alpha_owner in {tag}_alpha: cannot own function (pg_catalog\.)?pg_ls_dir\(text\)",
            r"^{tag}_alpha_owner in {tag}_alpha: cannot call functions reserved for administrators: pg_ls_dir\(text\)",
        ),
    ),
    Fault(
        "a_function_of_the_server_has_another_name",
        MAIN,
        "CREATE FUNCTION public.slurp(text) RETURNS text LANGUAGE internal AS 'pg_read_file_all'; "
        "ALTER FUNCTION public.slurp(text) OWNER TO {tag}_alpha_owner; "
        "REVOKE ALL ON FUNCTION public.slurp(text) FROM PUBLIC; "
        "GRANT EXECUTE ON FUNCTION public.slurp(text) TO {tag}_alpha_app",
        "DROP FUNCTION public.slurp(text)",
        (
            _APP + r"run public.slurp\(text\) inside the server, past all rights \(language internal\)",
            r"^{tag}_alpha_owner in {tag}_alpha: cannot run public.slurp\(text\) inside the server",
        ),
        everywhere=True,
    ),
    Fault(
        "the_servers_own_language_is_trusted",
        MAIN,
        "UPDATE pg_language SET lanpltrusted = true WHERE lanname = 'internal'",
        "UPDATE pg_language SET lanpltrusted = false WHERE lanname = 'internal'",
        ("^{tag}_alpha_owner in {tag}_alpha: cannot create a function in an untrusted language: it is permitted",),
        everywhere=True,
    ),
    Fault(
        "identities_own_what_no_spec_speaks_of",
        MAIN,
        "CREATE PUBLICATION {tag}_pub; CREATE OPERATOR public.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq); "
        "GRANT CREATE ON DATABASE {tag}_alpha TO {tag}_alpha_app; GRANT CREATE ON SCHEMA public TO {tag}_alpha_ro; "
        "ALTER PUBLICATION {tag}_pub OWNER TO {tag}_alpha_app; "
        "ALTER OPERATOR public.=== (int, int) OWNER TO {tag}_alpha_ro; "
        "REVOKE CREATE ON DATABASE {tag}_alpha FROM {tag}_alpha_app; "
        "REVOKE CREATE ON SCHEMA public FROM {tag}_alpha_ro",
        "DROP PUBLICATION {tag}_pub; DROP OPERATOR public.=== (int, int)",
        (_APP + "own publication {tag}_pub", _RO + r"own operator public\.===\(integer,integer\)"),
    ),
    Fault(
        "an_event_trigger_runs_the_owners_function",
        MAIN,
        _OWNER + "CREATE FUNCTION public.seen() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; RESET ROLE; "
        "CREATE EVENT TRIGGER {tag}_seen ON ddl_command_end EXECUTE FUNCTION public.seen()",
        "DROP EVENT TRIGGER {tag}_seen; DROP FUNCTION public.seen()",
        (r"^{tag}_alpha_owner in {tag}_alpha: cannot have others run its public.seen\(\) \(event trigger",),
    ),
    Fault(
        "a_database_no_spec_declares_makes_everybody_superuser",
        SHARED,
        "CREATE FUNCTION public.{tag}_su(text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER "
        "AS 'BEGIN EXECUTE $1; END'",
        "DROP FUNCTION public.{tag}_su(text)",
        (r"^PUBLIC in postgres: cannot act as postgres through public.{tag}_su\(text\)",),
        everywhere=True,
    ),
    Fault(
        "an_isolated_database_may_be_copied",
        SHARED,
        "ALTER DATABASE {tag}_pii IS_TEMPLATE true",
        "ALTER DATABASE {tag}_pii IS_TEMPLATE false",
        ("^the server in {tag}_pii: nobody but its owner and superusers can copy it: it is a template",),
    ),
    Fault(
        "a_strangers_name_sounds_like_the_clouds",
        SHARED,
        "CREATE ROLE rdsadmin LOGIN; GRANT pg_write_all_data TO rdsadmin",
        "DROP ROLE rdsadmin",
        ("^rdsadmin: cannot have the rights of pg_write_all_data in every database",),
    ),
    Fault(
        "a_view_that_passes_for_an_extensions_shows_the_password_hashes",
        MAIN,
        "CREATE VIEW public.hashes AS SELECT rolname, rolpassword FROM pg_authid; "
        "GRANT SELECT ON public.hashes TO {tag}_alpha_ro; ALTER EXTENSION plpgsql ADD VIEW public.hashes",
        "ALTER EXTENSION plpgsql DROP VIEW public.hashes; DROP VIEW public.hashes",
        (_RO + "read pg_catalog.pg_authid through public.hashes",),
        everywhere=True,
    ),
)
