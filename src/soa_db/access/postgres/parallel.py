"""Independent pieces of work side by side: each is tried, and every one that failed is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Condition
from typing import TypeVar

from soa_db.access.converge import raise_failed
from soa_db.access.postgres.inspect import PARALLEL
from soa_db.errors import SoaDbError

__all__ = ["each", "sharing_nothing"]

T = TypeVar("T")


def each(work: Callable[[T], None], groups: Iterable[Sequence[T]], *, named: Callable[[T], str], what: str) -> None:
    """Do all of it, groups side by side, the items of one group one after another; one that fails stops no other.

    What is under way when the caller is interrupted is finished, since each piece is whole or not at all; what has not
    begun is left.

    Args:
        work: does one item.
        groups: the items.
        named: what a person calls an item.
        what: what they are, in the plural, e.g. ``databases``; names the threads too.

    Raises:
        ProvisionError: several failed; ``problems`` has one text for each.
        SoaDbError: the one that failed.
    """
    todo = [list(group) for group in groups]
    if not todo:
        return
    failed: list[tuple[T, SoaDbError]] = []
    changed = Condition()
    at_work = 0
    interrupted = False

    def one_after_another(group: Sequence[T]) -> None:
        nonlocal at_work
        with changed:
            if interrupted:
                return
            at_work += 1
        try:
            for item in group:
                if interrupted:
                    return
                try:
                    work(item)
                except SoaDbError as error:
                    failed.append((item, error))
        finally:
            with changed:
                at_work -= 1
                changed.notify_all()

    with ThreadPoolExecutor(min(PARALLEL, len(todo)), thread_name_prefix=f"soa-db-{what}") as pool:
        try:
            futures = [pool.submit(one_after_another, group) for group in todo]
            wait(futures)
        except BaseException:
            # Counted here: the pool neither knows nor awaits a thread whose very start was interrupted, and that
            # thread would work on with what the caller closes next.
            with changed:
                interrupted = True
                changed.wait_for(lambda: not at_work)
            raise
    for future in futures:
        future.result()  # what is no error of ours is a defect, and comes out as it is
    raise_failed(sorted(((named(item), error) for item, error in failed), key=lambda pair: pair[0]), what)


def sharing_nothing(needs: dict[str, frozenset[str]]) -> list[list[str]]:
    """Group names so that no two groups need the same thing.

    Args:
        needs: what each name needs.
    """
    groups: list[tuple[set[str], list[str]]] = []
    for name, things in needs.items():
        together = [group for group in groups if group[0] & things]
        merged = (set(things).union(*(group[0] for group in together)), [one for group in together for one in group[1]])
        merged[1].append(name)
        groups = [group for group in groups if group not in together] + [merged]
    return [names for _, names in groups]
