"""Imports cost nothing before they are needed: no driver, no AWS library, no thread."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
HEAVY = (
    "asyncio",
    "botocore",
    "boto3",
    "logging",
    "psycopg",
    "psycopg_pool",
    "pydantic",
    "pymongo",
    "redis",
    "structlog",
    "urllib3",
)


def loaded_by(statement: str) -> dict[str, list[str]]:
    """What a fresh interpreter has loaded, and its threads, after a statement."""
    code = f"import sys, json; sys.path.insert(0, {str(SOURCE)!r})\n{statement}\n"
    code += "import threading\n"
    code += "print(json.dumps({'modules': sorted(sys.modules), 'threads': [t.name for t in threading.enumerate()]}))"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import soa_db", HEAVY),
        ("from soa_db import SoaDbError, AccessDenied, Env, __version__", HEAVY),
        ("import soa_db.names", HEAVY),
        ("import soa_db.aws", ("botocore", "boto3", "psycopg", "pydantic", "urllib3")),
        ("import soa_db.aws; soa_db.aws.AwsClients(region='us-west-2')", ("botocore", "boto3", "urllib3")),
        ("import soa_db.postgres", ("botocore", "boto3", "redis", "urllib3")),
        ("import soa_db.redis", ("botocore", "boto3", "psycopg", "psycopg_pool", "pydantic", "urllib3")),
        ("import soa_db.mongo", ("botocore", "boto3", "psycopg", "pydantic", "redis", "urllib3")),
        ("import soa_db.logging", ("botocore", "opentelemetry", "psycopg", "pydantic", "redis", "soa_db.postgres")),
        (
            "import soa_db.databases",
            ("botocore", "boto3", "psycopg", "pydantic", "pymongo", "redis", "urllib3", "yaml"),
        ),
        ("import soa_db.fastapi", ("botocore", "boto3", "psycopg", "pymongo", "redis", "urllib3", "yaml")),
        ("import soa_db.asyncpg", ("botocore", "boto3", "psycopg", "psycopg_pool", "pydantic", "urllib3")),
        (
            "from soa_db.health import *",
            ("botocore", "django", "fastapi", "flask", "psycopg", "pydantic", "pymongo", "redis", "urllib3"),
        ),
        ("import soa_db.doctor", ("botocore", "psycopg", "psycopg_pool", "pymongo", "redis", "urllib3")),
        (
            "import soa_db.telemetry",
            ("asyncio", "botocore", "opentelemetry", "psycopg", "pydantic", "pymongo", "redis"),
        ),
        ("import soa_db.sqlalchemy", ("botocore", "boto3", "redis", "pymongo", "alembic")),
        ("import soa_db.alembic", ("alembic", "botocore", "psycopg", "pydantic", "sqlalchemy")),
        ("import soa_db.django", ("botocore", "boto3", "psycopg", "pydantic", "redis", "urllib3")),
        ("from soa_db import MongoConfig", ("asyncio", "botocore", "pymongo", "soa_db.config.redis", "ssl")),
        ("from soa_db import RedisConfig", ("asyncio", "botocore", "psycopg", "redis", "soa_db.config.postgres")),
    ],
)
def test_an_import_loads_only_what_it_needs(statement: str, absent: tuple[str, ...]) -> None:
    """Each of the libraries costs between 80 and 180 ms; no import of ours starts a thread."""
    found = loaded_by(statement)
    assert [name for name in absent if name in found["modules"]] == []
    assert found["threads"] == ["MainThread"]


@pytest.mark.parametrize(
    "module",
    [
        "soa_db",
        "soa_db.alembic",
        "soa_db.asyncpg",
        "soa_db.aws",
        "soa_db.config",
        "soa_db.databases",
        "soa_db.django",
        "soa_db.doctor",
        "soa_db.fastapi",
        "soa_db.health",
        "soa_db.logging",
        "soa_db.mongo",
        "soa_db.names",
        "soa_db.postgres",
        "soa_db.redis",
        "soa_db.sqlalchemy",
        "soa_db.telemetry",
    ],
)
def test_a_public_face_lists_exactly_what_it_gives(module: str) -> None:
    """What is in `__all__` is there, once, and a star import works, lazily or not."""
    face = importlib.import_module(module)
    assert len(set(face.__all__)) == len(face.__all__)
    for name in face.__all__:
        assert getattr(face, name) is not None


def test_an_unknown_name_of_the_root_is_an_attribute_error() -> None:
    """The lazy root behaves like a module, for `hasattr` and for `dir`."""
    import soa_db

    assert not hasattr(soa_db, "nonsense")
    assert set(soa_db.__all__) == set(dir(soa_db))
