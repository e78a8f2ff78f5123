"""Granting rds_iam can lock the administrator out: whoever dies meanwhile, the server takes it back."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.servers.access.provisioning import PASSWORD, provisioner, run, specs, superuser

from soa_db.access import ProgressEvent, apply
from soa_db.access.settings import Settings
from soa_db.errors import ProvisionError

if TYPE_CHECKING:
    from soa_db.local.postgres import PostgresServer

ROOT = Path(__file__).parents[3]
SPEC = "service: careful\npostgres: {}"
MEMBERS = "SELECT 1 FROM pg_auth_members WHERE roleid = 'rds_iam'::regrole AND NOT admin_option"

# At the step named it says whether the administrator can still log in, and is gone.
KILLED = """
import os, signal, sys
import psycopg
from soa_db.access import apply, load_specs
from soa_db.access.settings import Settings

spec, at = sys.argv[1:3]
url = sys.stdin.read()

def progress(event):
    if event.step == at:
        try:
            psycopg.connect(url).close()
            print("let in", flush=True)
        except psycopg.OperationalError:
            print("locked out", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

apply(load_specs([spec]), env="mirror", admin_url=url, settings=Settings(), progress=progress)
"""


@pytest.fixture(params=[15, 17])
def careful(request: pytest.FixtureRequest, pg_server_factory: Callable[..., PostgresServer]) -> tuple[str, str]:
    """A server that refuses members of rds_iam; its administrator's URL, and name, whom the grant would make one.

    From 16 on whoever may grant rds_iam is a member of it already, unless it is a superuser.
    """
    server = pg_server_factory(
        version=request.param,
        hba=[
            "local all postgres trust",
            "host all +rds_iam 127.0.0.1/32 reject",
            "host all all 127.0.0.1/32 scram-sha-256",
        ],
    )
    user = "master"
    if server.version >= 16:
        user = "boss"
        run(server, "postgres", f"CREATE ROLE boss SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    run(server, "postgres", f"CREATE ROLE careful_owner; GRANT careful_owner TO {user}")
    request.node.server = server
    return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{server.port}/postgres?sslmode=disable", user


def wait_until_gone(server: PostgresServer, user: str) -> None:
    """The sessions of a process that was killed live on until their statements are over."""
    with superuser(server) as connection:
        while connection.execute("SELECT 1 FROM pg_stat_activity WHERE usename = %s", [user]).fetchone():
            pass


def test_killed_before_its_login_is_proved_the_administrator_gets_in_again(
    careful: tuple[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """kill -9 right after the grant was committed: the server undoes it, and the next run says what is wrong."""
    url, user = careful
    server: PostgresServer = request.node.server
    wanted = specs(tmp_path, SPEC)
    script = tmp_path / "killed.py"
    script.write_text(KILLED, "utf-8")

    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "0.yaml"), "prove"],
        input=url.encode(),
        env={"PYTHONPATH": str(ROOT / "src")},
        check=False,
        timeout=60,
        stdout=subprocess.PIPE,
    )

    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == b"locked out\n", "it was killed while the grant stood"
    wait_until_gone(server, user)
    psycopg.connect(url).close()
    assert run(server, "postgres", MEMBERS) == []
    with pytest.raises(ProvisionError, match=f"locked the administrator {user} out; it was undone"):
        apply(wanted, env="mirror", admin_url=url, settings=Settings())
    psycopg.connect(url).close()

    run(server, "postgres", f"REVOKE careful_owner FROM {user}")
    apply(wanted, env="mirror", admin_url=url, settings=Settings())
    assert run(server, "postgres", MEMBERS) == [(1,)] * 3
    psycopg.connect(url).close()


def test_interrupted_before_its_login_is_proved_the_grant_is_taken_back(
    careful: tuple[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Ctrl-C at that very moment."""
    url, _ = careful

    def interrupt(event: ProgressEvent) -> None:
        if event.step == "prove":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(specs(tmp_path, SPEC), env="mirror", admin_url=url, settings=Settings(), progress=interrupt)

    psycopg.connect(url).close()
    assert run(request.node.server, "postgres", MEMBERS) == []


def test_where_the_administrator_still_gets_in_the_grant_stays(
    pg_server_factory: Callable[..., PostgresServer], tmp_path: Path
) -> None:
    """A member now, but the server does not mind."""
    server = pg_server_factory(version=15)
    odd = """careful"' END; o"""
    quoted = odd.replace('"', '""')
    run(server, "postgres", f'CREATE ROLE "{quoted}"; GRANT "{quoted}" TO master')
    owner = odd.replace('"', '\\"')
    wanted = specs(tmp_path, f'service: careful\npostgres: {{databases: [{{identities: {{owner: "{owner}"}}}}]}}')
    told: list[str] = []

    with provisioner(server, wanted, progress=lambda event: told.append(event.step)).locked() as locked:
        locked.carry_out(locked.plan())

    assert "prove" in told
    assert run(server, "postgres", MEMBERS) == [(1,)] * 3
    assert provisioner(server, wanted).plan().is_empty
