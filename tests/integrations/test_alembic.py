"""Migrations by Alembic's own command line: as whom, in which databases, one run at a time."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import CommandLine, Config
from tests.support.postgres import eventually

from soa_db.access import apply, load_specs
from soa_db.errors import ConfigurationError, MissingExtra, ProvisionError
from soa_db.postgres import PostgresProvider, connect, load_postgres_config_from_aws
from soa_db.sqlalchemy import create_engine_from_provider

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

SPEC = """
version: 1
service: {service}
postgres:
  databases:
    - id: main
    - id: user-pii
      schemas: [people]
      identities: {{owner: {snake}_pii_owner, app: {snake}_pii_app, ro: null}}
"""
INI = """
[alembic]
script_location = %(here)s
path_separator = os
databases = main, user_pii
"""
MAKO = '''"""${message}"""
from alembic import op
import sqlalchemy as sa
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}

def upgrade():
    ${upgrades if upgrades else "pass"}

def downgrade():
    ${downgrades if downgrades else "pass"}
'''
ENV = """
import sqlalchemy as sa
from alembic import context
from soa_db.alembic import run_migrations

metadata = sa.MetaData()
sa.Table("rooms", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
people = sa.MetaData()
run_migrations(context, {arguments})
"""
ROOMS = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "r1", None

def upgrade():
    op.create_table("rooms", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))

def downgrade():
    op.drop_table("rooms")
"""
BOTH = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "b1", None

def upgrade(engine_name):
    globals()["upgrade_" + engine_name]()

def downgrade(engine_name):
    globals()["downgrade_" + engine_name]()

def upgrade_main():
    op.create_table("halls", sa.Column("id", sa.Integer))

def upgrade_user_pii():
    op.create_table("persons", sa.Column("id", sa.Integer), schema="people")

def downgrade_main():
    op.drop_table("halls")

def downgrade_user_pii():
    op.drop_table("persons", schema="people")
"""

Run = Callable[..., None]


@pytest.fixture(scope="module")
def provisioned(local_env: LocalEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spec of a service with two databases, provisioned in dev; the second has no schema `public`."""
    service = f"t{os.urandom(4).hex()}"
    spec = tmp_path_factory.mktemp("alembic") / "db-access.yaml"
    spec.write_text(SPEC.format(service=service, snake=service), "utf-8")
    with pytest.MonkeyPatch.context() as variables:
        for name, value in local_env.exports().items():
            variables.setenv(name, value)
        apply(load_specs([spec]), env="dev", engines=("postgres",))
    return spec


@pytest.fixture
def service(provisioned: Path, local_aws: LocalEnvironment) -> Iterator[str]:
    """The service, with databases that are empty again afterwards."""
    name = load_specs([provisioned]).specs[0].service
    yield name
    for db_id, schema in ((None, "public"), ("user-pii", "people")):
        with owner(provisioned, db_id) as conn:
            tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
            for (table,) in tables:
                conn.execute(psycopg.sql.SQL("DROP TABLE {} CASCADE").format(psycopg.sql.Identifier(schema, table)))


def owner(spec: Path, db_id: str | None = None) -> psycopg.Connection[Any]:
    """A connection as the owner."""
    return as_role(spec, "owner", db_id)


def as_role(spec: Path, role: str, db_id: str | None = None) -> psycopg.Connection[Any]:
    """A connection as one of the roles."""
    found = load_specs([spec]).specs[0]
    return connect(load_postgres_config_from_aws(env="dev", service=found.service, role=role, db_id=db_id, spec=found))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of migrations with nothing in it but the ini file and the template."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "alembic.ini").write_text(INI, "utf-8")
    (tmp_path / "script.py.mako").write_text(MAKO, "utf-8")
    return tmp_path


@pytest.fixture
def alembic(folder: Path) -> Run:
    """Alembic's command line."""

    def run(*arguments: str) -> None:
        CommandLine().main(["-c", str(folder / "alembic.ini"), *arguments])

    return run


def write(folder: Path, arguments: str, **revisions: str) -> None:
    """Write env.py, with these arguments of run_migrations, and the revisions."""
    (folder / "env.py").write_text(ENV.replace("{arguments}", arguments), "utf-8")
    for name, text in revisions.items():
        (folder / "versions" / f"{name}.py").write_text(text, "utf-8")


def test_migrations_run_as_the_owner_and_the_others_get_their_rights(
    service: str, provisioned: Path, folder: Path, alembic: Run
) -> None:
    """app writes, ro reads, neither creates; a second run finds nothing to do, and a downgrade undoes it."""
    write(folder, f"service={service!r}, target_metadata=metadata", r1=ROOMS)
    alembic("-x", "env=dev", "upgrade", "head")
    alembic("-x", "env=dev", "upgrade", "head")
    with owner(provisioned) as conn:
        row = conn.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'rooms'").fetchone()
        assert row == (f"{service}_owner",)
        assert conn.execute("SELECT version_num FROM alembic_version").fetchall() == [("r1",)]
        assert conn.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
    with PostgresProvider.from_aws(env="dev", service=service) as provider:
        engine = create_engine_from_provider(provider)
        with engine.begin() as app:
            app.execute(sa.text("INSERT INTO rooms VALUES (1, 'a')"))
        with engine.connect() as app, pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            app.execute(sa.text("CREATE TABLE own (n int)"))
    with as_role(provisioned, "ro") as ro:
        assert ro.execute("SELECT name FROM rooms").fetchall() == [("a",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ro.execute("DELETE FROM rooms")
    alembic("-x", "env=dev", "downgrade", "base")
    with owner(provisioned) as conn:
        assert conn.execute("SELECT to_regclass('rooms')").fetchone() == (None,)


def test_a_revision_is_made_from_the_metadata(
    service: str, folder: Path, alembic: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autogeneration, with the environment from SOA_ENV; `check` is content afterwards, and was not before."""
    monkeypatch.setenv("SOA_ENV", "dev")
    write(folder, f"service={service!r}, target_metadata=metadata")
    alembic("revision", "--autogenerate", "-m", "rooms")
    (made,) = (folder / "versions").glob("*.py")
    assert "create_table('rooms'" in made.read_text("utf-8")
    alembic("upgrade", "head")
    alembic("check")


def test_offline_mode_asks_nobody(
    folder: Path, alembic: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server, no AWS, no environment: the SQL and a word about where it is to be run."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("SOA_ENV", raising=False)
    write(folder, 'service="chat-api", target_metadata=metadata', r1=ROOMS)
    alembic("upgrade", "head", "--sql")
    printed = capsys.readouterr().out
    assert "-- to be run in the database chat_api as chat_api_owner" in printed
    assert "CREATE TABLE rooms" in printed
    assert "INSERT INTO alembic_version" in printed
    assert "\\connect" not in printed


def test_several_databases_are_migrated_each_with_a_version_of_its_own(
    service: str, provisioned: Path, folder: Path, alembic: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the spec, as the owner of each; one of them alone by -x db=; offline all of them, for psql."""
    write(
        folder,
        f'spec={str(provisioned)!r}, env="dev", target_metadata={{"main": metadata, "user-pii": people}}',
        b1=BOTH,
    )
    alembic("-x", "db=user-pii", "upgrade", "head")
    with owner(provisioned) as main, owner(provisioned, "user-pii") as pii:
        assert main.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,)
        # No schema `public` there: the version table stands in the spec's.
        assert pii.execute("SELECT version_num FROM people.alembic_version").fetchall() == [("b1",)]
    alembic("upgrade", "head")
    with owner(provisioned) as main, owner(provisioned, "user-pii") as pii:
        assert main.execute("SELECT version_num FROM alembic_version").fetchall() == [("b1",)]
        owned = pii.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'persons'").fetchone()
        assert owned == (f"{service}_pii_owner",)
    capsys.readouterr()
    alembic("upgrade", "head", "--sql")
    printed = capsys.readouterr().out
    assert printed.index(f'\\connect "{service}"') < printed.index("CREATE TABLE halls")
    assert printed.index(f'\\connect "{service}_user_pii_db"') < printed.index("CREATE TABLE people.persons")
    with pytest.raises(ConfigurationError, match="names no database of these: main, user-pii"):
        alembic("-x", "db=other", "upgrade", "head")
    alembic("downgrade", "base")


def test_offline_a_databases_name_is_quoted(folder: Path, alembic: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A config's name may have a quote in it."""
    write(folder, 'config=CONFIG, target_metadata={"main": None, "pii": None}')
    source = (
        "from soa_db import PostgresConfig\n"
        "from soa_db.config import NoAuth\n"
        """ONE = PostgresConfig(instance_name="x", host="h", database='a"b', user="u", auth=NoAuth())\n"""
        'CONFIG = {"main": ONE, "pii": ONE}\n'
    )
    (folder / "env.py").write_text(source + (folder / "env.py").read_text("utf-8"), "utf-8")
    alembic("upgrade", "head", "--sql")
    assert '\\connect "a""b"' in capsys.readouterr().out.splitlines()


def test_what_fails_half_way_is_gone_on_with(service: str, provisioned: Path, folder: Path, alembic: Run) -> None:
    """The database before stays migrated; in the one that failed nothing is left, the lock neither."""
    arguments = f'spec={str(provisioned)!r}, env="dev", target_metadata={{"main": None, "user-pii": None}}'
    write(
        folder,
        arguments,
        b1=BOTH.replace('schema="people")\n\ndef downgrade_main', 'schema="nowhere")\n\ndef downgrade_main'),
    )
    with pytest.raises(sa.exc.ProgrammingError, match="nowhere"):
        alembic("upgrade", "head")
    with owner(provisioned) as main, owner(provisioned, "user-pii") as pii:
        assert main.execute("SELECT version_num FROM alembic_version").fetchall() == [("b1",)]
        assert pii.execute("SELECT to_regclass('people.alembic_version')").fetchone() == (None,)
        assert pii.execute("SELECT pg_try_advisory_lock(%s)", [int.from_bytes(b"soa-alem", "big")]).fetchone() == (
            True,
        )
    write(folder, arguments, b1=BOTH)
    alembic("upgrade", "head")


def test_a_run_waits_for_another_and_says_for_whom(service: str, provisioned: Path, folder: Path, alembic: Run) -> None:
    """While the lock is held by another session; given up after `wait`."""
    write(folder, f'service={service!r}, env="dev", wait=0', r1=ROOMS)
    key = int.from_bytes(b"soa-alem", "big")
    with owner(provisioned) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [key])
        with pytest.raises(ProvisionError, match=rf"process {other.info.backend_pid} of {service}_owner"):
            alembic("upgrade", "head")
        write(folder, f'service={service!r}, env="dev", wait=20', r1=ROOMS)
        release = threading.Timer(0.3, other.execute, ["SELECT pg_advisory_unlock(%s)", [key]])
        release.start()
        alembic("upgrade", "head")
        release.join()


def test_who_waits_is_told_of_it_once(
    service: str, provisioned: Path, folder: Path, alembic: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """However often the lock is looked at; whose it is stands there too."""
    write(folder, f'service={service!r}, env="dev"', r1=ROOMS)
    key = int.from_bytes(b"soa-alem", "big")
    with owner(provisioned) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [key])
        # Three looks at least: one before it is told, one after, one that finds the lock free.
        release = threading.Timer(0.3, other.execute, ["SELECT pg_advisory_unlock(%s)", [key]])

        def told(record: logging.LogRecord) -> bool:
            release.start()
            return True

        caplog.handler.addFilter(told)
        with caplog.at_level(logging.INFO, "soa_db.alembic"):
            alembic("upgrade", "head")
        caplog.handler.removeFilter(told)
        release.join()
        holder = f"process {other.info.backend_pid} of {service}_owner"
        (message,) = [record.getMessage() for record in caplog.records if record.name == "soa_db.alembic"]
    assert f"({holder}); waiting for it" in message


def test_a_session_that_ends_in_a_migration_is_the_error_and_takes_the_lock_along(
    service: str, folder: Path, alembic: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody asks another session to let go of it, no second error hides the first, and the next run does not wait."""
    ends = ROOMS.replace("    op.create_table", "    op.execute('SELECT pg_terminate_backend(pg_backend_pid())')\n#")
    write(folder, f'service={service!r}, env="dev", wait=0', r1=ends)
    # Where SQLAlchemy logs what the server warns of: "you don't own a lock".
    caplog.set_level(logging.INFO, "sqlalchemy.dialects.postgresql")
    with pytest.raises(sa.exc.OperationalError, match="terminating connection") as caught:
        alembic("upgrade", "head")
    assert "own a lock" not in caplog.text
    assert caught.value.connection_invalidated
    assert caught.value.__context__ is caught.value.orig
    write(folder, f'service={service!r}, env="dev", wait=5', r1=ROOMS)
    alembic("upgrade", "head")


def test_two_pods_that_start_together_migrate_once(service: str, provisioned: Path, folder: Path, alembic: Run) -> None:
    """A revision that takes its time, and a concurrent index, which waits for every old snapshot there is."""
    slow = ROOMS.replace("    op.create_table", '    op.execute("SELECT pg_sleep(0.2)")\n    op.create_table') + (
        "\nold = upgrade\n\ndef upgrade():\n    old()\n"
        "    with op.get_context().autocommit_block():\n"
        '        op.create_index("by_name", "rooms", ["name"], postgresql_concurrently=True)\n'
    )
    write(folder, f'service={service!r}, env="dev"', r1=slow)
    line = [sys.executable, "-m", "alembic", "-c", str(folder / "alembic.ini"), "upgrade", "head"]
    pod = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    held = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND granted"
    with owner(provisioned) as conn:
        eventually(lambda: conn.execute(held).fetchone() == (True,), within=30)
    alembic("upgrade", "head")
    _, errors = pod.communicate(timeout=60)
    assert pod.returncode == 0, errors
    with owner(provisioned) as conn:
        assert conn.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_name'::regclass").fetchall() == [
            (True,)
        ]


def test_a_connection_of_the_callers_is_used_as_it_is(service: str, provisioned: Path, folder: Path) -> None:
    """Alembic's recipe for tests: what is done can be rolled back with the caller's transaction."""
    write(folder, f"service={service!r}", r1=ROOMS)
    settings = load_postgres_config_from_aws(env="dev", service=service, role="owner")
    with PostgresProvider(settings) as provider:
        with create_engine_from_provider(provider).connect() as connection:
            transaction = connection.begin()
            command.upgrade(Config(folder / "alembic.ini", attributes={"connection": connection}), "head")
            assert connection.scalar(sa.text("SELECT count(*) FROM rooms")) == 0
            transaction.rollback()
            assert connection.scalar(sa.text("SELECT to_regclass('rooms')")) is None
        write(folder, f'service={service!r}, target_metadata={{"main": None, "user-pii": None}}')
        with create_engine_from_provider(provider).connect() as connection:
            config = Config(folder / "alembic.ini", attributes={"connection": connection})
            with pytest.raises(ConfigurationError, match="several databases"):
                command.upgrade(config, "head")


def test_a_config_of_ones_own_needs_no_contract(service: str, provisioned: Path, folder: Path, alembic: Run) -> None:
    """For databases outside of it; a tunnel stands in front by -x dial=."""
    write(
        folder,
        "config=CONFIG",
        r1=ROOMS,
    )
    source = (
        "from soa_db.postgres import load_postgres_config_from_aws\n"
        f'CONFIG = load_postgres_config_from_aws(env="dev", service={service!r}, role="owner")\n'
    )
    (folder / "env.py").write_text(source + (folder / "env.py").read_text("utf-8"), "utf-8")
    with owner(provisioned) as conn:
        port = conn.info.port
    alembic("-x", f"dial=127.0.0.1:{port}", "upgrade", "head")
    with owner(provisioned) as conn:
        assert conn.execute("SELECT to_regclass('rooms')::text").fetchone() == ("rooms",)


@pytest.mark.parametrize(
    "case",
    [
        ("", "", ("0", "alembic")),
        ("session=SessionConfig(lock_timeout=3), ", "", ("3s", "mine")),
        ("session=SessionConfig(lock_timeout=3), ", "session=SessionConfig(lock_timeout=4), ", ("4s", "mine")),
    ],
)
def test_the_session_of_a_config_of_ones_own_is_kept_unless_another_is_given(
    service: str, provisioned: Path, folder: Path, alembic: Run, case: tuple[str, str, tuple[str, str]]
) -> None:
    """One that says nothing gets what a long migration needs."""
    own, given, expected = case
    seen = (
        "from alembic import op\nrevision, down_revision = 's1', None\n\ndef upgrade():\n"
        "    op.execute(\"CREATE TABLE seen AS SELECT current_setting('lock_timeout') AS waits,"
        " current_setting('application_name') AS name\")\n"
    )
    write(folder, f"{given}config=CONFIG", s1=seen)
    source = (
        "from soa_db.config import SessionConfig\n"
        "from soa_db.postgres import load_postgres_config_from_aws\n"
        "CONFIG = load_postgres_config_from_aws("
        f'{own}env="dev", service={service!r}, role="owner", instance_name="mine")\n'
    )
    (folder / "env.py").write_text(source + (folder / "env.py").read_text("utf-8"), "utf-8")
    alembic("upgrade", "head")
    with owner(provisioned) as conn:
        assert conn.execute("SELECT waits, name FROM seen").fetchone() == expected


def test_without_sqlalchemy_it_says_what_to_install(
    folder: Path, alembic: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before AWS or a server is asked; the pip line is that of this extra."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    call = 'run_migrations(context, service="chat-api", env="dev")'
    source = f"from alembic import context\nfrom soa_db.alembic import run_migrations\n{call}\n"
    (folder / "env.py").write_text(source, "utf-8")
    for name in [name for name in sys.modules if name.startswith("soa_db.sqlalchemy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtra, match=r"pip install 'soa-db\[alembic\]'"):
        alembic("upgrade", "head")


def test_mirror_is_migrated_with_a_token(
    local_aws: LocalEnvironment, provisioned: Path, folder: Path, alembic: Run
) -> None:
    """The same command; host and port come from SSM, the login is RDS IAM's."""
    specs = load_specs([provisioned])
    service = specs.specs[0].service
    apply(specs, env="mirror", engines=("postgres",))
    write(folder, f"service={service!r}", r1=ROOMS)
    alembic("-x", "env=mirror", "upgrade", "head")
    with PostgresProvider.from_aws(env="mirror", service=service, role="owner") as provider:
        assert provider.config.auth.kind == "iam"
        with provider.connection() as conn:
            assert conn.execute("SELECT version_num FROM alembic_version").fetchall() == [("r1",)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('service="chat-api"', "no env is given"),
        ('env="dev"', "no service is given"),
        ('service="chat-api", env="production"', "production"),
        ('service="chat-api", env="dev", target_metadata={}', "names no database"),
        ('service="chat-api", env="dev", db_id="pii", target_metadata={"main": None}', "leave one of them out"),
        ('env="dev", config={"pii": None}', "config names no database 'main'"),
    ],
)
def test_what_is_not_said_is_asked_for(
    folder: Path, alembic: Run, arguments: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed, before anything is connected to."""
    monkeypatch.delenv("SOA_ENV", raising=False)
    write(folder, arguments)
    with pytest.raises(ConfigurationError, match=message):
        alembic("upgrade", "head")


def test_the_wrong_account_is_refused(
    local_aws: LocalEnvironment, folder: Path, alembic: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soa-db's own commands do, by soa-db.toml."""
    settings = tmp_path / "soa-db.toml"
    settings.write_text('[environments.dev]\naccount = "999999999999"\n', "utf-8")
    monkeypatch.setenv("SOA_DB_SETTINGS", str(settings))
    write(folder, 'service="chat-api", env="dev"')
    with pytest.raises(ConfigurationError, match="dev is AWS account 999999999999"):
        alembic("upgrade", "head")
