"""Runs that are killed at any of their changes, as a kill -9 would do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from soa_db.aws import AwsClients

if TYPE_CHECKING:
    import pytest

__all__ = ["Killed", "Knife", "cut_aws"]


class Killed(BaseException):
    """A kill -9, as far as the code can tell: nothing may catch it."""


@dataclass
class Knife:
    """Counts the changing commands and calls, and kills the run at one of them: before it, or just after it."""

    at: int | None = None
    after: bool = False
    changes: list[str] = field(default_factory=list)

    def cut(self, what: str, act: Callable[[], Any]) -> Any:
        self.changes.append(what)
        if self.at is None or len(self.changes) != self.at:
            return act()
        if self.after:
            act()
        self.at = None
        raise Killed(what)


def cut_aws(patch: pytest.MonkeyPatch, knife: Knife) -> None:
    """Put the knife between the code and AWS."""
    call = AwsClients.call

    def called(self: AwsClients, service: str, operation: str, /, **parameters: object) -> dict[str, Any]:
        if operation.startswith(("get", "describe", "batch", "list")):
            return call(self, service, operation, **parameters)
        answer: dict[str, Any] = knife.cut(
            f"{service} {operation}", lambda: call(self, service, operation, **parameters)
        )
        return answer

    patch.setattr(AwsClients, "call", called)
