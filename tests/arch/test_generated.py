"""`_sync` is made from `_async`, completely and by nothing else."""

import importlib
import inspect
import shutil
from pathlib import Path

import pytest
from tools import generate, generate_sync

ROOT = Path(generate.__file__).resolve().parent.parent


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with one asynchronous module and what is generated from it."""
    source = tmp_path / generate_sync.SOURCE
    source.mkdir(parents=True)
    (source / "one.py").write_text("async def aload_one(x: object) -> object:\n    return await x\n")
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0
    return tmp_path


@pytest.fixture(autouse=True)
def only_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other generators have tests of their own."""
    monkeypatch.setattr(generate, "GENERATORS", ("tools.generate_sync",))


def test_a_changed_file_is_found(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody edited a generated file by hand."""
    with (tree / generate_sync.TARGET / "one.py").open("a") as file:
        file.write("# by hand\n")
    assert generate.main(["--check"], tree) == 1
    assert "stale or missing: src/soa_db/_sync/one.py" in capsys.readouterr().out


def test_a_missing_file_is_found(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody added a source and forgot to generate."""
    (tree / generate_sync.SOURCE / "two.py").write_text("X = 1\n")
    assert generate.main(["--check"], tree) == 1
    assert "stale or missing: src/soa_db/_sync/two.py" in capsys.readouterr().out


def test_an_orphaned_file_is_found_and_removed(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody removed a source and left what was generated from it."""
    (tree / generate_sync.SOURCE / "one.py").unlink()
    assert generate.main(["--check"], tree) == 1
    assert "orphaned: src/soa_db/_sync/one.py" in capsys.readouterr().out
    assert generate.main([], tree) == 0
    assert not (tree / generate_sync.TARGET / "one.py").exists()


def test_names_and_keywords_become_blocking_ones() -> None:
    """The naming rule of the house, and the header that says where to edit."""
    source = (
        "from soa_db._async.aws import AsyncAwsClients\n"
        "from soa_db._runtime._async import Lock\n"
        '__all__ = ["AsyncAwsClients", "aload_x"]\n'
        "async def aload_x(aws: AsyncAwsClients, lock: Lock) -> None:\n"
        "    async with lock:\n"
        "        await aws.aclose()\n"
    )
    text = generate_sync.blocking("src/soa_db/_async/x.py", source, ROOT)
    assert text.startswith("# Generated from src/soa_db/_async/x.py by tools/generate_sync.py")
    assert "from soa_db._sync.aws import AwsClients\n" in text
    assert "from soa_db._runtime._sync import Lock\n" in text
    assert '__all__ = ["AwsClients", "load_x"]' in text
    assert "def load_x(aws: AwsClients, lock: Lock) -> None:\n    with lock:\n        aws.close()\n" in text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("async def f(x):\n    return f'{await x}'\n", "x.py:2: await in an f-string"),
        ("def f():\n    return f'{AsyncThing}'\n", "x.py:2: AsyncThing in an f-string"),
        ("import asyncio\n", "imports asyncio"),
        ("from asyncio import sleep\n", "imports asyncio"),
        ("async def f(x):\n    await(x) + 1\n", "does not parse"),
    ],
)
def test_what_cannot_be_turned_is_refused_by_file_and_line(source: str, words: str) -> None:
    """Python 3.11 leaves await in f-strings, and blocking code has no use for asyncio."""
    with pytest.raises(generate_sync.GenerationError, match=r"^x\.py:\d+: ") as caught:
        generate_sync.blocking("x.py", source, ROOT)
    assert words in str(caught.value)


def test_the_two_runtimes_have_the_same_face() -> None:
    """A shell may call only what both have, with the same parameters."""
    names = {}
    for kind in ("_async", "_sync"):
        module = importlib.import_module(f"soa_db._runtime.{kind}")
        names[kind] = {
            f"{name}.{member}": list(inspect.signature(method).parameters)
            for name in module.__all__
            if inspect.isclass(getattr(module, name)) and name != "Lock"
            for member, method in inspect.getmembers(getattr(module, name), inspect.isfunction)
            if not member.startswith("_")
        } | {
            name: list(inspect.signature(getattr(module, name)).parameters)
            for name in module.__all__
            if inspect.isfunction(getattr(module, name))
        }
    assert names["_async"] == names["_sync"]


def test_what_is_committed_is_what_a_second_copy_generates(tmp_path: Path) -> None:
    """Generation depends on the sources alone, and the test run alone finds what is out of date."""
    shutil.copytree(ROOT / generate_sync.SOURCE, tmp_path / generate_sync.SOURCE)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    committed = {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
        for path in (ROOT / generate_sync.TARGET).rglob("*.py")
    }
    assert generate_sync.generate(tmp_path)[0] == committed
