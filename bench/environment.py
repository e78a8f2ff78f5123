"""The local environment with one service provisioned, in a folder of its own, for as long as a benchmark lasts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from soa_db.access import apply, load_specs
from soa_db.local.environment import LocalEnvironment
from soa_db.names import ENVS

__all__ = ["SERVICE", "child_environment", "provisioned"]

SERVICE = "bench-api"
SPEC = f"version: 1\nservice: {SERVICE}\npostgres:\n  databases:\n    - id: main\n"


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a new process: this interpreter's path, and bytecode as if installed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    import sys

    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **more}


@contextmanager
def provisioned(*, max_connections: int | None = None) -> Iterator[LocalEnvironment]:
    """An environment whose exports are in ``os.environ``, with ``bench-api`` in dev, mirror and prod.

    Args:
        max_connections: how many the servers take, where the default of a laptop does not do.
    """
    with tempfile.TemporaryDirectory(prefix="soa-db-bench-") as folder, LocalEnvironment(Path(folder) / "env") as local:
        before = dict(os.environ)
        for name in [name for name in os.environ if name.startswith(("AWS_", "SOA_DB_", "PG"))]:
            del os.environ[name]
        os.environ.update(local.exports())
        try:
            spec = Path(folder) / "db-access.yaml"
            spec.write_text(SPEC, "utf-8")
            for env in ENVS:
                if max_connections is not None:
                    with psycopg.connect(local.server(env).superuser_conninfo, autocommit=True) as conn:
                        count = sql.Literal(max_connections)
                        conn.execute(sql.SQL("ALTER SYSTEM SET max_connections = {}").format(count))
                    local.restart_server(env)
                apply(load_specs([spec]), env=env)
            yield local
        finally:
            os.environ.clear()
            os.environ.update(before)
