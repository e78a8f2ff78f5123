"""Telling what holds connections that it is in a forked child: it must not use the parent's, nor keep its locks."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["watch"]


class _Inheritor(Protocol):
    def after_fork_in_child(self) -> None:
        """Forget what belongs to the parent."""


_watched: weakref.WeakSet[_Inheritor] = weakref.WeakSet()
_registered: list[int] = []


def watch(inheritor: _Inheritor) -> None:
    """Have ``inheritor.after_fork_in_child()`` called in every child forked from here on."""
    if not _registered:
        _registered.append(os.getpid())
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_in_child)
    _watched.add(inheritor)


def _in_child() -> None:
    for inheritor in list(_watched):
        inheritor.after_fork_in_child()
