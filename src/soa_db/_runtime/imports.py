"""Loading something large while other threads work."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_collection"]

_loading: set[object] = set()


def _collect_again() -> None:
    # The thread that was loading, and would have switched the collector on again, is not in the child.
    if _loading:
        _loading.clear()
        gc.enable()


os.register_at_fork(after_in_child=_collect_again)


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python's cyclic garbage collector from running while a library or a service's model is loaded.

    Loading makes so many objects that the collector looks through the whole process for garbage, of which loading
    makes none: 25 ms and more in which no thread runs, the event loop's included. Left alone where the user has
    switched the collector off.
    """
    if not gc.isenabled():
        yield
        return
    mark = object()
    _loading.add(mark)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        _loading.discard(mark)
