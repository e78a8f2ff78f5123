"""In which order changes are made, and what is left of the later ones when an earlier one failed. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from soa_db.access.redis.actions import (
    ChangeMembers,
    CreateGroup,
    CreateUser,
    DisableDefault,
    DropUser,
    MarkUser,
    SaveUsers,
    SetAccess,
    SetPassword,
    UseTokens,
)

if TYPE_CHECKING:
    from soa_db.access.redis.actions import Action

__all__ = ["STEPS", "concerned", "left_of", "step_of", "subject"]

# What progress is told each step is, in their order.
STEPS = ("save", "users", "users", "passwords", "users", "users")


def step_of(action: Action) -> int:
    """The number of the step that a change belongs to."""
    match action:
        case SaveUsers():
            return 0
        case CreateUser() | SetAccess() | UseTokens() | MarkUser():
            return 1
        case CreateGroup() | ChangeMembers(default=None):
            return 2
        case SetPassword():
            return 3
        case DropUser():
            return 4
        case DisableDefault() | ChangeMembers():
            return 5


def left_of(action: Action, without: set[str]) -> Action | None:
    """What is still to be done of a change after something failed.

    Args:
        action: the change.
        without: the users for whom something failed: they get no further, into the user group neither.
    """
    match action:
        case CreateGroup(members=members):
            return replace(action, members=tuple(name for name in members if name not in without))
        case ChangeMembers(default=None, add=add, remove=remove):
            left = tuple(name for name in add if name not in without)
            return replace(action, add=left) if left or remove else None
        case DropUser() | DisableDefault() | ChangeMembers():
            return None
        case SaveUsers():
            return action
        case _:
            return None if action.name in without else action


def subject(action: Action) -> str:
    """What a person calls that which is changed."""
    match action:
        case SaveUsers():
            return "saving the users"
        case DisableDefault():
            return "default"
        case ChangeMembers(group=group):
            return f"user group {group}"
        case CreateGroup(name=group):
            return f"user group {group}"
        case _:
            return action.name


def concerned(action: Action) -> set[str]:
    """The users who get no further when a change failed."""
    match action:
        case CreateGroup(members=members):
            return set(members)
        case ChangeMembers(add=add):
            return set(add)
        case SaveUsers() | DisableDefault():
            return set()
        case _:
            return {action.name}
