"""A plan is kept in a file whole and private, and refused when it no longer fits or is no plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soa_db.access.plan import Change, Notice, Plan, PlanOptions, ServerPlan, fingerprint
from soa_db.access.plan_file import load_plan, save_plan
from soa_db.errors import ConfigurationError, PlanConflict

SERVER = ServerPlan(
    env="prod",
    engine="postgres",
    server="db:5432",
    changes=(
        Change("create role a", "roles", action=object()),
        Change('revoke x of "ü%s"', "database d", "d", destructive=True),
    ),
    notices=(Notice("error", "no", "do it"), Notice("note", "by the way")),
    fingerprint="abc",
)
PLAN = Plan(
    env="prod",
    options=PlanOptions(prune=True),
    servers=(SERVER, ServerPlan("prod", "redis", "cache-prod", fingerprint="def")),
    specs=("a.yaml",),
    overlooked=(Notice("note", "nobody looked there"),),
)


def with_first(**changes: Any) -> Plan:
    """The plan with another first server."""
    return replace(PLAN, servers=(replace(SERVER, **changes), *PLAN.servers[1:]))


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    """Everything but the actions; readable by its owner only; an old file is replaced."""
    file = tmp_path / "plan.json"
    file.write_text("old", "utf-8")
    file.chmod(0o644)

    save_plan(PLAN, file)

    back = load_plan(file)
    assert back == with_first(changes=tuple(replace(change, action=None) for change in PLAN.changes))
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"], "no temporary file is left"


def test_interrupted_while_it_is_saved_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the rename: neither half a plan nor a temporary file."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_plan(PLAN, tmp_path / "plan.json")
    assert list(tmp_path.iterdir()) == []


def test_what_a_plan_tells(tmp_path: Path) -> None:
    """Empty or not, destructive changes, errors, headings in order."""
    assert not PLAN.is_empty
    assert [change.database for change in PLAN.destructive] == ["d"]
    assert [notice.sentence for notice in PLAN.errors] == ["no"]
    assert [notice.sentence for notice in PLAN.notices] == ["no", "by the way", "nobody looked there"]
    assert list(SERVER.grouped()) == ["roles", "database d"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a plan of this version"),
        ('{"format": "soa-db plan 1"}', "not a plan of this version"),
        ('{"format": "soa-db plan 2"}', "not a whole plan"),
        (json.dumps({**PLAN.to_json(), "env": "staging"}), "unknown environment"),
        (json.dumps({**PLAN.to_json(), "servers": [{"what": 1}]}), "not a whole plan"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """With the reason."""
    file = tmp_path / "plan.json"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=said):
        load_plan(file)


def test_a_plan_that_cannot_be_read_or_written_is_an_error(tmp_path: Path) -> None:
    """A missing file, a missing folder, a folder in the file's place."""
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_plan(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="cannot write"):
        save_plan(PLAN, tmp_path / "missing" / "plan.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match="cannot write"):
        save_plan(PLAN, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_plan_fits_when_the_same_would_be_done() -> None:
    """Else what came and what went is named."""
    PLAN.refuse_unless_fits(replace(PLAN, specs=()))
    other = with_first(changes=(*PLAN.changes[1:], Change("drop it", "roles")), fingerprint="def")
    with pytest.raises(PlanConflict, match=r"(?s)- create role a.*\+ drop it"):
        PLAN.refuse_unless_fits(other)
    with pytest.raises(PlanConflict, match="other objects, specs or options"):
        PLAN.refuse_unless_fits(with_first(fingerprint="def"))
    with pytest.raises(PlanConflict, match="for postgres of prod at db:5432"):
        PLAN.refuse_unless_fits(with_first(server="other:1", fingerprint="def"))
    with pytest.raises(PlanConflict, match="for postgres and redis of prod, not for postgres of prod"):
        PLAN.refuse_unless_fits(replace(PLAN, servers=PLAN.servers[:1]))
    with pytest.raises(PlanConflict, match="was edited"):
        with_first(changes=PLAN.changes[1:]).refuse_unless_fits(PLAN)


@pytest.mark.parametrize(
    "other",
    [
        {"specs": "other"},
        {"env": "dev"},
        {"server": "other"},
        {"options": PlanOptions(reassign=True)},
        {"changes": (Change("a", "g", action=2),)},
        {"changes": (Change("a", "g", destructive=True, action=1),)},
    ],
)
def test_a_fingerprint_covers_everything_that_decides(other: dict[str, object]) -> None:
    """Specs, environment, server, options, every change with its action and its mark."""
    same = {
        "specs": "s",
        "env": "prod",
        "server": "h",
        "options": PlanOptions(),
        "changes": (Change("a", "g", action=1),),
    }
    assert fingerprint(**same) == fingerprint(**same)  # type: ignore[arg-type]  # one dictionary for all arguments
    assert fingerprint(**same) != fingerprint(**{**same, **other})  # type: ignore[arg-type]  # likewise
