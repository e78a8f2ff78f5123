"""In which order a Redis is changed, and what is left of it once something failed."""

from __future__ import annotations

import pytest

from soa_db.access.redis.actions import (
    Action,
    ChangeMembers,
    CreateGroup,
    CreateUser,
    DisableDefault,
    DropUser,
    MarkUser,
    SaveUsers,
    SetAccess,
    SetPassword,
)
from soa_db.access.redis.order import STEPS, concerned, left_of, step_of, subject

REPLACE_DEFAULT = ChangeMembers("g", ("g-default",), ("default",), "g-default")


def test_whatever_takes_a_way_in_away_comes_after_everybody_has_one() -> None:
    """Users, the group's members, passwords; then users go, and ``default`` as the very last."""
    in_order: tuple[Action, ...] = (
        SaveUsers(),
        CreateUser("a", "a", "on"),
        ChangeMembers("g", ("a",)),
        SetPassword("a", "s", "new"),
        DropUser("old"),
        REPLACE_DEFAULT,
    )
    assert [step_of(action) for action in in_order] == list(range(len(STEPS)))
    assert step_of(SetAccess("a", "on")) == step_of(MarkUser("a", "a")) == step_of(in_order[1])
    assert step_of(CreateGroup("g", "d", ())) == step_of(in_order[2])
    assert step_of(DisableDefault()) == step_of(REPLACE_DEFAULT)


@pytest.mark.parametrize(
    ("action", "left"),
    [
        (SaveUsers(), SaveUsers()),
        (SetPassword("b", "s", "new"), SetPassword("b", "s", "new")),
        (SetPassword("a", "s", "new"), None),
        (MarkUser("a", "a"), None),
        (CreateGroup("g", "d", ("a", "b")), CreateGroup("g", "d", ("b",))),
        (ChangeMembers("g", ("a", "b")), ChangeMembers("g", ("b",))),
        (ChangeMembers("g", ("a",)), None),
        (DropUser("old"), None),
        (DisableDefault(), None),
        (REPLACE_DEFAULT, None),
    ],
)
def test_after_a_users_failure_only_what_has_nothing_to_do_with_it_is_left(action: Action, left: Action | None) -> None:
    """The user comes no further, into the group neither; nobody's way in is taken away."""
    assert left_of(action, {"a"}) == left


@pytest.mark.parametrize(
    ("action", "named", "users"),
    [
        (SaveUsers(), "saving the users", set()),
        (DisableDefault(), "default", set()),
        (CreateGroup("g", "d", ("a",)), "user group g", {"a"}),
        (ChangeMembers("g", ("a",)), "user group g", {"a"}),
        (SetAccess("a", "on"), "a", {"a"}),
    ],
)
def test_a_failure_is_named_and_holds_up_whoever_it_was_for(action: Action, named: str, users: set[str]) -> None:
    """Who is not in the group cannot log in, so that no password of theirs could be proved."""
    assert subject(action) == named
    assert concerned(action) == users
