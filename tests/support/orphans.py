"""What becomes of a server whose parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.postgres import eventually

from soa_db.local import processes

if TYPE_CHECKING:
    from soa_db.local.mongo import MongoServer
    from soa_db.local.redis import RedisServer

_SCRIPT = """
    import importlib, sys
    from pathlib import Path
    module, name, folder, follow = sys.argv[1:]
    server = getattr(importlib.import_module(module), name)(Path(folder), die_with_parent=follow == "yes")
    server.start()
    print(server.pid, flush=True)
    sys.stdin.read()
"""


def check_orphans(kind: type[RedisServer | MongoServer], folder: Path) -> None:
    """One that follows its parent ends with it, however that ends; another is found by the next in its folder."""
    folders = {follow: folder / f"{kind.__name__}-orphan-{follow}" for follow in ("yes", "no")}
    pids = {}
    for follow, place in folders.items():
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_SCRIPT), kind.__module__, kind.__name__, str(place), follow],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        ) as parent:
            assert parent.stdout is not None
            pids[follow] = int(parent.stdout.readline())
            parent.send_signal(signal.SIGKILL)
    successor, gone = kind(folders["no"]), kind(folders["yes"])
    try:
        eventually(lambda: processes.find(pids["yes"]) is None)
        assert processes.find(pids["no"]) is not None
        successor.start()
        assert processes.find(pids["no"]) is None
    finally:
        successor.remove()
        gone.remove()
