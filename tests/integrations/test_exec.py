"""``soa-db exec`` with the real psql and redis-cli, on the local environment's mirror, and in a real terminal.

mongosh and the MongoDB tools are in no index that the tests install from: a stand-in reads its file as they do, logs in
with what it found, and tells what it was started with. (The real mongosh 2.3 was tried by hand.) What runs nothing is
called in this process, which spares an interpreter's start; docs/exec.md has the examples of dev.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from tests.support.tcp import FaultyProxy

from soa_db._core.client_environment import LIBPQ_VARIABLES, UNSAFE_VARIABLES
from soa_db.cli import main

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

execve = os.execve
ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("--engine", "postgres", "--engine", "redis", "--engine", "mongo")
SPEC = """\
version: 1
service: {service}
postgres: {{}}
redis: {{}}
mongo: {{}}
"""
# Finds its file as the client it is named after does, and logs in with what stands there.
STAND_IN = r"""#!{python}
import json, os, re, stat, sys, time
from pymongo import MongoClient
from pymongo.uri_parser import parse_uri
file = re.search(r'(?:--config=|load\(")(/[^"\0]*)', "\0".join(sys.argv))[1]
uri = re.search(r'mongodb://[^"]*', open(file).read())[0]
with MongoClient(uri) as client:
    who = client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]
    client.get_default_database().list_collection_names()
told = {{
    "arguments": sys.argv[1:],
    "file": file,
    "modes": [oct(stat.S_IMODE(os.stat(path).st_mode)) for path in (file, os.path.dirname(file))],
    "user": who[0]["user"],
    "password": parse_uri(uri)["password"],
    "variables": [name for name in os.environ if "MONGO" in name],
}}
print(json.dumps(told), flush=True)
if "--wait" in sys.argv:
    time.sleep(60)
elif os.fork() == 0:
    os.close(1)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def never_become_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test whose refusal fails must fail, and not have pytest replaced by a program that ends with 0."""

    def become(file: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
        del environment
        raise AssertionError(f"{file} would have been run with {arguments}")

    monkeypatch.setattr(os, "execve", become)


@pytest.fixture(scope="module")
def variables(local_env: LocalEnvironment) -> dict[str, str]:
    """A person's shell after ``local env``, with nothing of the machine's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PG", "SOA_DB_"))}
    return {**kept, **local_env.exports(), "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture(scope="module")
def service(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A service provisioned in mirror."""
    name = f"exec-{os.getpid()}"
    spec = tmp_path_factory.mktemp("exec") / "db-access.yaml"
    spec.write_text(SPEC.format(service=name))
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value)
        assert main(["provision", "--env", "mirror", "--specs", str(spec)]) == 0
    return name


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[str], str]:
    """Make a stand-in for a client of MongoDB's."""

    def make(name: str) -> str:
        program = tmp_path / name
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)
        return str(program)

    return make


def command_line(service: str, *arguments: str) -> list[str]:
    """``soa-db exec`` in an interpreter of its own: it takes its process's place."""
    return [sys.executable, "-m", "soa_db", "exec", "--env", "mirror", "--service", service, *arguments]


def run(
    variables: dict[str, str], service: str, *arguments: str, more: dict[str, str] | None = None, **keywords: Any
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        command_line(service, *arguments),
        env={**variables, **(more or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **keywords,
    )


def told_by(capsys: pytest.CaptureFixture[str], service: str, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and stderr of a run in this process, which must run nothing."""
    code = main(["exec", "--env", "mirror", "--service", service, *arguments])
    shown = capsys.readouterr()
    return code, json.loads(shown.out or "{}"), shown.err


def command_lines() -> str:
    """Every process's arguments, as any user of the machine may read them."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_text("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(found)


def secrets_of(pid: int) -> list[str]:
    """The passwords in a process's environment, which its own user may read."""
    pairs = (entry.partition("=") for entry in Path(f"/proc/{pid}/environ").read_text("utf-8").split("\0"))
    return [value for name, _, value in pairs if value and name.endswith(("PASSWORD", "CLI_AUTH"))]


def wait_until(met: Callable[[], object], what: str, timeout: float = 20.0) -> None:
    """Wait for a state of the machine."""
    deadline = time.monotonic() + timeout
    while not met():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def is_gone(told: dict[str, Any]) -> Callable[[], bool]:
    """Whether the folder of a stand-in's file has been deleted."""
    return lambda: not Path(told["file"]).parent.exists()


def test_psql_logs_in_as_the_role_asked_for(variables: dict[str, str], service: str) -> None:
    """By IAM token over verified TLS; no option of psql's says where or who."""
    query = "select current_user || ' ' || current_database() || ' ' || current_setting('application_name')"
    done = run(variables, service, "--role", "ro", "--", "psql", "-AtX", "-c", query, "-c", r"\conninfo")
    snake = service.replace("-", "_")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{snake}_ro {snake} psql (soa-db exec)\n")
    assert "SSL connection" in done.stdout


def test_inherited_variables_lead_nowhere_else(variables: dict[str, str], service: str, tmp_path: Path) -> None:
    """A PGSERVICE in the shell would send the password to another server; what is of the session stays."""
    elsewhere = dict.fromkeys(LIBPQ_VARIABLES, "elsewhere") | {
        "PGHOSTADDR": "203.0.113.1",
        "SOA_DB_ADMIN_URL": "postgresql://master:hunter2@elsewhere/x",
        "PGOPTIONS": "-c statement_timeout=7s",
        "DATABASE_URL": "postgresql://x:hunter2@elsewhere/x",
        **dict.fromkeys(UNSAFE_VARIABLES, str(tmp_path / "elsewhere")),
    }
    script = "psql -AtXc 'show statement_timeout' && env"
    done = run(variables, service, "--engine", "postgres", "--", "sh", "-c", script, more=elsewhere)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("7s\n")
    assert [word for word in ("elsewhere", "203.0.113.1", "hunter2") if word in done.stdout] == []


def test_redis_cli_logs_in(variables: dict[str, str], service: str) -> None:
    """Host, port, user and TLS as arguments, the password by REDISCLI_AUTH; the user reaches its own keys only."""
    commands = f"set {service}:x 42\nget {service}:x\nget others:x\n"
    done = run(variables, service, "redis-cli", input=commands)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OK\n42\nNOPERM")


def test_mongosh_gets_a_private_file_that_goes_with_it(
    variables: dict[str, str], service: str, stand_in: Callable[[str], str]
) -> None:
    """0600 in a folder of 0700; it logs in, CA and all; no variable is set, and no child of ours is the client's."""
    command = command_line(service, "--", stand_in("mongosh"), "--wait")
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        assert not is_gone(told)()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
        wait_until(is_gone(told), "the folder is deleted")
    assert told["user"] == f"{service.replace('-', '_')}_app"
    assert told["modes"] == ["0o600", "0o700"]
    assert (told["variables"], children) == ([], "")
    assert told["password"] not in " ".join(told["arguments"])
    assert told["arguments"][:2] == ["--nodb", "--eval"]
    assert told["arguments"][-2:] == ["--shell", "--wait"]


def test_mongodumps_file_stays_as_long_as_its_children(
    variables: dict[str, str], service: str, stand_in: Callable[[str], str]
) -> None:
    """What a client has put into the background may connect once more."""
    command = command_line(service, "--", stand_in("mongodump"), "--quiet")
    with subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        told = json.loads(process.stdout.readline())
        assert process.wait(20) == 0
        assert not is_gone(told)()
        process.stdin.close()
        wait_until(is_gone(told), "the folder is deleted")
    assert told["arguments"] == [f"--config={told['file']}", "--quiet"]


def test_the_file_goes_when_the_client_is_killed(
    variables: dict[str, str], service: str, stand_in: Callable[[str], str]
) -> None:
    """SIGKILL to its whole process group: the janitor lives in a session of its own."""
    command = command_line(service, "--", stand_in("mongosh"), "--wait")
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        wait_until(is_gone(told), "the folder is deleted")


def test_any_program_finds_the_variables_that_our_configs_read(
    variables: dict[str, str], service: str, tmp_path: Path
) -> None:
    """``--engine`` names what it connects to; ``from_env`` of all three connects, and no key of theirs is written."""
    code = """if True:
        from soa_db import MongoConfig, PostgresConfig, RedisConfig
        from soa_db.mongo import MongoProvider
        from soa_db.postgres import connect
        from soa_db.redis import RedisConnectionManager
        with connect(PostgresConfig.from_env(instance_name="x")) as conn:
            print(conn.execute("select current_user").fetchone()[0])
        with RedisConnectionManager(RedisConfig.from_env(instance_name="x")) as cache, \
             MongoProvider(MongoConfig.from_env(instance_name="x")) as mongo:
            print(cache.ping(), mongo.ping())
    """
    keys = tmp_path / "keys"
    done = run(variables, service, *ENGINES, "--", sys.executable, "-c", code, more={"SSLKEYLOGFILE": str(keys)})
    assert (done.returncode, done.stdout) == (0, f"{service.replace('-', '_')}_app\nTrue True\n"), done.stderr
    # soa-db's own calls of AWS are made before, and here without TLS: they leave the heading that Python writes.
    written = keys.read_text().splitlines() if keys.exists() else []
    assert [line for line in written if not line.startswith("#")] == []


def test_no_argument_of_any_process_is_a_secret(variables: dict[str, str], service: str) -> None:
    """While they run, the process list shows no password and no token, from the beginning to the end."""
    waits = {"psql": ["-AtXc", "select pg_sleep(60)"], "redis-cli": ["subscribe", f"{service}:channel"]}
    processes = {
        name: subprocess.Popen(
            command_line(service, "--", name, *arguments), env=variables, stdout=subprocess.PIPE, start_new_session=True
        )
        for name, arguments in waits.items()
    }
    shown = []
    try:
        secrets = []
        for name, process in processes.items():
            comm = Path(f"/proc/{process.pid}/comm")
            while name not in comm.read_text():
                shown.append(command_lines())
                assert process.poll() is None
            secrets += secrets_of(process.pid)
        shown.append(command_lines())
        assert len(secrets) >= 4
        assert "pg_sleep(60)" in shown[-1]
        assert [secret for secret in secrets if any(secret in seen for seen in shown)] == []
    finally:
        for process in processes.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_signals_and_the_exit_code_are_the_programs(variables: dict[str, str], service: str) -> None:
    """A signal reaches it, once; what only the interpreter ignores (SIGPIPE) is not ignored there."""
    script = "trap 'echo got usr1; exit 77' USR1; grep SigIgn /proc/self/status; while :; do sleep 0.05; done"
    command = command_line(service, "--engine", "redis", "--", "sh", "-c", script)
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ignored = int(process.stdout.readline().split()[1], 16)
        process.send_signal(signal.SIGUSR1)
        assert (process.stdout.read(), process.wait(20)) == (b"got usr1\n", 77)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


class Terminal:
    """A person at a real terminal.

    Args:
        command: what is typed at first.
        variables: the shell's.
    """

    def __init__(self, command: Sequence[str], variables: dict[str, str]) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            execve(command[0], list(command), variables)
        self.seen = ""

    def shows(self, pattern: str, timeout: float) -> bool:
        """Whether something is shown in time; what has been read up to it is forgotten."""
        deadline = time.monotonic() + timeout
        while (found := re.search(pattern, self.seen)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if select.select([self.descriptor], [], [], left)[0]:
                self.seen += os.read(self.descriptor, 65536).decode("utf-8", "replace")
        self.seen = self.seen[found.end() :]
        return True

    def expect(self, pattern: str) -> None:
        """Wait until something is shown."""
        assert self.shows(pattern, 30), f"{pattern!r} is not in {self.seen!r}"

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.descriptor, text.encode())


@pytest.fixture
def shell(variables: dict[str, str]) -> Iterator[Terminal]:
    """An interactive shell, hung up in the end."""
    plain = {"TERM": "dumb", "PAGER": "cat", "PS1": "shell> "}
    terminal = Terminal(["/bin/bash", "--norc", "--noprofile", "-i"], {**variables, **plain})
    yield terminal
    os.close(terminal.descriptor)


def test_psql_in_a_terminal_is_as_without_soa_db(shell: Terminal, service: str) -> None:
    """Ctrl-C cancels the query and ends nobody; Ctrl-Z stops it and fg goes on; the shell gets its exit code."""
    shell.expect("shell> ")
    shell.type(" ".join(command_line(service, "--", "psql", "-X")) + "\n")
    shell.expect("=> ")
    shell.type("select pg_sleep(60);\n")
    shell.expect(r"pg_sleep\(60\);")
    # At the prompt it does nothing: pressed until the query runs.
    for _ in range(50):
        shell.type("\x03")
        if shell.shows("canceling statement due to user request", 0.2):
            break
    shell.expect("=> ")
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.expect("shell> ")
    shell.type("fg\n")
    shell.type("select 6 * 7 as answer;\n")
    shell.expect("42")
    shell.type("\\q\n")
    shell.expect("shell> ")
    shell.type("exit $((40 + $?))\n")
    assert os.waitstatus_to_exitcode(os.waitpid(shell.pid, 0)[1]) == 40


def test_json_runs_nothing_and_shows_no_secret(
    local_aws: LocalEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    service: str,
    tmp_path: Path,
) -> None:
    """What it would be run with, for a person or a program to look at."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = tmp_path / "made"
    code, told, errors = told_by(capsys, service, *ENGINES, "--json", "--", "touch", str(made))
    assert (code, errors, made.exists()) == (0, "", False)
    assert told["command"] == ["touch", str(made)]
    masked = {name for name, value in told["set"].items() if value == "****"}
    assert masked == {"PGPASSWORD", "REDISCLI_AUTH", "REDIS_PASSWORD", "VALKEYCLI_AUTH", "MONGODB_URI"}
    assert "X-Amz-Signature" not in json.dumps(told)
    assert told["credentials"]["postgres"]["source"] == "rds-iam"
    assert 0 < told["credentials"]["postgres"]["expires_in"] <= 840
    assert {"PGSERVICE", "SOA_DB_ADMIN_URL", "SSLKEYLOGFILE"} <= set(told["unset"])
    assert list(tmp_path.iterdir()) == []


def test_the_bundled_roots_become_a_private_file(
    local_aws: LocalEnvironment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], service: str
) -> None:
    """As against real AWS, where no CA file is named: libpq gets the RDS roots, redis-cli public ones."""
    monkeypatch.delenv("SOA_DB_CA_FILE")
    code, told, _ = told_by(capsys, service, "--json", "--", "psql")
    assert code == 0
    assert told["set"]["PGSSLMODE"] == "verify-full"
    assert re.search(r"/soa-db-exec-\w+/postgres-roots.pem$", told["set"]["PGSSLROOTCERT"])
    code, told, _ = told_by(capsys, service, "--json", "--", "redis-cli", "ping")
    assert code == 0
    assert told["command"][told["command"].index("--cacert") + 1].endswith("cacert.pem")


def test_the_wrong_account_is_refused(
    local_aws: LocalEnvironment, capsys: pytest.CaptureFixture[str], service: str, tmp_path: Path
) -> None:
    """A shell with the credentials of another account must not reach these databases by mistake."""
    settings = tmp_path / "soa-db.toml"
    settings.write_text('[environments.mirror]\naccount = "999999999999"\n')
    made = tmp_path / "made"
    arguments = ["--settings", str(settings), "--engine", "postgres", "--", "touch", str(made)]
    code, _, errors = told_by(capsys, service, *arguments)
    assert (code, made.exists()) == (1, False)
    assert "mirror is AWS account 999999999999" in errors


def test_a_tunnel_is_dialled(variables: dict[str, str], local_env: LocalEnvironment, service: str) -> None:
    """The real host is verified and signed for: PGHOST stays, PGHOSTADDR and PGPORT are the tunnel's."""
    server = local_env.server("mirror")
    with FaultyProxy(server.host, server.port) as tunnel:
        done = run(variables, service, "--dial", f"127.0.0.1:{tunnel.port}", "psql", "-AtXc", r"\conninfo")
    assert f'on host "localhost" (address "127.0.0.1") at port "{tunnel.port}"' in done.stdout, done.stderr


def test_names_of_a_spec_are_used(
    local_aws: LocalEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    service: str,
    tmp_path: Path,
) -> None:
    """A spec in the working directory, or named, says what the databases and users are called."""
    spec = "version: 1\nservice: {}\npostgres:\n  databases:\n    - id: main\n      database: warehouse\n"
    (tmp_path / "db-access.yaml").write_text(f"{spec.format(service)}      identities: {{app: keeper}}\n")
    monkeypatch.chdir(tmp_path)
    _, told, _ = told_by(capsys, service, "--json", "--", "psql")
    assert (told["set"]["PGDATABASE"], told["set"]["PGUSER"]) == ("warehouse", "keeper")
    _, told, _ = told_by(capsys, "exec-other", "--json", "--", "psql")
    assert told["set"]["PGDATABASE"] == "exec_other"
    code, _, errors = told_by(capsys, "exec-other", "--specs", str(tmp_path), "--json", "--", "psql")
    assert code == 2
    assert "no spec is given for exec-other" in errors


def test_what_aws_does_not_know_is_told(
    local_aws: LocalEnvironment, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No traceback, and the program is not run."""
    made = tmp_path / "made"
    code, _, errors = told_by(capsys, "exec-nobody", "--engine", "redis", "--", "touch", str(made))
    assert (code, made.exists()) == (1, False)
    assert "mirror/redis/exec-nobody" in errors
    assert "Traceback" not in errors


def test_a_service_on_iam_tokens_of_elasticache_gets_one(
    local_aws: LocalEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    service: str,
    tmp_path: Path,
) -> None:
    """`redis_iam` of soa-db.toml says so; behind a CNAME the user group says which cache the token is for."""
    settings = tmp_path / "soa-db.toml"
    text = Path(os.environ["SOA_DB_SETTINGS"]).read_text("utf-8")
    settings.write_text(text.replace("[environments.mirror]", f'[environments.mirror]\nredis_iam = ["{service}"]'))
    monkeypatch.setenv("SOA_DB_SETTINGS", str(settings))
    code, told, _ = told_by(capsys, service, "--json", "--", "redis-cli")
    assert code == 0
    assert told["credentials"]["redis"]["source"] == "elasticache-iam"
    assert 0 < told["credentials"]["redis"]["expires_in"] <= 840
    monkeypatch.setattr("soa_db.access.redis.caches.find_caches", lambda _aws, _env: ())
    code, _, errors = told_by(capsys, service, "--json", "--", "redis-cli")
    assert code == 1
    assert "which is attached to 0 caches" in errors


def test_a_file_that_is_no_program_is_126(variables: dict[str, str], service: str, tmp_path: Path) -> None:
    """Found out by the kernel, at the last moment; what has been made for it is gone."""
    program = tmp_path / "mongosh"
    program.write_bytes(b"\0")
    program.chmod(0o755)
    done = run(variables, service, "--", str(program), more={"TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stderr) == (126, f"soa-db: {program}: Exec format error\n")
    assert list(tmp_path.iterdir()) == [program]
