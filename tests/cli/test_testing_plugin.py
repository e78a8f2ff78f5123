"""`soa_db.testing`: a service's own tests get a provisioned PostgreSQL and Redis, clean for each test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from tests.support.postgres import eventually

from soa_db.local import processes

ROOT = Path(__file__).resolve().parents[2]

SPEC = """\
version: 1
service: chat-api
postgres:
  databases:
    - id: main
    - id: pii
      isolated: true
      identities: {owner: chat_pii_owner, app: chat_pii_app, ro: null}
  extra_grants:
    - {to: app, on: public.audit, revoke: [delete]}
"""

CONFTEST = """\
import pytest
from soa_db.postgres import connect

LEFT_OPEN = []

@pytest.fixture(scope="session")
def soa_db_migrate():
    def migrate(config, db_id):
        LEFT_OPEN.append(connect(config))
        with connect(config) as connection:
            if db_id == "main":
                connection.execute("create table rooms (id int primary key)")
                connection.execute("create table audit (id int)")
                connection.execute("insert into rooms values (1)")
                connection.execute("alter database chat_api set search_path to public, pg_temp")
                connection.execute("alter database chat_api set timezone to 'Asia/Tokyo'")
            else:
                connection.execute("create table people (id int)")
    return migrate
"""

TESTS = """\
import asyncio
import psycopg
import pytest
from soa_db.postgres import PostgresProvider, connect

def rooms(connection):
    return connection.execute("select array_agg(id order by id) from rooms").fetchone()[0]

@pytest.mark.parametrize("number", [1, 2])
def test_each_begins_clean(soa_db_provider, number):
    with soa_db_provider().connection() as connection:
        assert rooms(connection) == [1]
        connection.execute("insert into rooms values (2)")
    with soa_db_provider("owner").connection() as connection:
        connection.execute("create table leftover ()")
    with soa_db_provider("ro").connection() as connection:
        assert rooms(connection) == [1, 2]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("insert into rooms values (3)")

@pytest.mark.parametrize("number", [1, 2])
def test_rights_and_settings_outlive_the_reset(soa_db_config, number):
    with connect(soa_db_config()) as connection:
        assert connection.execute("show timezone").fetchone() == ("Asia/Tokyo",)
        assert connection.execute("show search_path").fetchone() == ("public, pg_temp",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from audit")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create temporary table t ()")
    with connect(soa_db_config("app", db_id="pii")) as connection:
        assert connection.execute("select current_user::text").fetchone() == ("chat_pii_app",)

def test_asynchronous(soa_db_async_provider):
    async def ask():
        async with soa_db_async_provider("ro") as provider, provider.connection() as connection:
            return (await (await connection.execute("select count(*) from rooms")).fetchone())[0]
    assert asyncio.run(ask()) == 1

def test_the_services_own_code_connects(soa_db_postgres):
    with PostgresProvider.from_aws(env="dev", service="chat-api") as provider:
        assert provider.ping()

def test_verify_holds_after_resets(soa_db_postgres, soa_db_spec):
    from soa_db.access.verify import verify
    report = verify(soa_db_spec, env="dev")
    # What the migrations did set; nothing else is lost or gained by copying.
    assert [check.detail for check in report.violations] == ["search_path is set in chat_api"], report.to_text()
    assert not report.inconclusive

def test_wrong_service_is_named(soa_db_config):
    with pytest.raises(Exception, match="no spec is given for 'other'"):
        soa_db_config(service="other")
"""


REDIS_SPEC = """\
version: 1
service: chat-api
redis:
  read_only_keys: ["flags:*"]
  scan: true
"""

REDIS_TESTS = """\
import asyncio
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError
from soa_db.errors import AccessDenied, ConfigurationError
from soa_db.redis import RedisConnectionManager

@pytest.mark.parametrize("number", [1, 2])
def test_each_begins_empty(soa_db_redis_manager, soa_db_redis, number):
    cache = soa_db_redis_manager()
    with Redis.from_url(soa_db_redis.admin_url) as admin:
        assert admin.dbsize() == 0
        admin.set("flags:new", "1")
        admin.set("other-api:1", "1")
    cache.set("chat-api:1", {"a": number})
    assert cache.get("chat-api:1") == {"a": number}
    assert cache.get("flags:new") == 1

def test_the_rights_are_the_services(soa_db_redis_manager, soa_db_redis):
    cache = soa_db_redis_manager(service="chat-api")
    for refused in (
        lambda: cache.set("flags:new", 1),
        lambda: cache.get("other-api:1"),
        lambda: cache.client.flushall(),
        lambda: cache.client.publish("other-api:x", "1"),
    ):
        with pytest.raises((AccessDenied, NoPermissionError)):
            refused()
    cache.set("chat-api:1", 1)
    assert cache.clear_by_prefix("chat-api:") == 1
    with Redis.from_url(soa_db_redis.admin_url, decode_responses=True) as admin:
        assert {client["user"] for client in admin.client_list()} == {"master", "chat-api-dev"}
        assert set(admin.acl_users()) == {"default", "master", "chat-api-dev"}
        user = admin.acl_getuser("chat-api-dev")
        assert "~chat-api:*" in str(user["keys"]) and "%R~flags:*" in str(user["keys"])
        assert "off" in admin.acl_getuser("default")["flags"]

LEFT = []

@pytest.mark.parametrize("number", [1, 2])
def test_what_a_test_left_running_is_cut_off(soa_db_redis_config, number):
    manager = RedisConnectionManager(soa_db_redis_config())
    manager.connect()
    subscription = manager.client.pubsub()
    subscription.subscribe("chat-api:news")
    LEFT.append((manager, subscription))
    assert manager.client.publish("chat-api:news", "x") == 1

def test_asynchronous(soa_db_async_redis_manager):
    async def ask():
        async with soa_db_async_redis_manager() as cache:
            await cache.set("chat-api:1", 5)
            return await cache.get("chat-api:1")
    assert asyncio.run(ask()) == 5

def test_the_services_own_code_connects(soa_db_redis):
    with RedisConnectionManager.from_aws(env="dev", service="chat-api") as cache:
        assert cache.ping()

def test_verify_holds_after_resets(soa_db_redis, soa_db_spec):
    from soa_db.access.verify import verify
    report = verify(soa_db_spec, env="dev")
    assert report.checks and not report.violations and not report.inconclusive, report.to_text()

def test_wrong_service_is_named(soa_db_redis_config):
    with pytest.raises(ConfigurationError, match="no spec is given for 'other'"):
        soa_db_redis_config(service="other")
"""


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a service's tests in a process of their own, with the plugin once."""
    installed = any(entry.value == "soa_db.testing" for entry in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "soa_db.testing"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PG", "SOA_DB_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", *plugin, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a service's tests to their end."""
    with started(folder, *arguments) as process:
        output, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.fixture
def folder(server_folder: Path, tmp_path: Path) -> Path:
    """A service's repository with a spec and tests."""
    (tmp_path / "db-access.yaml").write_text(SPEC)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_service.py").write_text(TESTS)
    return tmp_path


def test_a_service_tests_with_its_own_rights_on_clean_databases(folder: Path) -> None:
    """Provisioned, migrated as the owner, put back after each test with privileges and settings as they were."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


def test_specs_come_from_the_option_or_the_settings(folder: Path) -> None:
    """--soa-db-specs wins over the ini setting, which is relative to its file; without the spec the error names it."""
    (folder / "test_service.py").write_text("def test_spec(soa_db_spec):\n    assert soa_db_spec.specs\n")
    (folder / "db-access.yaml").rename(folder / "other.yaml")
    missing = run(folder)
    assert missing.returncode == 1
    assert "there is no " in missing.stdout
    assert "db-access.yaml" in missing.stdout
    assert "--soa-db-specs" in missing.stdout
    (folder / "pytest.ini").write_text("[pytest]\nsoa_db_specs = other.yaml\n")
    assert run(folder).returncode == 0
    (folder / "pytest.ini").write_text("[pytest]\nsoa_db_specs = nowhere.yaml\n")
    assert run(folder, "--soa-db-specs", "other.yaml").returncode == 0


def test_a_service_tests_with_its_own_user_on_an_empty_redis(folder: Path) -> None:
    """With a spec of Redis only: its access string and no more, emptied after each test, whoever is left cut off."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (folder / "db-access.yaml").write_text(REDIS_SPEC)
    (folder / "test_service.py").write_text(REDIS_TESTS)
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout


def test_one_environment_serves_both_databases(folder: Path) -> None:
    """A test may ask for both: the process's environment leads to one AWS."""
    (folder / "db-access.yaml").write_text(SPEC + "redis: {}\n")
    (folder / "test_service.py").write_text(
        "def test_both(soa_db_redis_manager, soa_db_provider):\n"
        "    soa_db_redis_manager().set('chat-api:1', 1)\n"
        "    with soa_db_provider().connection() as connection:\n"
        "        assert connection.execute('select count(*) from rooms').fetchone() == (1,)\n"
    )
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_spec_without_a_redis_part_is_named(server_folder: Path) -> None:
    """All of them, or the one that is asked for, before any server is started."""
    from soa_db.access.spec import RedisSpec, Spec, SpecSet
    from soa_db.errors import ConfigurationError
    from soa_db.local.environment import LocalEnvironment
    from soa_db.testing.redis import TestRedis

    never_started = LocalEnvironment(server_folder / "never-started")
    bare, with_redis = Spec(version=1, service="chat-api"), Spec(version=1, service="jobs-api", redis=RedisSpec())
    with pytest.raises(ConfigurationError, match="no spec has a `redis` part") as none:
        TestRedis(never_started, SpecSet((bare,))).prepare()
    assert "`redis: {}` in its db-access.yaml" in str(none.value)
    with pytest.raises(ConfigurationError, match="the spec of chat-api has no `redis` part"):
        TestRedis(never_started, SpecSet((bare, with_redis))).config(service="chat-api")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_an_interrupted_run(folder: Path, ending: signal.Signals) -> None:
    """Ctrl-C, and a kill: the servers end and their folder is gone."""
    (folder / "db-access.yaml").write_text(REDIS_SPEC)
    (folder / "test_service.py").write_text(
        "import time\n"
        "def test_slow(soa_db_redis_manager, soa_db_environment):\n"
        "    soa_db_redis_manager().set('chat-api:1', 1)\n"
        "    server = soa_db_environment.server('dev', 'redis')\n"
        "    print('running', server.pid, soa_db_environment.directory, flush=True)\n"
        "    time.sleep(300)\n"
    )
    with started(folder, "-s") as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("running"))
        _, pid, directory = line.split(maxsplit=2)
        assert processes.find(int(pid)) is not None
        process.send_signal(ending)
        process.communicate(timeout=60)
    eventually(lambda: processes.find(int(pid)) is None)
    eventually(lambda: not (Path(directory.strip()) / "state.json").exists())


def test_several_services_must_be_told_apart(server_folder: Path) -> None:
    """With one spec the service needs no name; with several it does."""
    from soa_db.access.spec import load_specs
    from soa_db.errors import ConfigurationError
    from soa_db.local.environment import LocalEnvironment
    from soa_db.testing.redis import TestRedis
    from soa_db.testing.server import TestServer

    specs = load_specs([ROOT / "examples"])
    never_started = LocalEnvironment(server_folder / "never-started")
    for server in (TestServer(never_started, specs), TestRedis(never_started, specs)):
        with pytest.raises(ConfigurationError, match="say which service is meant"):
            server.config()


def test_loading_the_plugin_loads_no_driver_and_no_server() -> None:
    """pytest imports it in every run where soa-db is installed: it must cost nothing there."""
    heavy = (
        "psycopg",
        "psycopg_pool",
        "redis",
        "botocore",
        "moto",
        "trustme",
        "pydantic",
        "yaml",
        "pymongo",
        "soa_db.local",
    )
    code = (
        f"import sys, soa_db.testing\nloaded = sorted(set(sys.modules) & set({heavy!r}))\nassert not loaded, loaded\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
