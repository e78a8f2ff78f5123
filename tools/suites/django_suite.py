"""Django's own tests, from its source distribution, through our back end and through Django's, on one embedded server.

Tests that fail through ours and pass through Django's, other than those listed in KNOWN with the reason, make it fail.
The counts are those that docs/django.md quotes.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import django
import psycopg
from psycopg import sql
from tools.suites.children import run_to_end

from soa_db.local.postgres import PostgresServer

ROOT = Path(__file__).resolve().parents[2]
USER = "django_suite"
# Seconds that the tests of one back end may take: they need some four minutes where nothing else runs.
TIMEOUT = 2400.0
DOWNLOAD_TIMEOUT = 300.0
# Debian's, which has ICU: some tests use its collations, and those of PyPI have none.
VERSION = 15
# What depends on the back end; the rest of Django's tests is about templates, forms, HTTP.
LABELS = """
aggregation annotations backends basic bulk_create cache.tests.DBCacheTests constraints custom_lookups
datatypes dates datetimes db_functions db_typecasts db_utils dbshell delete delete_regress distinct_on_fields
expressions expressions_case expressions_window field_defaults fixtures force_insert_update foreign_object
generic_relations get_or_create indexes inspectdb introspection invalid_models_tests json model_fields lookup
m2m_through many_to_many many_to_one migrate_signals migration_test_data_persistence migrations
multiple_database one_to_one ordering postgres_tests prefetch_related queries raw_query schema
select_for_update select_related servers sessions_tests test_runner test_utils timezones transaction_hooks
transactions update update_only_fields validation
"""
# Which tests (by how their names begin) fail through our back end only, and why that is as it should be.
_SETTINGS_OF_OTHERS = "it sets an option or a password that our settings refuse, and we say so"
_SETTINGS_AS_TEXT = "it writes DATABASES into a file as text, and this suite's has a PostgresConfig in it"
KNOWN = {
    "backends.postgresql.tests.Tests.test_client_encoding_utf8_enforce": _SETTINGS_OF_OTHERS,
    "backends.tests.BackendTestCase.test_unicode_password": _SETTINGS_OF_OTHERS,
    "backends.postgresql.tests.Tests.test_connect_pool": "it expects psycopg_pool's PoolTimeout, and gets ours",
    "backends.postgresql.tests.Tests.test_pooling_health_checks": "it expects a pool without a check, and ours has one "
    "that costs a comparison",
    "test_runner.tests.CustomTestRunnerOptions": _SETTINGS_AS_TEXT,
    "test_runner.tests.Ticket17477RegressionTests": _SETTINGS_AS_TEXT,
}

_SETTINGS = """\
{imports}
DATABASES = {{
    "default": {{"ENGINE": {engine!r}, **{entry}}},
    "other": {{"ENGINE": {engine!r}, **{entry}, "TEST": {{"NAME": "test_other"}}}},
}}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
"""
_OURS = """{"OPTIONS": {"config": PostgresConfig.from_env(instance_name="suite")}}"""
_BARE = """{"NAME": os.environ["PGDATABASE"], "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"],
    "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"]}"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        ran: how many tests.
        skipped: how many of them.
        expected_failures: how many of them.
        failed: their names.
        text: the end of the output, for who wants to know more.
    """

    ran: int
    skipped: int
    expected_failures: int
    failed: frozenset[str]
    text: str

    def __str__(self) -> str:
        passed = self.ran - self.skipped - self.expected_failures - len(self.failed)
        counts = f"{self.ran} ran: {passed} passed, {self.skipped} skipped, {self.expected_failures} failed as expected"
        return f"{counts}, {len(self.failed)} failed"


def download(folder: Path) -> Path:
    """Return the folder of Django's tests, of the version that is installed."""
    wanted = f"django=={django.get_version()}"
    options = ["--quiet", "--no-binary", "django", "--no-deps", "--no-build-isolation", "--dest", str(folder)]
    log = folder / "download.log"
    command = [sys.executable, "-m", "pip", "download", *options, wanted]
    if run_to_end(command, timeout=DOWNLOAD_TIMEOUT, cwd=folder, log=log) != 0:
        raise RuntimeError(f"Django's source was not downloaded:\n{log.read_text('utf-8', 'replace')[-4000:]}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz") / "tests"


def run_tests(
    tests: Path,
    settings: str,
    environment: dict[str, str],
    labels: Sequence[str],
    log: Path,
    *,
    within: float = TIMEOUT,
) -> Outcome:
    """Run Django's tests with these settings; raises DidNotEnd when they take longer than ``within`` seconds."""
    (tests / "soa_db_suite.py").write_text(settings, "utf-8")
    command = [sys.executable, "runtests.py", "--settings=soa_db_suite", "--parallel=1", "--noinput", *labels]
    # In the C locale, as Django's own CI has it: some tests read what psql and others print.
    variables = {**os.environ, **environment, "PYTHONPATH": f"{ROOT / 'src'}:{tests}", "PYTHONWARNINGS": ""}
    run_to_end(command, timeout=within, cwd=tests, log=log, env=variables)
    return read(log.read_text("utf-8", "replace"))


def read(text: str) -> Outcome:
    """Return what unittest's output says."""
    ran = re.search(r"^Ran (\d+) tests", text, re.MULTILINE)
    if ran is None:
        raise RuntimeError(f"the tests did not run:\n{text[-4000:]}")
    failed = re.findall(r"^(?:FAIL|ERROR): \S+ \(([\w.]+)", text, re.MULTILINE)

    def count(what: str) -> int:
        found = re.findall(rf"{what}=(\d+)", text)
        return int(found[-1]) if found else 0

    return Outcome(int(ran[1]), count("skipped"), count("expected failures"), frozenset(failed), text[-20000:])


def run(labels: Sequence[str] = ()) -> bool:
    """Run both, print the counts and what differs; return whether nothing does that is not known.

    Args:
        labels: what to run, as Django's ``runtests.py`` takes it; LABELS when left out.
    """
    with tempfile.TemporaryDirectory(prefix="soa-db-suite-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        tests = download(folder)
        password = secrets.token_hex(16)
        fast = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        server = PostgresServer(
            folder / "server", version=VERSION, master_password=secrets.token_hex(16), settings=fast
        )
        server.start()
        try:
            with psycopg.connect(server.superuser_conninfo, autocommit=True) as connection:
                # A superuser: django.contrib.postgres' tests make the extension bloom.
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(sql.Identifier(USER), password)
                )
                connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(USER)))
            environment = {
                "PGHOST": "127.0.0.1",
                "PGPORT": str(server.port),
                "PGDATABASE": USER,
                "PGUSER": USER,
                "PGPASSWORD": password,
                "PGSSLMODE": "disable",
            }
            outcomes: dict[str, Outcome] = {}
            for engine, entry, imports in (
                ("soa_db.django.postgresql", _OURS, "from soa_db import PostgresConfig"),
                ("django.db.backends.postgresql", _BARE, "import os"),
            ):
                settings = _SETTINGS.format(engine=engine, entry=entry, imports=imports)
                log = Path(tempfile.gettempdir()) / f"suite-of-{engine}.log"
                outcomes[engine] = run_tests(tests, settings, environment, labels or LABELS.split(), log)
                print(f"{engine}: {outcomes[engine]}  ({log})", flush=True)
        finally:
            server.remove()
    ours, bare = outcomes.values()
    worse = sorted(ours.failed - bare.failed)
    reasons = {test: next((KNOWN[name] for name in KNOWN if test.startswith(name)), None) for test in worse}
    for test, reason in reasons.items():
        print(f"only through ours: {test}: {reason or 'UNEXPLAINED'}")
    for test in sorted(bare.failed - ours.failed):
        print(f"only through Django's: {test}")
    return all(reasons.values())
