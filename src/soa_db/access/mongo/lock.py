"""The lock of one MongoDB: a document in a database of our own, for which the administrator needs ``readWrite`` there.

It is taken and renewed by single updates of one document, which are atomic, with the server's clock, and acknowledged
by a majority, so that it outlives an election. MongoDB itself has no lock that ends with a session.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soa_db.access.lease import LEASE_SECONDS, HeldLease, hold, new_token
from soa_db.names import MONGO_LOCK_DATABASE

if TYPE_CHECKING:
    from soa_db.access.mongo.session import Session
    from soa_db.access.plan import Progress

__all__ = ["LOCK_COLLECTION", "LOCK_ID", "server_lock"]

LOCK_COLLECTION = "locks"
LOCK_ID = "provision"
_NEEDS = f"readWrite on the database {MONGO_LOCK_DATABASE}, where a document is the lock"


@dataclass(frozen=True, slots=True)
class _Document:
    """The lease of ``access.lease``, as a document ``{_id, token, holder, until}``."""

    session: Session
    token: str
    who: str
    seconds: float

    @property
    def address(self) -> str:
        return self.session.address

    def take(self) -> bool:
        import pymongo.errors
        from pymongo import ReturnDocument

        # An upsert may not ask for the time in its filter: so the update itself looks whether it is free.
        mine = {"token": self.token, "holder": self.who, "until": self._later()}
        free = {"$lt": ["$until", "$$NOW"]}
        update = {name: {"$cond": [free, _literal(value), f"${name}"]} for name, value in mine.items()}
        with self.session.typed("take the lock", needs=_NEEDS):
            try:
                found = self._documents.find_one_and_update(
                    {"_id": LOCK_ID}, [{"$set": update}], upsert=True, return_document=ReturnDocument.AFTER
                )
            except pymongo.errors.DuplicateKeyError:
                return False  # another run was faster to make it
        return bool(found["token"] == self.token)

    def renew(self) -> bool:
        with self.session.typed("renew the lock"):
            mine = {"_id": LOCK_ID, "token": self.token}
            found = self._documents.update_one(mine, [{"$set": {"until": self._later()}}])
        return bool(found.matched_count)

    def give_back(self) -> None:
        with self.session.typed("give the lock back"):
            self._documents.delete_one({"_id": LOCK_ID, "token": self.token})

    def holder(self) -> str:
        with self.session.typed("read the lock"):
            found = self._documents.find_one({"_id": LOCK_ID})
        return "" if found is None else str(found.get("holder", ""))

    def _later(self) -> dict[str, Any]:
        return {"$add": ["$$NOW", int(self.seconds * 1000)]}

    @property
    def _documents(self) -> Any:
        return self.session.client[MONGO_LOCK_DATABASE][LOCK_COLLECTION]


def _literal(value: object) -> object:
    return {"$literal": value} if isinstance(value, str) else value


@contextmanager
def server_lock(
    session: Session, *, timeout: float | None, progress: Progress, seconds: float = LEASE_SECONDS
) -> Iterator[HeldLease]:
    """Hold the lock for as long as the block runs.

    Args:
        session: the administrator's.
        timeout: seconds to wait for another run; None for as long as it takes.
        progress: told that the lock is being taken, and when there is somebody to wait for.
        seconds: after which the lock of a run that died is free.

    Raises:
        ProvisionError: another run still held the lock, or the administrator may not take it.
        ConnectionFailed: the server was not reached.
    """
    token, who = new_token()
    with hold(_Document(session, token, who, seconds), timeout=timeout, progress=progress) as lease:
        yield lease
