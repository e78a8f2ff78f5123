"""Specs as text, a server as its administrator, provisioning in one call: for the tests of provisioning."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from soa_db.access.plan import PlanOptions, ProgressEvent, ServerPlan
from soa_db.access.postgres.admin import AdminServer, admin_config
from soa_db.access.postgres.desired import desired_state
from soa_db.access.postgres.provision import PostgresProvisioner
from soa_db.access.spec import SpecSet, load_specs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from soa_db.local.postgres import PostgresServer
    from soa_db.names import Env

PASSWORD = "master-password-of-the-tests"


def specs(folder: Path, *texts: str) -> SpecSet:
    """Specs from their YAML texts; ``version: 1`` is added."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, text in enumerate(texts):
        path = folder / f"{index}.yaml"
        path.write_text("version: 1\n" + textwrap.dedent(text), "utf-8")
        paths.append(path)
    return load_specs(paths)


def admin(server: PostgresServer, env: Env = "mirror", user: str = "master") -> AdminServer:
    """The server as its administrator."""
    url = f"postgresql://{user}:{PASSWORD}@127.0.0.1:{server.port}/postgres?sslmode=disable"
    return AdminServer(admin_config(env, admin_url=url))


def provisioner(
    server: PostgresServer,
    wanted: SpecSet,
    *,
    prune: bool = False,
    reassign: bool = False,
    progress: Callable[[ProgressEvent], None] | None = None,
) -> PostgresProvisioner:
    """Provisioning as in the mirror, where no password is set."""
    return PostgresProvisioner(
        desired=desired_state(wanted, "mirror"),
        specs="",
        server=admin(server),
        options=PlanOptions(prune=prune, reassign=reassign),
        passwords=None,
        progress=progress or (lambda _: None),
    )


def provision(server: PostgresServer, wanted: SpecSet, *, prune: bool = False, reassign: bool = False) -> ServerPlan:
    """Plan and carry out; the plan that was carried out. Another plan right after it is empty."""
    with provisioner(server, wanted, prune=prune, reassign=reassign).locked() as locked:
        plan = locked.plan()
        assert locked.carry_out(plan).is_empty
    return plan


@contextmanager
def superuser(server: PostgresServer, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
    """A session of the superuser in a database, autocommit."""
    with psycopg.connect(server.superuser_conninfo, dbname=database, autocommit=True) as connection:
        yield connection


def run(server: PostgresServer, database: str, statement: str, role: str | None = None) -> list[tuple[Any, ...]]:
    """Run statements as the superuser, or as a role."""
    with superuser(server, database) as connection:
        if role is not None:
            connection.execute(psycopg.sql.SQL("SET ROLE {}").format(psycopg.sql.Identifier(role)))
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def may(server: PostgresServer, database: str, role: str, relation: str, privilege: str) -> bool:
    """What the server says a role may do with a table or view."""
    ((answer,),) = run(server, database, f"SELECT has_table_privilege('{role}', '{relation}'::regclass, '{privilege}')")
    return bool(answer)


def refused(server: PostgresServer, database: str, statement: str, role: str) -> bool:
    """Whether the server refuses a statement to a role for want of a privilege."""
    try:
        run(server, database, statement, role)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False
