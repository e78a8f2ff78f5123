"""Install the servers the tests need beyond what pip brings: on Debian, with apt; elsewhere, say what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

NEEDED: dict[str, Callable[[], bool]] = {
    "postgresql-15": lambda: Path("/usr/lib/postgresql/15/bin/postgres").exists(),
    "pgbouncer": lambda: shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin") is not None,
    "redis-server": lambda: shutil.which("redis-server") is not None,
}


def main() -> int:
    """Return 0 when every server is there; 1, with what to install, when one is not."""
    missing = [package for package, there in NEEDED.items() if not there()]
    if not missing:
        return 0
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"the tests need {', '.join(missing)}: install them with your package manager, e.g.", file=sys.stderr)
        print(f"  sudo apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Debian starts what it installs; the tests start their own.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        subprocess.run(["apt-get", "update", "-q"], env=environment, check=True, stdout=subprocess.DEVNULL)
        command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    finally:
        if ours:
            policy.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
