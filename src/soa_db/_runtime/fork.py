"""What a forked child does about the connections it inherits.

The child must neither use them (two processes would talk on one socket) nor close them in a way that tells the server,
nor keep the parent's locks.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["detach", "watch"]


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
    failures: list[Exception] = []
    for inheritor in list(_watched):
        try:
            inheritor.after_fork_in_child()
        except Exception as error:  # noqa: BLE001 - told below: the others must not keep what is the parent's
            failures.append(error)
    if failures:
        raise ExceptionGroup("connections inherited from the parent could not be let go", failures)


def detach(descriptors: Iterable[int]) -> None:
    """Turn inherited sockets into ``/dev/null``.

    The parent's are untouched, the server sees the parent's end when it comes, and whatever the child still does to
    the objects goes nowhere.
    """
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for descriptor in descriptors:
            if descriptor >= 0:
                os.dup2(null, descriptor, inheritable=False)
    finally:
        os.close(null)
