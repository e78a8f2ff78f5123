"""Make, or with ``--check`` compare, every committed file that is made from another."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Each entry returns {path relative to the repository: content}, and the folders it owns entirely: files there
# that it does not return are orphans.
Generator = Callable[[Path], tuple[dict[str, str], tuple[str, ...]]]
GENERATORS: list[Generator] = []


def main(arguments: list[str]) -> int:
    """Write the generated files, or report what is missing, stale or orphaned; 0 when all is well."""
    check = arguments == ["--check"]
    faults = 0
    for generator in GENERATORS:
        files, owned = generator(ROOT)
        for name, content in files.items():
            path = ROOT / name
            if path.exists() and path.read_text("utf-8") == content:
                continue
            faults += 1
            print(f"{'stale or missing' if check else 'written'}: {name}")
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, "utf-8")
        for folder in owned:
            for path in sorted((ROOT / folder).rglob("*.py")):
                if path.relative_to(ROOT).as_posix() not in files:
                    faults += 1
                    print(f"{'orphaned' if check else 'removed'}: {path.relative_to(ROOT)}")
                    if not check:
                        path.unlink()
    if check and faults:
        print("run `make generate` and commit what it writes")
    return 1 if check and faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
