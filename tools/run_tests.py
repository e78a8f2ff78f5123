"""Run every test, with branch coverage over `src`; what `make test` calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Run pytest under coverage (child processes included) and demand the bar; the exit code is the run's."""
    python = sys.executable
    environment = {**os.environ, "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml")}
    run = subprocess.run(
        [python, "-m", "coverage", "run", "-m", "pytest", *arguments], cwd=ROOT, env=environment, check=False
    )
    subprocess.run([python, "-m", "coverage", "combine", "--quiet"], cwd=ROOT, check=False)
    bar = ["--fail-under=95"] if not arguments else []
    report = subprocess.run([python, "-m", "coverage", "report", *bar], cwd=ROOT, check=False)
    return run.returncode or report.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
