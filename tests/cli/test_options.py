"""The options commands share: paths after --specs, defaults, the administrator's URL, asking before prod."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from soa_db.cli import plan, policy, verify
from soa_db.cli.consent import confirm_prod, require_somebody_to_ask
from soa_db.cli.options import OutputFile, SpecsCommand, Target, admin_url_option, yes_option
from soa_db.cli.run import Invocation


@click.command(cls=SpecsCommand)
@click.argument("plan_file", required=False)
@click.option("--out", type=OutputFile())
@admin_url_option
@yes_option
def probe(
    *, target: Target, plan_file: str | None, out: Path | None, admin_urls: tuple[str, ...], yes: bool, as_json: bool
) -> None:
    """Print what was parsed."""
    names = [path.name for path in target.spec_paths]
    click.echo(f"{plan_file} {target.env} {names} {target.settings_file} {' '.join(admin_urls)} {as_json}{out or ''}")
    require_somebody_to_ask(target.env, yes=yes)
    if not confirm_prod(target.env, "go on?", yes=yes):
        click.get_current_context().exit(1)
    click.echo("went on")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with three specs and no settings of the process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOA_DB_ADMIN_URL", raising=False)
    for name in ("a.yaml", "b.yaml", "db-access.yaml"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "parsed"),
    [
        (["--env", "dev"], "None dev ['db-access.yaml'] None  False"),
        (["--specs", "a.yaml", "b.yaml", "--env", "dev"], "None dev ['a.yaml', 'b.yaml'] None  False"),
        (["--specs", "a.yaml", "--specs", "b.yaml", "--env", "dev"], "None dev ['a.yaml', 'b.yaml'] None  False"),
        (["--env", "dev", "--specs=a.yaml", "p.json"], "p.json dev ['a.yaml'] None  False"),
        (["--env", "dev", "--specs", "a.yaml", "b.yaml", "p.json"], "p.json dev ['a.yaml', 'b.yaml'] None  False"),
        (["p.json", "--env", "dev", "--specs", "a.yaml", "--json"], "p.json dev ['a.yaml'] None  True"),
    ],
)
def test_specs_takes_what_a_shell_pattern_gives(arguments: list[str], parsed: str) -> None:
    """Every path up to the next option is a spec, a saved plan is not, and db-access.yaml here is the default."""
    result = CliRunner().invoke(probe, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{parsed}\nwent on\n"


def test_no_spec_at_all_is_wrong_usage(folder: Path) -> None:
    """Without --specs and without db-access.yaml the message says both ways out."""
    (folder / "db-access.yaml").unlink()
    result = CliRunner().invoke(probe, ["--env", "dev"])
    assert result.exit_code == 2
    assert "there is no db-access.yaml here" in result.stderr
    assert "--specs PATH" in result.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("arguments", [["--env", "staging"], [], ["--env", "dev", "--specs", "missing.yaml"]])
def test_unknown_environment_or_missing_path_is_wrong_usage(arguments: list[str]) -> None:
    """An environment that is none and a path that is not there end with 2 before anything is done."""
    assert CliRunner().invoke(probe, arguments).exit_code == 2


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("out", ["no/where.json", "db-access.yaml/x", "."])
def test_a_file_that_cannot_be_written_is_wrong_usage(out: str) -> None:
    """Before the work whose result it is for, not after."""
    result = CliRunner().invoke(probe, ["--env", "dev", "--out", out])
    assert (result.exit_code, result.stdout) == (2, "")
    assert out in result.stderr
    assert CliRunner().invoke(probe, ["--env", "dev", "--out", "new.json"]).stdout.startswith("None dev")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (policy.command, ["--apply", "--trust", "no-such-file"]),
        (policy.command, ["--apply", "--trust", "a.yaml"]),
        (verify.command, ["--assume-role", "chat-api-app"]),
        (verify.command, ["--junit", "no/where.xml"]),
        (plan.command, ["--out", "no/where.json"]),
    ],
)
def test_what_is_wrong_with_a_value_is_told_before_anything_is_read(
    command: click.Command, arguments: list[str]
) -> None:
    """The specs here are empty files and there are no AWS credentials: neither is complained of."""
    result = CliRunner().invoke(command, ["--env", "dev", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert arguments[-1] in result.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("url", ["postgresql://m:c4nary@db/x", "host=db password=c4nary", "postgresql://[c4nary"])
def test_password_in_an_argument_is_warned_about_and_not_repeated(url: str) -> None:
    """Other users can read a process's arguments: the variable is recommended; the warning repeats no secret."""
    result = CliRunner().invoke(probe, ["--env", "dev", "--admin-url", url])
    assert "SOA_DB_ADMIN_URL" in result.stderr
    assert "c4nary" not in result.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "variable"),
    [(["--admin-url", "postgresql://m@db/x"], None), ([], "postgresql://m:c4nary@db/x")],
)
def test_no_warning_without_a_password_or_from_the_variable(arguments: list[str], variable: str | None) -> None:
    """A URL without a password, or one in the environment, is as it should be."""
    result = CliRunner().invoke(probe, ["--env", "dev", *arguments], env={"SOA_DB_ADMIN_URL": variable})
    assert result.exit_code == 0
    assert "postgresql://" in result.stdout
    assert result.stderr == ""


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["redis://m@cache"], ["redis://m@cache", "postgresql://m:c4nary@db/x"]),
        (["rediss://m@cache", "postgres://m@other/x"], ["rediss://m@cache", "postgres://m@other/x"]),
        (["postgres://m@other/x"], ["postgres://m@other/x", "redis://m:c4nary@db"]),
    ],
)
def test_a_url_given_wins_for_its_engine_and_leaves_the_variables_others(given: list[str], kept: list[str]) -> None:
    """The variable has one of each kind; what comes from it is nothing to warn about."""
    arguments = [word for url in given for word in ("--admin-url", url)]
    variable = {"SOA_DB_ADMIN_URL": "postgresql://m:c4nary@db/x  redis://m:c4nary@db"}
    result = CliRunner().invoke(probe, ["--env", "dev", *arguments], env=variable)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"None dev ['db-access.yaml'] None {' '.join(kept)} False")


@pytest.mark.usefixtures("folder")
def test_prod_without_anybody_to_ask_is_wrong_usage() -> None:
    """In a pipeline changing prod needs --yes, and the message says so."""
    result = CliRunner().invoke(probe, ["--env", "prod"])
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert "went on" not in result.stdout


@pytest.mark.usefixtures("folder")
def test_yes_changes_prod_without_asking() -> None:
    """--yes is the answer."""
    assert CliRunner().invoke(probe, ["--env", "prod", "--yes"]).stdout.endswith("went on\n")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_prod_asks_and_no_is_the_default(answer: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal only an explicit yes changes prod."""
    monkeypatch.setattr("soa_db.cli.consent._can_answer", lambda: True)
    result = CliRunner().invoke(probe, ["--env", "prod"], input=answer)
    assert result.exit_code == code
    assert "go on?" in result.stderr
    assert ("went on" in result.stdout) is (code == 0)
    assert ("nothing was changed" in result.stderr) is (code == 1)


@pytest.mark.usefixtures("folder")
def test_verbose_logs_to_stderr_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """-v attaches a handler to the package's logger for as long as the command runs; nothing is added to stdout."""
    import logging

    logger = logging.getLogger("soa_db")
    monkeypatch.setattr(logger, "handlers", [])
    before, invocation = logger.level, Invocation()
    with invocation.undo:
        result = CliRunner().invoke(probe, ["--env", "dev", "-v"], obj=invocation)
        assert result.exit_code == 0
        assert len(logger.handlers) == 1
        assert logger.isEnabledFor(logging.INFO)
        assert not logger.isEnabledFor(logging.DEBUG)
    assert (logger.level, logger.handlers) == (before, [])


@pytest.mark.usefixtures("folder")
def test_verbose_keeps_a_pools_every_connection_for_the_second_v(monkeypatch: pytest.MonkeyPatch) -> None:
    """psycopg_pool tells what it hands out at INFO; lines go to what stderr is when they are written: rich's, too."""
    import io
    import logging
    import sys

    for name in ("soa_db", "psycopg.pool"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    pool = logging.getLogger("psycopg.pool")
    assert CliRunner().invoke(probe, ["--env", "dev", "-v"]).exit_code == 0
    assert not pool.isEnabledFor(logging.INFO)
    moving = io.StringIO()
    monkeypatch.setattr(sys, "stderr", moving)
    pool.warning("no connection")
    assert "WARNING psycopg.pool: no connection" in moving.getvalue()
    assert CliRunner().invoke(probe, ["--env", "dev", "-vv"]).exit_code == 0
    assert pool.isEnabledFor(logging.DEBUG)
