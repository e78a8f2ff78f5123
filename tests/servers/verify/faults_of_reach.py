"""Rights on what no spec speaks of, and ways round what a spec withholds."""

from __future__ import annotations

from tests.servers.verify.fault import MAIN, Fault

FAULTS_OF_REACH = (
    Fault(
        "password_hashes_can_be_read",
        MAIN,
        "GRANT SELECT ON pg_catalog.pg_authid TO {tag}_alpha_ro",
        "REVOKE SELECT ON pg_catalog.pg_authid FROM {tag}_alpha_ro",
        (r"^{tag}_alpha_ro in {tag}_alpha: cannot SELECT on system table pg_catalog.pg_authid",),
    ),
    Fault(
        "one_column_of_the_password_hashes_is_public",
        MAIN,
        "GRANT SELECT (rolpassword) ON pg_catalog.pg_authid TO PUBLIC",
        "REVOKE SELECT (rolpassword) ON pg_catalog.pg_authid FROM PUBLIC",
        (r"^{tag}_alpha_owner in {tag}_alpha: cannot SELECT on system table pg_catalog.pg_authid",),
        (r"in {tag}_alpha: cannot SELECT on system table",),
        15,
    ),
    Fault(
        "everybody_may_read_files_of_the_server",
        MAIN,
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO PUBLIC",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) FROM PUBLIC",
        (r"^{tag}_alpha_app in {tag}_alpha: cannot call functions reserved for administrators: pg_read_file",),
        (r"in {tag}_alpha: cannot call functions reserved for administrators",),
    ),
    Fault(
        "an_identity_may_use_a_foreign_server",
        MAIN,
        "CREATE FOREIGN DATA WRAPPER away; CREATE SERVER far FOREIGN DATA WRAPPER away; "
        "GRANT USAGE ON FOREIGN DATA WRAPPER away TO {tag}_alpha_app; "
        "GRANT USAGE ON FOREIGN SERVER far TO {tag}_alpha_ro",
        "DROP FOREIGN DATA WRAPPER away CASCADE",
        (
            r"^{tag}_alpha_app in {tag}_alpha: cannot USAGE on foreign data wrapper away",
            r"^{tag}_alpha_ro in {tag}_alpha: cannot USAGE on foreign server far",
        ),
    ),
    Fault(
        "an_identity_may_write_a_large_object_of_anothers",
        MAIN,
        "SELECT lo_create(4711); GRANT SELECT, UPDATE ON LARGE OBJECT 4711 TO {tag}_alpha_ro",
        "SELECT lo_unlink(4711)",
        (r"^{tag}_alpha_ro in {tag}_alpha: cannot UPDATE on large object 4711",),
    ),
    Fault(
        "an_identity_columns_sequence_can_be_moved",
        MAIN,
        "GRANT UPDATE ON SEQUENCE public.audit_log_id_seq TO {tag}_alpha_ro",
        "REVOKE UPDATE ON SEQUENCE public.audit_log_id_seq FROM {tag}_alpha_ro",
        (r"^{tag}_alpha_ro in {tag}_alpha: cannot UPDATE on 2 sequences: permitted on public.audit_log_id_seq",),
    ),
    Fault(
        "a_view_writes_what_is_withheld",
        MAIN,
        "SET ROLE {tag}_alpha_owner; CREATE VIEW extra.audit AS SELECT * FROM public.audit_log",
        "DROP VIEW extra.audit",
        (
            r"^{tag}_alpha_app in {tag}_alpha: cannot DELETE public.audit_log through extra.audit",
            r"^{tag}_alpha_app in {tag}_alpha: cannot UPDATE public.audit_log through extra.audit",
        ),
    ),
    Fault(
        "a_predefined_role_has_rights_here",
        MAIN,
        "GRANT SELECT ON public.secrets TO pg_monitor",
        "REVOKE SELECT ON public.secrets FROM pg_monitor",
        (r"^pg_monitor in {tag}_alpha: cannot SELECT on table public.secrets",),
    ),
)
