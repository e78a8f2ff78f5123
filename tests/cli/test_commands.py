"""The commands on real servers and the emulated AWS: what they do, say and exit with."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from soa_db.cli import main, saga

if TYPE_CHECKING:
    from soa_db.local.environment import LocalEnvironment

CANARY = "c4nary-Password"


class Told:
    """What a command wrote, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def document(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)


class Cli:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Told:
        self._capsys.readouterr()
        code = main(arguments)
        return Told(code, *self._capsys.readouterr())


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``soa-db``."""
    return Cli(capsys)


def superuser(environment: LocalEnvironment, database: str, *statements: str) -> None:
    """Do something behind everybody's back."""
    conninfo = environment.server("dev").superuser_conninfo
    with psycopg.connect(conninfo, dbname=database, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_plan_provision_verify_and_a_planted_fault(cli: Cli, cli_env: LocalEnvironment, service: str) -> None:
    """Pending is 3, provisioned is 0 and nothing to do; a planted fault is 4 by name, and provision mends it."""
    pending = cli("plan", "--env", "dev", "--check")
    assert pending.code == 3, pending
    assert f"+ create role {service}_app" in pending.out

    done = cli("provision", "--env", "dev")
    assert done.code == 0, done
    assert "changes made" in done.out
    assert f"creating database {service}" in done.err

    again = cli("provision", "--env", "dev")
    assert again.code == 0
    assert "nothing to do" in again.out
    assert cli("plan", "--env", "dev", "--check").code == 0
    for command in ("plan", "provision"):
        assert "redis was not looked at: no spec given has a part for it" in cli(command, "--env", "dev", "--prune").out

    good = cli("verify", "--env", "dev")
    assert good.code == 0, good
    assert f"{service}_app" in good.out
    assert "violated" not in good.out

    superuser(cli_env, service, f"SET ROLE {service}_owner", "CREATE TABLE t ()", f"GRANT DELETE ON t TO {service}_ro")
    bad = cli("verify", "--env", "dev", "--junit", "verify.xml")
    assert bad.code == 4, bad
    assert "FAIL" in bad.out
    assert "Violated" in bad.out
    assert f"{service}_ro in {service}" in bad.out
    assert "→ soa-db provision --env dev" in bad.out
    assert int(ET.parse("verify.xml").getroot()[0].get("failures", "0")) > 0  # our own file

    change = cli("plan", "--env", "dev")
    assert "!" in change.out
    assert f"! revoke DELETE on table t in schema public of database {service} from {service}_ro" in change.out
    assert cli("provision", "--env", "dev").code == 0
    assert cli("verify", "--env", "dev").code == 0


def test_what_cannot_be_decided_exits_5(cli: Cli, cli_env: LocalEnvironment, service: str) -> None:
    """With the server down nothing is proved: inconclusive, not green."""
    assert cli("provision", "--env", "dev").code == 0
    cli_env.kill_server("dev")
    try:
        told = cli("verify", "--env", "dev")
    finally:
        cli_env.start_server("dev")
    assert told.code == 5, told
    assert "Inconclusive" in told.out


def test_saved_plan_is_done_or_refused(cli: Cli, cli_env: LocalEnvironment, service: str) -> None:
    """A plan saved by --out is carried out as it is; once the server changed it is refused and names why."""
    saved = cli("plan", "--env", "dev", "--out", "plan.json")
    assert saved.code == 0, saved
    assert "plan.json" in saved.err
    assert cli("provision", "--env", "dev", "plan.json").code == 0
    refused = cli("provision", "--env", "dev", "plan.json")
    assert refused.code == 1
    assert "no longer fits" in refused.err
    assert "hint:" in refused.err


def test_saved_plan_takes_no_further_options(cli: Cli, cli_env: LocalEnvironment, service: str) -> None:
    """What a plan does was decided when it was made."""
    assert cli("plan", "--env", "dev", "--out", "plan.json").code == 0
    assert cli("provision", "--env", "dev", "plan.json", "--prune").code == 2


@pytest.mark.parametrize("command", ["plan", "provision", "verify", "rotate", "policy"])
def test_json_is_one_document_and_nothing_else_on_stdout(
    cli: Cli, cli_env: LocalEnvironment, service: str, command: str
) -> None:
    """A program reads stdout; what a person is told on the way goes to stderr."""
    assert cli("provision", "--env", "dev").code == 0
    extra = ["--all-consumers-reread"] if command == "rotate" else []
    told = cli(command, "--env", "dev", "--json", *extra)
    assert told.code == 0, told
    assert told.document
    applied = cli("policy", "--env", "dev", "--json", "--apply", "--check", "--create-roles")
    assert applied.code == 3
    assert len(applied.document["changes"]) == 6


def test_policy_prints_applies_and_checks(cli: Cli, cli_env: LocalEnvironment, service: str) -> None:
    """Documents on stdout; --apply writes what differs; --check exits 3 until then."""
    printed = cli("policy", "--env", "mirror")
    assert [item["aws_role"] for item in printed.document] == [f"{service}-{role}" for role in ("owner", "app", "ro")]
    missing = cli("policy", "--env", "mirror", "--apply")
    assert missing.code == 1
    assert "--create-roles" in missing.err
    assert cli("policy", "--env", "mirror", "--apply", "--create-roles", "--check").code == 3
    trust = Path("trust.json")
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    trust.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    done = cli("policy", "--env", "mirror", "--apply", "--create-roles", "--trust", str(trust))
    assert done.code == 0, done
    assert f"create AWS role {service}-app" in done.out
    assert cli("policy", "--env", "mirror", "--apply", "--check").code == 0


@pytest.mark.parametrize(
    "arguments", [["--create-roles"], ["--check"], ["--apply", "--create-roles", "--trust", "db-access.yaml"]]
)
def test_policy_refuses_options_that_make_no_sense(cli: Cli, service: str, arguments: list[str]) -> None:
    """Options of --apply without it, and a trust that is neither an ARN nor a policy."""
    assert cli("policy", "--env", "dev", *arguments).code == 2


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "--service", "nobody"],
        ["rotate", "--all-consumers-reread", "--service", "nobody"],
        ["policy", "--service", "nobody"],
        ["policy", "--password-service", "nobody"],
    ],
    ids=" ".join,
)
def test_a_service_without_a_spec_is_wrong_usage(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    """Exit 2 before AWS is asked anything, and those known are named."""
    monkeypatch.chdir(tmp_path)
    Path("db-access.yaml").write_text("version: 1\nservice: somebody\npostgres: {}\n")

    told = cli(*command, "--env", "dev")

    assert told.code == 2, told
    assert "no spec is given for nobody; known are somebody" in told.err


def test_everything_that_failed_is_in_the_json(cli: Cli, cli_env: LocalEnvironment, unique_name: str) -> None:
    """Two databases at once: one document with a problem for each, and exit 1."""
    Path("db-access.yaml").write_text(
        f"version: 1\nservice: {unique_name}\npostgres: {{databases: [{{id: a}}, {{id: b}}]}}\n"
    )
    assert cli("provision", "--env", "dev").code == 0
    names = [f"{unique_name}_a_db", f"{unique_name}_b_db"]
    for name in names:
        superuser(
            cli_env,
            name,
            f"SET ROLE {unique_name}_owner",
            "CREATE TABLE t ()",
            f"REVOKE SELECT ON t FROM {unique_name}_app",
            "RESET ROLE",
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'",
            "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('GRANT') EXECUTE FUNCTION refuse()",
        )

    told = cli("provision", "--env", "dev", "--json")

    assert told.code == 1, told
    assert [problem.partition(":")[0] for problem in told.document["problems"]] == names
    assert all(name in told.err for name in names)


def test_rotate_needs_to_know_that_clients_reread(cli: Cli, cli_env: LocalEnvironment, service: str) -> None:
    """Without the flag nothing happens; with it each user is told with its secret, and a service can be chosen."""
    assert cli("provision", "--env", "dev").code == 0
    refused = cli("rotate", "--env", "dev")
    assert refused.code == 1
    assert "--all-consumers-reread" in refused.err
    done = cli("rotate", "--env", "dev", "--all-consumers-reread", "--role", "app", "--service", service)
    assert done.code == 0, done
    assert f"+ {service}_app: dev/postgres-shared/{service}/app" in done.out
    assert "1 password rotated" in done.out
    assert cli("verify", "--env", "dev").code == 0


@pytest.mark.parametrize(
    "command", [["provision"], ["rotate", "--all-consumers-reread"], ["policy", "--apply", "--create-roles"]]
)
def test_prod_asks(
    cli: Cli, cli_env: LocalEnvironment, service: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nobody to ask it is wrong usage; a no changes nothing; a yes goes on."""
    nobody = cli(*command, "--env", "prod")
    assert nobody.code == 2
    assert "--yes" in nobody.err
    monkeypatch.setattr("soa_db.cli.consent._can_answer", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    no = cli(*command, "--env", "prod")
    assert no.code == 1, no
    assert "nothing was changed" in no.err
    assert cli("plan", "--env", "prod", "--check").code == 3
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    yes = cli(*command, "--env", "prod")
    assert yes.code == 0, yes


def test_prod_with_yes_is_not_asked(cli: Cli, cli_env: LocalEnvironment, service: str) -> None:
    """--yes provisions prod, by the role of soa-db.toml, and a reader sees JSON only."""
    told = cli("provision", "--env", "prod", "--yes", "--json")
    assert told.code == 0, told
    assert told.document["applied"] > 0


def test_foreign_account_is_refused(cli: Cli, cli_env: LocalEnvironment, service: str) -> None:
    """A caller of another account than soa-db.toml names does nothing."""
    Path("mine.toml").write_text('[environments.dev]\naccount = "999999999999"\n')
    for command in ("plan", "provision", "verify", "policy"):
        told = cli(command, "--env", "dev", "--settings", "mine.toml")
        assert told.code == 1, told
        assert "999999999999" in told.err


def test_insecure_dev_is_for_dev_only(cli: Cli, service: str) -> None:
    """Passwords that stand in the documentation are refused elsewhere, before anything is read."""
    told = cli("provision", "--env", "mirror", "--insecure-dev")
    assert told.code == 2
    assert "not in mirror" in told.err


def test_faults_of_a_spec_are_all_told_with_their_place(cli: Cli, cli_env: LocalEnvironment) -> None:
    """Nothing of AWS is needed to hear of a mistake."""
    Path("db-access.yaml").write_text("version: 1\nservice: x\npostgers: {}\n")
    told = cli("plan", "--env", "dev")
    assert told.code == 1
    assert "db-access.yaml:3:1" in told.err
    assert "postgres" in told.err


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_no_secret_in_any_output(
    cli: Cli, cli_env: LocalEnvironment, service: str, debug: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong administrator's password shows nowhere, not with --debug and not when the URL cannot be read."""
    port = cli_env.server("dev").port
    urls = (f"postgresql://master:{CANARY}@localhost:{port}/postgres", f"postgresql://master:{CANARY}@[localhost/x")
    for url in urls:
        monkeypatch.setenv("SOA_DB_ADMIN_URL", url)
        for command in ("plan", "provision"):
            told = cli(command, "--env", "dev", "-vv", *debug)
            assert told.code == 1, told
            assert CANARY not in told.out + told.err
            assert ("Traceback" in told.err) is bool(debug)


def test_the_original_names_do_the_same(
    cli_env: LocalEnvironment, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`saga-provision-credentials create` and `saga-verify-credentials` are provision and verify."""
    assert saga.provision_main(["create", "--env", "dev", "--insecure-dev"]) == 0
    assert "changes made" in capsys.readouterr().out
    assert saga.verify_main(["--env", "dev"]) == 0
    assert f"{service}_app" in capsys.readouterr().out
    assert saga.provision_main(["--help"]) == 0
    assert "saga-provision-credentials" in capsys.readouterr().out
