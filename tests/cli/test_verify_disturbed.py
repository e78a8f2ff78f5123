"""``soa-db verify`` as its own process, disturbed half-way, and on a server whose names are hostile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from soa_db.cli import main

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

_WAITING = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'soa-db verify' AND wait_event_type = 'Lock'"
_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'soa-db verify'"
_OBJECTS = """
SELECT relname FROM pg_class WHERE relname LIKE 'soa_db_probe%'
 UNION ALL SELECT nspname FROM pg_namespace WHERE nspname LIKE 'soa_db_probe%'
 UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'soa_db_probe%'
 UNION ALL SELECT typname FROM pg_type WHERE typname LIKE 'soa_db_probe%'
 UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE 'soa_db_probe%'
 UNION ALL SELECT oid::text FROM pg_largeobject_metadata
"""
# A lock's wait, which lasts two seconds, is the half of a run in which it is disturbed.
_LOCKED = 'LOCK TABLE public."locked" IN ACCESS EXCLUSIVE MODE'


class Disturbed:
    """A service with a table, and a verification of it that waits for the table's lock.

    Attributes:
        env: the local environment.
        service: the service, and its database.
        folder: where the run keeps its temporary files.
    """

    def __init__(self, env: LocalEnvironment, service: str, folder: Path) -> None:
        self.env, self.service, self.folder = env, service, folder

    def session(self) -> psycopg.Connection[Any]:
        """A session of the superuser's, autocommit."""
        conninfo = self.env.server("dev").superuser_conninfo
        return psycopg.connect(conninfo, dbname=self.service, autocommit=True)

    def fetch(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query of the superuser's."""
        with self.session() as connection:
            return connection.execute(query.encode()).fetchall()

    @contextmanager
    def waiting(self) -> Iterator[subprocess.Popen[str]]:
        """A run that has begun and waits for a lock; the lock goes at the end, or with the server."""
        command = [sys.executable, "-m", "soa_db", "verify", "--env", "dev", "--json"]
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        holder = self.session()
        try:
            holder.execute(b"BEGIN; " + _LOCKED.encode())
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            ) as process:
                until(lambda: bool(self.fetch(_WAITING)) or process.poll() is not None)
                assert process.poll() is None, process.communicate()
                yield process
        finally:
            holder.close()

    def assert_nothing_is_left(self) -> None:
        """No session, no object, no temporary file; and the next run is green."""
        until(lambda: self.fetch(_SESSIONS) == [])
        assert self.fetch(_OBJECTS) == []
        assert list(self.folder.iterdir()) == []
        assert main(["verify", "--env", "dev"]) == 0


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes; who waits in vain is ended by the test run's own limit."""
    while not condition():
        time.sleep(0.01)


@pytest.fixture
def disturbed(cli_env: LocalEnvironment, service: str, tmp_path: Path) -> Disturbed:
    """A provisioned service."""
    assert main(["provision", "--env", "dev"]) == 0
    folder = tmp_path / "temporary"
    folder.mkdir()
    made = Disturbed(cli_env, service, folder)
    with made.session() as connection:
        connection.execute(f'SET ROLE {service}_owner; CREATE TABLE public."locked" (id integer)'.encode())
    return made


def test_a_server_killed_half_way_is_inconclusive_and_nothing_is_left(disturbed: Disturbed) -> None:
    """kill -9 of every server process: the run ends by itself with exit code 5 and a whole JSON document."""
    try:
        with disturbed.waiting() as process:
            disturbed.env.kill_server("dev")
            out, err = process.communicate()
    finally:
        disturbed.env.start_server("dev")
    document = json.loads(out)
    assert (process.returncode, document["exit_code"]) == (5, 5), err
    assert document["summary"]["violated"] == 0
    assert document["summary"]["inconclusive"] > 0
    assert "Traceback" not in err
    disturbed.assert_nothing_is_left()


@pytest.mark.parametrize("hangs", [False, True], ids=["", "server hangs"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_half_way_it_ends_and_nothing_is_left(
    disturbed: Disturbed, number: signal.Signals, code: int, hangs: bool
) -> None:
    """Ctrl-C and SIGTERM end the run also when the server answers nobody any more."""
    try:
        with disturbed.waiting() as process:
            if hangs:
                disturbed.env.pause_server("dev")
            process.send_signal(number)
            out, err = process.communicate()
    finally:
        if hangs:
            disturbed.env.resume_server("dev")
    assert (process.returncode, out) == (code, ""), err
    assert "Traceback" not in err
    disturbed.assert_nothing_is_left()


# What breaks JSON, XML or a terminal when it is taken for more than a name. PostgreSQL keeps 63 bytes of it.
_HOSTILE = {
    "markup": "]]><!--\"'&lt;<x>",
    "control": "a\x01\x08\x1b[2J\x1b]0;title\x07\x7f\r\n\tb",
    "forbidden in XML": "\ufffe\uffff",
    "unicode": "ü😀\u202e\u2028\x85",
    "rich": "[bold red]x[/]\\[",
}


@pytest.mark.parametrize("name", _HOSTILE.values(), ids=_HOSTILE)
def test_a_strangers_name_is_data_in_each_output(
    disturbed: Disturbed, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A role, a schema and a table of that name: JSON gives it unchanged, XML is whole, no terminal is driven."""
    quoted = sql.Identifier(name)
    with disturbed.session() as connection:
        connection.execute(
            sql.SQL(
                "CREATE ROLE {0} LOGIN; CREATE SCHEMA {0}; CREATE TABLE {0}.{0} ({0} integer);"
                "GRANT USAGE ON SCHEMA {0} TO PUBLIC; GRANT SELECT ON {0}.{0} TO PUBLIC, {0};"
                "CREATE FUNCTION {0}.{0}() RETURNS integer LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"
            ).format(quoted)
        )
    try:
        capsys.readouterr()
        assert main(["verify", "--env", "dev", "--json", "--junit", "verify.xml"]) == 4
        document = json.loads(capsys.readouterr().out)
        assert main(["verify", "--env", "dev"]) == 4
        shown = capsys.readouterr().out
    finally:
        with disturbed.session() as connection:
            connection.execute(sql.SQL("DROP SCHEMA {0} CASCADE; DROP OWNED BY {0}; DROP ROLE {0}").format(quoted))
    assert name in {check["identity"] for check in document["checks"]}
    assert document["summary"]["inconclusive"] == 0
    suite = ET.parse("verify.xml").getroot()[0]
    assert len(suite) == len(document["checks"])
    assert len(suite.findall("testcase/failure")) == document["summary"]["violated"]
    assert [char for char in shown if not char.isprintable() and char != "\n"] == []


def test_names_that_are_no_utf8_are_spelled_out(disturbed: Disturbed, capsys: pytest.CaptureFixture[str]) -> None:
    """Made in a database without an encoding, a role's name is bytes that no other database can read."""
    tag, role = disturbed.service, b'"' + disturbed.service.encode() + b'_\xff\xfe"'
    conninfo = disturbed.env.server("dev").superuser_conninfo
    with disturbed.session() as connection:
        connection.execute(f"CREATE DATABASE {tag}_bytes ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0".encode())
    try:
        with psycopg.connect(conninfo, dbname=f"{tag}_bytes", autocommit=True) as connection:
            connection.execute(
                b"CREATE ROLE " + role + b" LOGIN CREATEROLE; CREATE FUNCTION public." + role + b"() RETURNS integer "
                b"LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"
            )
        capsys.readouterr()
        assert main(["verify", "--env", "dev", "--json", "--junit", "verify.xml"]) == 4, capsys.readouterr().out
        document = json.loads(capsys.readouterr().out)
    finally:
        with psycopg.connect(conninfo, dbname=f"{tag}_bytes", autocommit=True) as connection:
            connection.execute(b"DROP FUNCTION public." + role + b"(); DROP ROLE " + role)
        with disturbed.session() as connection:
            connection.execute(f"DROP DATABASE {tag}_bytes WITH (FORCE)".encode())
    spelled = rf"{tag}_\xff\xfe"
    assert any(spelled in check["what"] for check in document["checks"])
    assert {check["database"] for check in document["checks"]} >= {tag, f"{tag}_bytes"}
    assert len(ET.parse("verify.xml").getroot()[0]) == len(document["checks"])


def test_violated_and_undecided_together_exit_4(disturbed: Disturbed) -> None:
    """A violation is not hidden by what could not be decided."""
    grant = f"SET ROLE {disturbed.service}_owner; CREATE TABLE public.open (); GRANT SELECT ON public.open TO PUBLIC"
    with disturbed.session() as connection:
        connection.execute(grant.encode())
    with disturbed.waiting() as process:
        out, _ = process.communicate()
    document = json.loads(out)
    assert (process.returncode, document["exit_code"]) == (4, 4)
    assert document["summary"]["violated"] > 0
    assert document["summary"]["inconclusive"] > 0


@pytest.mark.parametrize("chosen", [[], ["--service", "caches"]])
def test_nothing_to_verify_is_wrong_usage(
    disturbed: Disturbed, chosen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Specs without a part for any engine, or such a service: a run that asks nothing must not be green."""
    Path("caches.yaml").write_text("version: 1\nservice: caches\n")
    specs = ["caches.yaml", *(["db-access.yaml"] if chosen else [])]
    assert main(["verify", "--env", "dev", "--specs", *specs, *chosen]) == 2
    assert "nothing to verify" in capsys.readouterr().err
    assert main(["verify", "--env", "dev", "--specs", "caches.yaml", "db-access.yaml"]) == 0
