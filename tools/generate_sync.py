"""Make ``src/soa_db/_sync`` from ``src/soa_db/_async``: unasync for the tokens, ruff for the form, and our checks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import tokenize_rt
import unasync

SOURCE = "src/soa_db/_async"
TARGET = "src/soa_db/_sync"
HEADER = "# Generated from {source} by tools/generate_sync.py: edit that file, then run `make generate`.\n"

# Beyond the rules in `blocking_name`; unasync itself knows `__aenter__`, `asynccontextmanager`, `AsyncIterator` ….
NAMES = {
    "_async": "_sync",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "aclose": "close",
    "aclosing": "closing",
    "aconnect": "connect",
    "aiter": "iter",
    "anext": "next",
    "asynchronous": "synchronous",  # pymongo's two packages
    "enter_async_context": "enter_context",
    "push_async_callback": "callback",
    "push_async_exit": "push",
}
_ASYNC_NODES = (ast.AsyncFor, ast.AsyncFunctionDef, ast.AsyncWith, ast.Await)


class GenerationError(Exception):
    """A source in ``_async`` cannot be turned into blocking code; the message starts with ``file:line:``."""


def blocking_name(name: str) -> str:
    """``AsyncX`` → ``X``, ``aload_x`` → ``load_x``, and the names listed above; any other name stays."""
    if name in NAMES:
        return NAMES[name]
    if re.match(r"Async[A-Z]", name):
        return name.removeprefix("Async")
    if name.startswith("aload_"):
        return name.removeprefix("a")
    return name


class _Rule(unasync.Rule):  # type: ignore[misc]  # unasync has no types
    def __init__(self) -> None:
        super().__init__(SOURCE, TARGET)

    def _unasync_name(self, name: str) -> str:
        changed = blocking_name(name)
        return changed if changed != name else str(super()._unasync_name(name))

    def text(self, source: str) -> str:
        tokens = self._unasync_tokens(tokenize_rt.src_to_tokens(source))
        return str(tokenize_rt.tokens_to_src(tokens))


def _check_source(path: str, tree: ast.Module, rule: _Rule) -> None:
    """Refuse what comes out differently by Python version: 3.11's tokenizer does not look into f-strings."""
    for string in ast.walk(tree):
        if not isinstance(string, ast.JoinedStr):
            continue
        for node in ast.walk(string):
            match node:
                case ast.Await():
                    raise GenerationError(f"{path}:{node.lineno}: await in an f-string: give the value a name first")
                case ast.Name(id=name) | ast.Attribute(attr=name) if rule._unasync_name(name) != name:  # noqa: SLF001
                    raise GenerationError(
                        f"{path}:{node.lineno}: {name} in an f-string would not be renamed: give the value a name first"
                    )


def _check_result(path: str, text: str) -> None:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise GenerationError(
            f"{path}:{error.lineno}: what is generated from it does not parse: {error.msg}"
        ) from error
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(alias.name.split(".")[0] == "asyncio" for alias in names):
                raise GenerationError(f"{path}:{node.lineno}: imports asyncio: use soa_db._runtime")
            case ast.ImportFrom(module=module) if (module or "").split(".")[0] == "asyncio":
                raise GenerationError(f"{path}:{node.lineno}: imports asyncio: use soa_db._runtime")
            case ast.comprehension(is_async=1):
                raise GenerationError(f"{path}: an asynchronous comprehension is left in what is generated from it")
            case node if isinstance(node, _ASYNC_NODES):
                raise GenerationError(f"{path}:{node.lineno}: {type(node).__name__} is left in what is generated")


def _ruff(root: Path, text: str, *arguments: str) -> str:
    config = ["--config", str(root / "pyproject.toml")] if (root / "pyproject.toml").exists() else ["--isolated"]
    command = [sys.executable, "-m", "ruff", *arguments, *config, "--quiet", "--stdin-filename", "generated.py", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=root).stdout


def blocking(path: str, source: str, root: Path) -> str:
    """Return the blocking form of one asynchronous source; raises GenerationError naming ``path`` and a line."""
    rule = _Rule()
    _check_source(path, ast.parse(source), rule)
    text = rule.text(source)
    _check_result(path, text)
    text = _ruff(root, text, "check", "--fix-only", "--select", "I")
    return HEADER.format(source=path) + "\n" + _ruff(root, text, "format")


def generate(root: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the content of every file of ``_sync``, and that folder as owned entirely."""
    files = {}
    for path in sorted((root / SOURCE).rglob("*.py")):
        inside = path.relative_to(root / SOURCE).as_posix()
        text = path.read_text("utf-8")
        files[f"{TARGET}/{inside}"] = blocking(f"{SOURCE}/{inside}", text, root)
    return files, (TARGET,)
