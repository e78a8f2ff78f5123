"""Loading something large while other threads work."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_collection"]


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
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
