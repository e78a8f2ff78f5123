"""Whoever lacks an extra is told which, at the import that needs it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]

# To the import system the library is not there.
WITHOUT = """
import sys

class Without:
    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            return None
        return next(filter(None, (one.find_spec(name, path, target) for one in self.finders)), None)

sys.meta_path[:] = [Without(list(sys.meta_path))]
import soa_db

try:
    {statement}
except soa_db.MissingExtra as error:
    print(error.hint)
"""


def brought_by(extra: str) -> set[str]:
    """The distributions that an extra brings, those of the extras in it too; in lower case, with underscores."""
    found: set[str] = set()
    for requirement in DECLARED[extra]:
        name, extras = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", requirement).groups()  # type: ignore[union-attr]
        if name == "soa-db":
            found.update(*map(brought_by, extras.split(",")))
        else:
            found.add(name.lower().replace("-", "_"))
    return found


@pytest.mark.parametrize(
    ("statement", "missing", "distribution"),
    [
        ("import soa_db.access", "yaml", "pyyaml"),
        ("import soa_db.doctor", "yaml", "pyyaml"),
        ("import soa_db.asyncpg", "asyncpg", "asyncpg"),
        ("import soa_db.django", "django", "django"),
        ("import soa_db.django.cache", "django", "django"),
        ("import soa_db.django.cache", "redis", "redis"),
        ("import soa_db.django.postgresql.base", "psycopg", "psycopg"),
        ("import soa_db.fastapi", "fastapi", "fastapi"),
        ("import soa_db.health as h; h.django_urls(h.HealthChecks(service='x'))", "django", "django"),
        ("from soa_db.local.environment import LocalEnvironment as L; L('nowhere').up()", "moto", "moto"),
        ("import soa_db.logging", "structlog", "structlog"),
        ("import soa_db.mongo", "pymongo", "pymongo"),
        ("import soa_db.postgres", "psycopg", "psycopg"),
        ("import soa_db.postgres", "psycopg_pool", "psycopg_pool"),
        ("import soa_db.redis", "redis", "redis"),
        ("import soa_db.sqlalchemy", "sqlalchemy", "sqlalchemy"),
        ("import soa_db.telemetry as t; t.instrument()", "opentelemetry", "opentelemetry_api"),
    ],
)
def test_a_missing_library_is_told_with_the_extra_that_brings_it(
    statement: str, missing: str, distribution: str
) -> None:
    """And the line that installs it is one that pyproject.toml makes true."""
    code = WITHOUT.format(missing=missing, statement=statement)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    named = re.fullmatch(r"pip install 'soa-db\[([\w,]+)\]'\n", ran.stdout)
    assert named is not None, ran.stderr
    assert distribution in set().union(*map(brought_by, named[1].split(",")))
