"""Services against each other and against the administrator: what must not be had by way of a provision run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.servers.access.provisioning import may, provision, provisioner, run, specs

from soa_db.errors import ProvisionError

if TYPE_CHECKING:
    from pathlib import Path

    from soa_db.local.postgres import PostgresServer


def test_the_administrator_runs_no_function_of_an_owner(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """An owner may set its database's search_path before pg_catalog, and shadow what the administrator calls there."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    provision(pg, wanted)
    run(
        pg,
        unique_name,
        f"""
        CREATE TABLE trap (who text);
        GRANT INSERT ON trap TO PUBLIC;
        CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO public.trap VALUES (current_user);
                RETURN pg_catalog.set_config($1, $2, $3);
            END $$;
        GRANT EXECUTE ON FUNCTION public.set_config(text, text, boolean) TO PUBLIC;
        GRANT USAGE ON SCHEMA public TO PUBLIC;
        ALTER DATABASE "{unique_name}" SET search_path = public, pg_catalog;
        ALTER DATABASE "{unique_name}" SET default_transaction_read_only = on;
        """,
        f"{unique_name}_owner",
    )

    assert provisioner(pg, wanted).plan().changes
    provision(pg, wanted)

    assert run(pg, unique_name, "SELECT who FROM public.trap") == []


def test_a_database_of_another_service_is_not_taken(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """Two repositories, two runs: whoever claims the other's database is refused, and nothing changes."""
    provision(pg, specs(tmp_path / "first", f"service: {unique_name}\npostgres: {{}}"))
    thief = specs(
        tmp_path / "second",
        f"service: {unique_name}-thief\npostgres: {{databases: [{{database: {unique_name}}}]}}",
    )

    with pytest.raises(ProvisionError, match=f"belongs to service {unique_name}"):
        provision(pg, thief)

    owner = f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{unique_name}'"
    assert run(pg, "postgres", owner) == [(f"{unique_name}_owner",)]
    assert not run(pg, "postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{unique_name}_thief_app'")


@pytest.mark.parametrize("victim", ["{n}_app", "master"])
def test_a_role_of_others_is_not_retired(pg: PostgresServer, tmp_path: Path, unique_name: str, victim: str) -> None:
    """Neither a role made for another service nor the administrator itself, whatever a spec says, prune or not."""
    provision(pg, specs(tmp_path / "first", f"service: {unique_name}\npostgres: {{}}"))
    role = victim.format(n=unique_name)
    other = specs(tmp_path / "second", f"service: {unique_name}-x\npostgres: {{retire: [{{role: {role}}}]}}")

    with pytest.raises(ProvisionError, match=r"belongs to service|is the administrator"):
        provision(pg, other, prune=True)

    assert run(pg, "postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'")
    assert may(pg, unique_name, f"{unique_name}_app", "pg_class", "SELECT")


def test_what_a_retired_role_owned_goes_to_the_owner_of_each_database(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """Another service's objects, and those of an isolated database, do not fall to the service that retires a role."""
    old, pii = f"{unique_name}_old", f"{unique_name}_pii_db"
    retiring = f"""
        service: {unique_name}
        postgres:
          databases:
            - {{id: main}}
            - {{id: pii, isolated: true, identities: {{owner: {unique_name}_po, app: {unique_name}_pa, ro: null}}}}
    """
    other = f"service: {unique_name}-b\npostgres: {{}}"
    provision(pg, specs(tmp_path / "before", retiring, other))
    run(pg, "postgres", f"SET ROLE master; CREATE ROLE {old}")
    places = {
        unique_name: f"{unique_name}_owner",
        pii: f"{unique_name}_po",
        f"{unique_name}_b": f"{unique_name}_b_owner",
    }
    for database in places:
        run(pg, database, f"CREATE TABLE relic (id int); ALTER TABLE relic OWNER TO {old}")
    text = retiring.rstrip() + f"\n          retire: [{{role: {old}}}]\n"

    provision(pg, specs(tmp_path / "after", text, other), prune=True)

    for database, owner in places.items():
        assert run(pg, database, "SELECT tableowner FROM pg_tables WHERE tablename = 'relic'") == [(owner,)], database


def test_what_was_handed_on_twice_is_not_passed_over(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """A stranger handed its right to a managed role, which handed it to all: said, and with prune taken away."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    provision(pg, wanted)
    stranger = f"rds{unique_name}"  # the name of a role is no reason to trust it
    run(pg, "postgres", f"CREATE ROLE {stranger}")
    run(
        pg,
        unique_name,
        f"""
        CREATE TABLE t (id int); ALTER TABLE t OWNER TO {unique_name}_owner;
        GRANT ALL ON SCHEMA public TO {stranger};
        SET SESSION AUTHORIZATION {unique_name}_owner; GRANT SELECT ON t TO {stranger} WITH GRANT OPTION;
        SET SESSION AUTHORIZATION {stranger}; GRANT SELECT ON t TO {unique_name}_app WITH GRANT OPTION;
        SET SESSION AUTHORIZATION {unique_name}_app; GRANT SELECT ON t TO PUBLIC;
        """,
    )

    notices = "\n".join(notice.sentence for notice in provision(pg, wanted).notices)
    assert f"handed on to PUBLIC by {stranger}" in notices
    assert may(pg, unique_name, "public", "t", "SELECT")

    provision(pg, wanted, prune=True)
    assert not may(pg, unique_name, "public", "t", "SELECT")
    assert not may(pg, unique_name, stranger, "t", "SELECT")
    assert may(pg, unique_name, f"{unique_name}_app", "t", "SELECT")


def test_the_right_to_hand_out_rds_iam_is_taken_back(pg: PostgresServer, tmp_path: Path, unique_name: str) -> None:
    """Whoever may grant rds_iam can shut password logins out, the administrator's too."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    provision(pg, wanted)
    run(pg, "postgres", f"SET ROLE master; GRANT rds_iam TO {unique_name}_app WITH ADMIN OPTION")
    app = f"(SELECT oid FROM pg_roles WHERE rolname = '{unique_name}_app')"

    provision(pg, wanted)

    assert run(pg, "postgres", f"SELECT admin_option FROM pg_auth_members WHERE member = {app}") == [(False,)]


def test_a_declared_database_that_anybody_may_clone_is_seen(
    pg: PostgresServer, tmp_path: Path, unique_name: str
) -> None:
    """A template is still the service's database, not one to be made; that it is a template is said."""
    wanted = specs(tmp_path, f"service: {unique_name}\npostgres: {{}}")
    provision(pg, wanted)
    run(pg, "postgres", f"ALTER DATABASE {unique_name} IS_TEMPLATE true")

    plan = provisioner(pg, wanted).plan()

    assert plan.is_empty
    assert any("template" in notice.sentence for notice in plan.notices)
