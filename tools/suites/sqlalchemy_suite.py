"""SQLAlchemy's dialect suite (``sqlalchemy.testing.suite``): on its own psycopg dialects and through ours.

Four runs on one server as one user, the owner of a provisioned database: bare psycopg, and ours by URL, by URL
asynchronously, and on a provider's pool. A test that fails with bare psycopg too is not ours to mend; one that fails
through ours alone is.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.suites.children import DidNotEnd, run_to_end

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "suite"
SPEC = f"""
version: 1
service: {SERVICE}
postgres:
  databases:
    - schemas: [public, test_schema, test_schema_2]
"""
CONFTEST = """
import pytest
import tools.suites.sqlalchemy_dialect
pytest.register_assert_rewrite("sqlalchemy.testing.assertions")
from sqlalchemy.testing.plugin.pytestplugin import *
tools.suites.sqlalchemy_dialect.adopt_hooks()
"""
SETTINGS = """
[sqla_testing]
requirement_cls = tools.suites.sqlalchemy_requirements:Requirements
profile_file = profiles.txt
"""
# Seconds that one form may take: each needs some two minutes where nothing else runs.
TIMEOUT = 1200
# pytest-randomly would tear the suite's class-wide tables apart; the others have no business there.
OPTIONS = ["-q", "--tb=short", "-p", "no:randomly", "-p", "no:asyncio", "-p", "no:valkey", "-p", "no:cacheprovider"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run gave: the tests by how they ended; none when it came to no end."""

    passed: frozenset[str]
    failed: frozenset[str]
    skipped: frozenset[str]


def run() -> bool:
    """Run the suite in every form; return whether none fails where bare psycopg passes."""
    from soa_db.access import apply, load_specs
    from soa_db.local.environment import LocalEnvironment
    from soa_db.postgres import load_postgres_config_from_aws

    with tempfile.TemporaryDirectory(prefix="soa-db-suite-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server's user passes through
        (folder / "conftest.py").write_text(CONFTEST, "utf-8")
        (folder / "setup.cfg").write_text(SETTINGS, "utf-8")
        (folder / "test_suite.py").write_text("from sqlalchemy.testing.suite import *\n", "utf-8")
        (folder / "db-access.yaml").write_text(SPEC, "utf-8")
        with LocalEnvironment(folder / "environment") as environment:
            variables = {**environment.exports(), "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
            os.environ.update(variables)
            apply(load_specs([folder / "db-access.yaml"]), env="dev", engines=("postgres",))
            config = load_postgres_config_from_aws(env="dev", service=SERVICE, role="owner")
            query = f"{SERVICE}/?env=dev&role=owner"
            # The bare run's password is asked for where the others ask: no URL, and so no process list, holds it.
            forms = {
                "bare psycopg": f"soa_db+bare://{config.host}:{config.port}/{config.database}",
                "by URL": f"soa_db+psycopg://{query}",
                "by URL, asyncio": f"soa_db+psycopg_async://{query}",
                "on a provider": f"soa_db+suite_provider://{SERVICE}",
            }
            outcomes: dict[str, Outcome | None] = {}
            for form, url in forms.items():
                start = time.monotonic()
                outcomes[form] = _outcome(folder, url)
                print(f"{form}: {time.monotonic() - start:.0f} s", flush=True)
    return _report(outcomes)


def _outcome(folder: Path, url: str, timeout: float = TIMEOUT) -> Outcome | None:
    """Run one form; None, and the end of its log is printed, when it does not come to an end."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)  # the one of the form before
    command = [sys.executable, "-m", "pytest", *OPTIONS, f"--junitxml={report}", "--dburi", url, "test_suite.py"]
    log = folder / "log.txt"
    try:
        code = run_to_end(command, timeout=timeout, cwd=folder, log=log)
    except DidNotEnd as error:
        print(error)
        return None
    if code not in {0, 1}:
        print(log.read_text("utf-8", "replace")[-4000:])
        print(f"pytest ended with {code}")
        return None
    ended: dict[str, set[str]] = {"passed": set(), "failed": set(), "skipped": set()}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest's own
        # The dialect's name is part of the classes' names, `SomeTest_postgresql+psycopg_15_18`.
        name = f"{case.get('classname', '').partition('_postgresql')[0]}::{case.get('name')}"
        children = {child.tag for child in case}
        how = "failed" if children & {"failure", "error"} else "skipped" if "skipped" in children else "passed"
        ended[how].add(name)
    return Outcome(*(frozenset(ended[how]) for how in ("passed", "failed", "skipped")))


def _report(outcomes: Mapping[str, Outcome | None]) -> bool:
    bare = outcomes["bare psycopg"]
    if bare is None:
        print("nothing to compare with: bare psycopg's run came to no end")
        return False
    print(f"{'':18} {'passed':>7} {'failed':>7} {'skipped':>8}  fails here, not on bare psycopg")
    good = True
    for form, outcome in outcomes.items():
        if outcome is None:
            good = False
            print(f"{form:18} came to no end", flush=True)
            continue
        ours = outcome.failed - bare.failed
        good = good and not ours
        print(
            f"{form:18} {len(outcome.passed):7} {len(outcome.failed):7} {len(outcome.skipped):8}  {len(ours)}",
            flush=True,
        )
        for name in sorted(ours):
            print(f"  {name}")
    print("fails on bare psycopg too:")
    for name in sorted(bare.failed):
        print(f"  {name}")
    return good
