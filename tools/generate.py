"""Make, or with ``--check`` compare, every committed file that is made from another."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Modules with a function `generate(root)` that returns {path relative to the repository: content}, and the folders
# it owns entirely: files there that it does not return are orphans.
GENERATORS = ("tools.generate_sync", "tools.generate_schema")


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write the generated files, or report what is missing, stale or orphaned; 0 when all is well."""
    check = arguments == ["--check"]
    faults = 0
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    for generator in GENERATORS:
        files, owned = import_module(generator).generate(root)
        for name, content in files.items():
            path = root / name
            if path.exists() and path.read_text("utf-8") == content:
                continue
            faults += 1
            print(f"{'stale or missing' if check else 'written'}: {name}")
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, "utf-8")
        for folder in owned:
            for path in sorted((root / folder).rglob("*.py")):
                if path.relative_to(root).as_posix() not in files:
                    faults += 1
                    print(f"{'orphaned' if check else 'removed'}: {path.relative_to(root)}")
                    if not check:
                        path.unlink()
    if check and faults:
        print("run `make generate` and commit what it writes")
    return 1 if check and faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
