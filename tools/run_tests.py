"""Run every test, with branch coverage over `src`; what `make test` calls.

Most tests wait for servers. So the whole runs as three processes side by side, two of them quietly: their output
follows when the first has ended. With arguments (files, options of pytest) it is one plain run.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVERS = "tests/servers"
# What runs where is of much the same length; a folder added to tests/ falls to the first.
FIRST = ("tests/servers/mongo_access", "tests/servers/redis_access")
THIRD = ("tests/faults", "tests/integrations", "tests/servers/access", "tests/servers/verify")


def parts() -> tuple[list[str], list[str], list[str]]:
    """Return what each of the processes runs: together, every folder of tests/ once."""
    folders = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").iterdir() if path.is_dir())
    others = [
        folder for folder in folders if folder not in {SERVERS, *THIRD} and any((ROOT / folder).rglob("test_*.py"))
    ]
    elsewhere = [f"--ignore={folder}" for folder in (*FIRST, *THIRD) if folder.startswith(SERVERS)]
    return [*others, *FIRST], [SERVERS, *elsewhere], [*THIRD]


def pytest(arguments: list[str]) -> list[str]:
    """Return the command of one run under coverage."""
    return [sys.executable, "-m", "coverage", "run", "-m", "pytest", *arguments]


def run(arguments: list[str], environment: dict[str, str]) -> int:
    """Run pytest once, or without arguments in three processes; the exit code is the worse one."""
    if arguments:
        return subprocess.run(pytest(arguments), cwd=ROOT, env=environment, check=False).returncode
    # What takes longest is listed: the whole must stay under 20 minutes.
    loud, *quiet = (["--durations=15", *part] for part in parts())
    with contextlib.ExitStack() as stack:
        beside = []
        for part in quiet:
            output = stack.enter_context(tempfile.TemporaryFile())
            child = subprocess.Popen(
                pytest(part),
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
            stack.callback(child.wait)
            stack.callback(child.terminate)
            beside.append((child, output))
            print(f"beside this run, its output at the end: {' '.join(part)}", flush=True)
        code = subprocess.run(pytest(loud), cwd=ROOT, env=environment, check=False).returncode
        for child, output in beside:
            code = child.wait() or code
            output.seek(0)
            sys.stdout.write(output.read().decode(errors="replace"))
            sys.stdout.flush()
    return code


def main(arguments: list[str]) -> int:
    """Run pytest under coverage (child processes included) and demand the bar; the exit code is the run's."""
    environment = {**os.environ, "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml")}
    python = sys.executable
    code = run(arguments, environment)
    subprocess.run([python, "-m", "coverage", "combine", "--quiet"], cwd=ROOT, check=False)
    bar = ["--fail-under=95"] if not arguments else []
    report = subprocess.run([python, "-m", "coverage", "report", *bar], cwd=ROOT, check=False)
    return code or report.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
