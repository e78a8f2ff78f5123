"""20 services with three roles and a database each, 2,500 tables: plan, first provision, grants, clean re-run.

Against ldap2pg on the same server and the same databases, roles and tables: it is installed from PyPI into an
environment of its own under ``.soa-db/bench``. The tables are made by their owners. "Grants" is what has to be done
after somebody took every right of the services' roles away; a clean re-run finds nothing to do, and whether it wrote
anything is told by the server's next transaction id, which only a transaction that writes moves.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.report import Row
from bench.servers import Plain, plain_server
from soa_db.access import apply, load_specs, plan
from soa_db.access.settings import Settings
from soa_db.local.postgres import MASTER_USER

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet

SERVICES, TABLES = 20, 125
RERUNS = 5
# Roles that log in with IAM tokens: neither tool has passwords to make.
ENV = "mirror"
PEER = "ldap2pg"
VENV = Path(".soa-db/bench/ldap2pg")
NAMES = [f"svc_{number:02}" for number in range(1, SERVICES + 1)]

Timed = Callable[[], object]


def _seconds(call: Timed) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class _Server:
    """The server as its superuser sees it."""

    def __init__(self, plain: Plain) -> None:
        self._conninfo = plain.server.superuser_conninfo
        self.url = f"postgresql://{MASTER_USER}:{plain.password}@127.0.0.1:{plain.server.port}/postgres?sslmode=disable"

    def _in(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(make_conninfo(self._conninfo, dbname=database), autocommit=True)

    def next_transaction(self) -> int:
        with self._in("postgres") as conn:
            row = conn.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
        assert row is not None
        return int(str(row[0]))

    def make_tables(self) -> None:
        for name in NAMES:
            with self._in(name) as conn, conn.transaction():
                conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(f"{name}_owner")))
                for number in range(TABLES):
                    conn.execute(
                        sql.SQL("CREATE TABLE public.{} (id bigserial PRIMARY KEY, body text)").format(
                            sql.Identifier(f"table_{number:03}")
                        )
                    )

    def take_rights_away(self) -> None:
        for name in NAMES:
            roles = sql.SQL(", ").join(sql.Identifier(f"{name}_{role}") for role in ("app", "ro"))
            with self._in(name) as conn, conn.transaction():
                conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(f"{name}_owner")))
                for what in ("TABLES", "SEQUENCES"):
                    statement = sql.SQL("REVOKE ALL ON ALL {} IN SCHEMA public FROM {}")
                    conn.execute(statement.format(sql.SQL(what), roles))

    def environment(self) -> dict[str, str]:
        """What libpq's own variables say, for tools that read them."""
        found = conninfo_to_dict(self._conninfo)
        variables = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname"}
        return {**os.environ, **{name: str(found[key]) for name, key in variables.items()}}


def _specs(folder: Path) -> SpecSet:
    for name in NAMES:
        text = f"version: 1\nservice: {name.replace('_', '-')}\npostgres:\n  databases:\n    - id: main\n"
        (folder / f"{name}.db-access.yaml").write_text(text, "utf-8")
    return load_specs([folder])


PEER_HEAD = """\
version: 5
postgres:
  databases_query: "SELECT datname FROM pg_database WHERE datname LIKE 'svc%'"
  managed_roles_query: "SELECT 'public' UNION SELECT rolname FROM pg_roles WHERE rolname LIKE 'svc%'"
  roles_blacklist_query: [postgres, pg_*, master, rds_iam]
  schemas_query: [public]
privileges:
  ro: [__connect__, __usage_on_schemas__, __select_on_tables__, __select_on_sequences__]
  app:
  - ro
  - __insert_on_tables__
  - __update_on_tables__
  - __delete_on_tables__
  - __usage_on_sequences__
  - __update_on_sequences__
sync_map:
"""


def _peer_config(folder: Path) -> Path:
    rules = []
    for name in NAMES:
        names = ", ".join(f"{name}_{role}" for role in ("owner", "app", "ro"))
        rules.append(f"- roles:\n  - names: [{names}]\n    options: LOGIN\n")
        for role in ("app", "ro"):
            grant = f"privilege: {role}, role: {name}_{role}, database: {name}, schema: public"
            rules.append(f"- grant: {{{grant}}}\n")
    path = folder / "ldap2pg.yml"
    path.write_text(PEER_HEAD + "".join(rules), "utf-8")
    return path


def _install_peer() -> str | None:
    """Install the peer once; why it cannot be run, if so."""
    program = VENV / "bin" / PEER
    if not program.exists():
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", str(VENV)],
            [*pip, "ldap2pg==5.9", "psycopg2-binary", "setuptools"],
        ):
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                return run.stderr.strip().rpartition("\n")[2]
    run = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
    return run.stderr.strip().rpartition("\n")[2] or "it does not start" if run.returncode else None


def _peer(server: _Server, config: Path, *, real: bool = True) -> float:
    """Run it; the seconds from its first line of log to its last: its start as a process is not held against it."""
    command = [str(VENV / "bin" / PEER), "--config", str(config), "--real" if real else "--dry", "--no-color"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=server.environment(), timeout=300)
    if run.returncode:
        raise RuntimeError(f"{PEER} failed: {run.stderr[-2000:]}")
    stamps = re.findall(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ", run.stderr, re.MULTILINE)
    first, last = (datetime.fromisoformat(f"{stamp}.{milli}+00:00") for stamp, milli in (stamps[0], stamps[-1]))
    return (last - first).total_seconds()


def _ours(server: _Server, specs: SpecSet) -> dict[str, float]:
    def planned() -> object:
        return plan(specs, env=ENV, admin_url=server.url, settings=Settings())

    def applied() -> object:
        return apply(specs, env=ENV, admin_url=server.url, settings=Settings())

    found = {"plan of all": _seconds(planned), "first": _seconds(applied)}
    server.make_tables()
    applied()
    found["plan"] = statistics.median(_seconds(planned) for _ in range(RERUNS))
    before = server.next_transaction()
    found["clean"] = statistics.median(_seconds(applied) for _ in range(RERUNS))
    found["writes"] = server.next_transaction() - before
    server.take_rights_away()
    found["grants"] = _seconds(applied)
    if not plan(specs, env=ENV, admin_url=server.url, settings=Settings()).is_empty:
        raise RuntimeError("something is left to do after provisioning")
    return found


def _theirs(server: _Server, folder: Path) -> dict[str, float]:
    config = _peer_config(folder)
    _peer(server, config)  # what it wants otherwise
    server.take_rights_away()
    found = {"grants": _peer(server, config)}
    before = server.next_transaction()
    found["clean"] = statistics.median(_peer(server, config) for _ in range(RERUNS))
    found["writes"] = server.next_transaction() - before
    found["plan"] = statistics.median(_peer(server, config, real=False) for _ in range(RERUNS))
    return found


def run() -> list[Row]:
    """Ours first, which makes the databases, then the peer."""
    missing = _install_peer()
    # Nothing but what is measured may write.
    settings = {"autovacuum": "off", "max_locks_per_transaction": "256"}
    with tempfile.TemporaryDirectory(prefix="soa-db-bench-") as path, plain_server(settings=settings) as plain:
        folder = Path(path)
        server = _Server(plain)
        ours = _ours(server, _specs(folder))
        theirs: dict[str, float] = {}
        if missing is None:
            theirs = _theirs(server, folder)
        else:
            print(f"{PEER} cannot be run here: {missing}")
    return [
        Row("plan of everything, empty server", ours["plan of all"], "s"),
        Row("first provision, empty server", ours["first"], "s"),
        Row("grants on 2,500 tables", ours["grants"], "s", theirs.get("grants"), PEER),
        Row("clean plan", ours["plan"], "s", theirs.get("plan"), f"{PEER}, dry"),
        Row("clean re-run", ours["clean"], "s", theirs.get("clean"), PEER),
        Row("clean re-run", ours["clean"], "s", bar=1.0, bar_is="value"),
        Row("clean re-runs: transactions that wrote", ours["writes"], "", bar=0, bar_is="value"),
        Row("clean re-runs: transactions that wrote", ours["writes"], "", theirs.get("writes"), PEER),
    ]
