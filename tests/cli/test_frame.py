"""The frame of the command line: what it loads, its exit codes, how errors and interrupts are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from soa_db.cli import main
from soa_db.cli.run import ExitCode, Invocation, run
from soa_db.cli.terminal import Terminal, printable
from soa_db.errors import ConfigurationError, ServerUnavailable

ROOT = Path(__file__).resolve().parents[2]


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new interpreter that finds this source tree."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def failing(error: BaseException) -> click.Command:
    """Make a command that raises ``error``."""

    @click.command()
    @click.option("--debug", is_flag=True)
    @click.pass_context
    def command(context: click.Context, *, debug: bool) -> None:
        context.ensure_object(Invocation).debug = debug
        raise error

    return command


def test_help_loads_no_driver_and_no_aws_library() -> None:
    """`soa-db --help` starts at once: nothing that talks to a server is imported for it."""
    heavy = ("psycopg", "psycopg_pool", "botocore", "moto", "trustme", "pydantic", "rich", "yaml")
    done = python(
        "import sys\nfrom soa_db.cli import main\ncode = main(['--help'])\n"
        f"loaded = sorted(set(sys.modules) & set({heavy!r}))\nassert not loaded, loaded\nsys.exit(code)"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Exit codes" in done.stdout
    assert done.stdout.index("  plan ") < done.stdout.index("  provision ") < done.stdout.index("  demo ")
    assert "..." not in done.stdout.partition("Commands:")[2]


def test_version_is_told() -> None:
    """`--version` names the program and its version on stdout."""
    done = python("import sys; from soa_db.cli import main; sys.exit(main(['--version']))")
    assert done.returncode == 0
    assert done.stdout.startswith("soa-db, version ")


def test_without_click_the_entry_says_how_to_install_it() -> None:
    """A library-only install of the command ends with one hint and exit code 1, not with a traceback."""
    done = python("import sys; sys.modules['click'] = None\nfrom soa_db.cli import main; sys.exit(main(['--help']))")
    assert done.returncode == ExitCode.FAILED
    assert "pip install 'soa-db[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["no-such-command"], ["--no-such-option"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be parsed is wrong usage: 2, told on stderr."""
    assert main(arguments) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert arguments[0] in captured.err


def test_typed_error_shows_what_was_tried_and_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    """Message, context and hint stand on lines of their own, without a traceback."""
    error = ServerUnavailable("the server is down", hint="start it", env="dev", host="db:5432")
    assert run(failing(error), "soa-db", []) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert captured.err == "soa-db: the server is down\n  env: dev\n  host: db:5432\n  hint: start it\n"
    assert captured.out == ""


def test_every_error_of_a_group_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception group shows each of its errors."""
    group = ExceptionGroup("two", [ServerUnavailable("one is down"), ConfigurationError("other is wrong")])
    assert run(failing(group), "soa-db", []) == ExitCode.FAILED
    assert capsys.readouterr().err == "soa-db: one is down\nsoa-db: other is wrong\n"


def test_unexpected_error_hides_its_text_and_debug_shows_it_scrubbed(capsys: pytest.CaptureFixture[str]) -> None:
    """A foreign library's text may hold a secret: not shown by default, masked with --debug."""
    error = RuntimeError(
        'bad dsn "postgresql://u:c4nary@db/x" password=c4nary X-Amz-Signature=c4nary&x PASSWORD="c4nary"'
    )
    assert run(failing(error), "soa-db", []) == ExitCode.FAILED
    plain = capsys.readouterr().err
    assert "unexpected RuntimeError at" in plain
    assert "dsn" not in plain
    assert run(failing(error), "soa-db", ["--debug"]) == ExitCode.FAILED
    debug = capsys.readouterr().err
    assert "Traceback" in debug
    assert "postgresql://u:***@db/x" in debug
    assert "c4nary" not in plain + debug


def test_missing_library_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    """A command whose library is missing says which extra brings it."""
    assert run(failing(ModuleNotFoundError("x", name="moto.server")), "soa-db", []) == ExitCode.FAILED
    assert "pip install 'soa-db[local]'" in capsys.readouterr().err


def test_file_errors_name_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be opened is named, without a traceback."""
    error = FileNotFoundError(2, "No such file or directory", str(tmp_path / "x"))
    assert run(failing(error), "soa-db", []) == ExitCode.FAILED
    assert capsys.readouterr().err == f"soa-db: No such file or directory: {tmp_path / 'x'}\n"


def test_debug_may_stand_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The group takes --debug too."""
    assert main(["--debug", "no-such-command"]) == ExitCode.USAGE
    assert "no-such-command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), ExitCode.INTERRUPTED), (EOFError(), ExitCode.FAILED), (SystemExit(7), 7)],
)
def test_endings_have_their_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is 130; a question without an answer fails; an explicit exit keeps its code. No traceback."""
    assert run(failing(error), "soa-db", []) == code
    assert "Traceback" not in capsys.readouterr().err


def test_interrupted_while_it_loads_it_says_so_and_no_more() -> None:
    """Ctrl-C in the first moment, while modules are still being imported."""
    done = python(
        "import sys, importlib.abc\n"
        "class Interrupt(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'click': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from soa_db.cli import main; sys.exit(main(['--help']))"
    )
    assert (done.returncode, done.stderr) == (ExitCode.INTERRUPTED, "\nsoa-db: interrupted\n")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [("local status", 1), ("plan", 2), ("--version", 0)])
def test_closed_streams_change_no_exit_code(tmp_path: Path, closed: str, arguments: str, code: int) -> None:
    """Whoever closes stdout or stderr wants no words, and gets the same answer."""
    program = f"{sys.executable} -m soa_db {arguments} {closed}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(["sh", "-c", program], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (code, b"")
    assert b"unexpected" not in done.stderr


def test_a_stream_of_few_characters_spells_out_the_others() -> None:
    """An arrow or a name that the encoding lacks ends no run; what is JSON stays JSON."""
    code = (
        "import click, sys; from types import ModuleType; from soa_db.cli import entry\n"
        "from soa_db.cli.terminal import Terminal\n"
        "@click.command()\n"
        "def command():\n"
        "    Terminal().json({'name': 'Ch\u00e4t \U0001f600'}); Terminal().line('\u2192 mend')\n"
        "module = sys.modules['probe'] = ModuleType('probe'); module.command = command\n"
        "sys.exit(entry('probe', 'probe', []))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    document, _, line = done.stdout.rpartition("}")
    assert json.loads(document + "}") == {"name": "Ch\u00e4t \U0001f600"}
    assert line == "\n\\u2192 mend\n"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, ExitCode.TERMINATED), (signal.SIGINT, ExitCode.INTERRUPTED)]
)
def test_signals_unwind_and_clean_up(number: signal.Signals, code: int) -> None:
    """SIGTERM and Ctrl-C run the cleanup of what is under way and end with the shell's codes."""
    program = """
import sys, time, click
from soa_db.cli.run import run

@click.command()
def command():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned", flush=True)

sys.exit(run(command, "soa-db", []))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert out == "cleaned\n"
    assert "Traceback" not in err


def test_reader_that_goes_away_is_no_traceback() -> None:
    """`soa-db … | head -1` ends quietly."""
    program = "import sys; from soa_db.cli import main; sys.exit(main(['--help']))"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import time; time.sleep(0.3)\n{program}"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == ExitCode.FAILED
    assert err == ""


def test_names_from_servers_cannot_drive_the_terminal() -> None:
    """Escape sequences in a role's name are spelled out; line breaks and unicode stay."""
    assert printable("a\x1b[31mb\r\n\tü\u202e") == "a\\x1b[31mb\\r\n\tü\\u202e"


def test_away_from_a_terminal_output_is_plain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pipe: no colour, no spinner, no wrapping, markup taken literally; progress goes to stderr."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    terminal = Terminal()
    long = "[bold]" + "x" * 300
    terminal.line(long, style="red")
    with terminal.busy("working"):
        terminal.note("half way")
    captured = capsys.readouterr()
    assert captured.out == long + "\n"
    assert captured.err == "working ...\nhalf way\n"


def test_json_is_the_only_thing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """A JSON result is one document."""
    Terminal().json({"a": ["ü"]})
    assert capsys.readouterr().out == '{\n  "a": [\n    "ü"\n  ]\n}\n'
