"""What a human must run where the administrator cannot: SQL as text, never executed here. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soa_db.access.postgres.state import RoleState

__all__ = ["human_grant", "quoted"]


def quoted(name: str) -> str:
    """An SQL identifier, always in quotes."""
    return '"' + name.replace('"', '""') + '"'


def human_grant(role: str, state: RoleState, admin: str, version: int) -> str:
    """What lets ``admin`` manage a role that somebody else made, or that is a superuser."""
    lower = f"ALTER ROLE {quoted(role)} NOSUPERUSER" if state.superuser else ""
    grant = f"GRANT {quoted(role)} TO {quoted(admin)} WITH ADMIN OPTION" if version >= 16 else ""
    return "; ".join(text for text in (lower, grant) if text)
