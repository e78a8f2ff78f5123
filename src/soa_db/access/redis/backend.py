"""The two ways Redis is administered, as one interface."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from soa_db.access.plan import Progress
    from soa_db.access.redis.actions import Action
    from soa_db.access.redis.state import ServerState
    from soa_db.config import RedisConfig

__all__ = ["Backend"]


class Backend(Protocol):
    """Who looks at the users of a Redis and changes them: ``SelfRun`` or ``ElastiCache``."""

    @property
    def address(self) -> str:
        """What is administered, for people and fingerprints."""
        ...

    @property
    def user_group(self) -> str | None:
        """ElastiCache's user group; None where there is no such thing."""
        ...

    def locked(self, timeout: float | None, progress: Progress) -> AbstractContextManager[float]:
        """Keep other runs away; gives the seconds waited for another one."""
        ...

    def inspect(self) -> ServerState:
        """What is there today, passwords aside."""
        ...

    def login_places(self, state: ServerState) -> tuple[RedisConfig, ...]:
        """Where a login must succeed to prove a password, as whoever provisions reaches it; ``auth`` is not used."""
        ...

    def carry_out(self, action: Action, state: ServerState) -> None:
        """Make one change of users or of the group, on the nodes that were looked at."""
        ...

    def set_passwords(self, user: str, passwords: tuple[str, ...], state: ServerState) -> None:
        """Make exactly these the user's live passwords."""
        ...

    def add_password(self, user: str, password: str, state: ServerState) -> None:
        """Make a password that is live on some nodes live on all, beside what else is live."""
        ...
