"""Which engines a run is about, and whose administrator a URL is of."""

from __future__ import annotations

import pytest

from soa_db.access.engine import admin_urls
from soa_db.access.engines import ENGINE_NAMES, ENGINES, chosen_engines, overlooked
from soa_db.access.plan import PlanOptions
from soa_db.access.spec import Spec, SpecSet
from soa_db.cli import options
from soa_db.errors import ConfigurationError

POSTGRES = "postgresql://u:c4nary@db/postgres"


def specs(**parts: object) -> SpecSet:
    """One spec with these parts."""
    return SpecSet((Spec.model_validate({"version": 1, "service": "chat-api", **parts}),))


def test_the_specs_decide_unless_engines_are_named() -> None:
    """Nobody's server is asked for what no spec declares; an unknown engine is refused."""
    assert [engine.name for engine in chosen_engines(specs(postgres={}), None)] == ["postgres"]
    assert chosen_engines(specs(), None) == ()
    assert [engine.name for engine in chosen_engines(specs(), ["postgres"])] == ["postgres"]
    with pytest.raises(ConfigurationError, match="unknown engine oracle"):
        chosen_engines(specs(), ["oracle", "postgres"])


def test_pruning_says_which_engines_it_does_not_look_at() -> None:
    """The last service that had a part there may have left its users; whoever names engines knows what is left out."""

    def told(*parts: str, names: list[str] | None = None, **options: bool) -> dict[str, str]:
        found = overlooked(specs(**{key: {} for key in parts}), names, PlanOptions(**options))
        return {notice.sentence: notice.remedy for notice in found}

    redis = "redis was not looked at: no spec given has a part for it"
    assert "`--engine redis --prune`" in told("postgres", prune=True)[redis]
    assert len(told("postgres", prune=True)) == len(ENGINES) - 1
    assert redis not in told("redis", prune=True)
    assert told("postgres", names=["postgres"], prune=True) == {}
    assert told("postgres") == {}


def test_the_command_line_knows_the_engines_there_are() -> None:
    """It spells them itself, so that --help loads nothing."""
    assert options.ENGINES == ENGINE_NAMES


def test_administrators_are_told_apart_by_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given wins over the variable, which may hold several."""
    monkeypatch.setenv("SOA_DB_ADMIN_URL", f"  {POSTGRES} ")
    assert admin_urls(ENGINES, None) == {"postgres": POSTGRES}
    assert admin_urls(ENGINES, "postgres://other/x") == {"postgres": "postgres://other/x"}
    assert admin_urls(ENGINES, ()) == {}
    monkeypatch.delenv("SOA_DB_ADMIN_URL")
    assert admin_urls(ENGINES, None) == {}


@pytest.mark.parametrize("given", [["mysql://u:c4nary@db"], "c4nary", [POSTGRES, POSTGRES], "host=db password=c4nary"])
def test_urls_that_cannot_be_used_are_not_repeated(given: str | list[str]) -> None:
    """A scheme nobody has, no URL at all, two for one engine."""
    with pytest.raises(ConfigurationError) as caught:
        admin_urls(ENGINES, given)
    assert "c4nary" not in str(caught.value)
