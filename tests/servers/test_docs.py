"""The examples of README and docs/ run: Python blocks as they stand, ``console`` blocks through the real command.

The blocks of one page share one namespace and run in their order, in the local environment with the seven services of
``examples/`` provisioned. A ``yaml`` block whose first line names ``db-access.yaml`` becomes that file, a ``python``
block whose first line is the name of a file that one; ``python manage.py`` is Django's. Blocks fenced as ``sh`` are for
real AWS or a person's shell and are not run.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt
from tests.support.logs import untouched

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

# The name of a file as the first line of a block.
_FILE = re.compile(r"# ([\w/]+\.py)\n")
ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page: Path) -> list[tuple[str, str, int]]:
    """Language, text and first line of each fenced block that is to be run."""
    tokens = MarkdownIt().parse(page.read_text("utf-8"))
    found = [(t.info.strip(), t.content, (t.map or [0])[0] + 2) for t in tokens if t.type == "fence"]
    return [block for block in found if block[0] in {"python", "console", "yaml"}]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    with untouched():
        yield


@pytest.fixture(scope="module")
def provisioned(local_env: LocalEnvironment) -> dict[str, str]:
    """The environment variables of a person's shell after ``local env``, with every service provisioned."""
    variables = {**os.environ, **local_env.exports(), "PYTHONPATH": str(ROOT / "src")}
    for env in ("dev", "mirror"):
        command = ["provision", "--env", env, "--specs", "examples"]
        subprocess.run([sys.executable, "-m", "soa_db", *command], cwd=ROOT, env=variables, check=True)
    return variables


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(
    page: Path, provisioned: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a reader copies works, in the order of the page."""
    for name, value in provisioned.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for name, value in {"APP_ENV": "dev", "DJANGO_SETTINGS_MODULE": "settings"}.items():
        monkeypatch.setenv(name, value)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for language, text, line in _blocks(page):
        where = f"{page.name}:{line}"
        if language == "yaml":
            if text.startswith("# db-access.yaml"):
                Path("db-access.yaml").write_text(text, "utf-8")
            continue
        if language == "python" and (named := _FILE.match(text)):
            Path(named[1]).parent.mkdir(parents=True, exist_ok=True)
            for package in Path(named[1]).parents[:-1]:
                (package / "__init__.py").touch()
            Path(named[1]).write_text(text, "utf-8")
            continue
        if language == "python":
            # Padding makes tracebacks show the line of the page.
            exec(compile("\n" * (line - 1) + text, str(page), "exec"), namespace)
            continue
        for command in filter(None, (row.partition("  #")[0].strip() for row in text.splitlines())):
            program, *arguments = shlex.split(command)
            if program == "python" and arguments[0] == "manage.py":
                module, arguments = "django", arguments[1:]
            elif program == "soa-db" and arguments[:1] != ["local"]:
                module = "soa_db"
            else:
                continue  # `make` runs by itself in CI; the environment is already up
            run = subprocess.run(
                [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False
            )
            assert run.returncode == 0, f"{where}: {command}\n{run.stdout}\n{run.stderr}"
