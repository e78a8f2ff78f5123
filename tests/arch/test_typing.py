"""The typing files name everything that is public, so that a new name cannot be forgotten there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "typing"
FACES = [
    "access",
    "alembic",
    "asyncpg",
    "aws",
    "databases",
    "django",
    "fastapi",
    "health",
    "logging",
    "mongo",
    "names",
    "postgres",
    "redis",
    "sqlalchemy",
    "telemetry",
    "testing",
]


def used_in(file: Path) -> set[str]:
    """Names that are imported or reached by attribute."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.ImportFrom(names=names):
                found |= {alias.name for alias in names}
            case ast.Attribute(attr=name):
                found.add(name)
    return found


@pytest.mark.parametrize("face", [*FACES, "root"])
def test_every_public_name_is_in_its_typing_file(face: str) -> None:
    """mypy and basedpyright read these files in `make check`."""
    module = importlib.import_module("soa_db" if face == "root" else f"soa_db.{face}")
    assert set(module.__all__) - used_in(FOLDER / f"{face}.py") == set()


def test_every_typing_file_is_of_a_public_face() -> None:
    """One that is renamed takes its file along."""
    assert {file.stem for file in FOLDER.glob("*.py")} == {*FACES, "root"}
