"""What a user can do once it is logged in, asked in its own session; nothing that is tried takes effect.

What is really written are documents in a collection of the probe's own, which is dropped. Its name says when it was
made: what a run that was killed has left, a later one drops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from soa_db._mongo.failures import DRIVER_ERRORS, typed
from soa_db.access.attempt import judge
from soa_db.access.mongo.attempt import DENIED, attempt, reply_text
from soa_db.access.mongo.expect import SYSTEM_DATABASES
from soa_db.access.mongo.forms import INSIDE, SERVER, USERS, Form, out_to, rename_to
from soa_db.access.quoting import shown
from soa_db.access.report import Aspect, Check, Outcome, Probe

if TYPE_CHECKING:
    from soa_db.access.mongo.expect import MongoAccess, UserAccess
    from soa_db.access.mongo.session import Session

__all__ = ["PREFIX", "probe_name", "probe_session"]

PREFIX = "soa-db-probe-"
# Far longer than a probe lives; the clocks of two who verify may differ.
_ABANDONED = timedelta(minutes=15)
_NOT_FOUND = frozenset({26})


def probe_name() -> str:
    """A name that nothing has, and that says when it was made."""
    from bson import ObjectId

    return f"{PREFIX}{ObjectId()}"


@dataclass(frozen=True, slots=True)
class _Asker:
    session: Session
    access: MongoAccess
    user: UserAccess
    mark: str
    mend: str

    def probe(self, database: str, aspect: Aspect, what: str, *, can: bool) -> Probe:
        return Probe(self.user.user.name, database, aspect, what, "can" if can else "cannot", "attempt")

    def tried(self, form: Form, database: str, collections: tuple[str, ...], *, can: bool = False) -> Check:
        """Try one form on some collections of a database."""
        names = collections if form.each else collections[:1]
        results = {
            "" if name == self.mark else shown(name): attempt(
                self.session, database, form.command(name, self.mark), harmless=form.harmless
            )
            for name in names
        }
        return judge(self.probe(database, form.aspect, form.what, can=can), results, mend=self.mend)


def probe_session(session: Session, access: MongoAccess, user: UserAccess, *, mark: str, mend: str) -> Iterator[Check]:
    """Ask everything about one user.

    Args:
        session: logged in as the user.
        access: what the specs say about everybody.
        user: what they say about this one.
        mark: a name that nothing has (``probe_name``).
        mend: the command that provisions.

    Raises:
        SoaDbError: the server did not answer.
    """
    ask = _Asker(session, access, user, mark, mend)
    yield from _own(ask)
    yield from _reads(ask)
    for database, collections in access.foreign(user, mark):
        yield from _foreign(ask, database, collections)
    for form in SERVER:
        yield ask.tried(form, "admin", (mark,))
    yield _listed(ask)
    yield _javascript(ask)


def _own(ask: _Asker) -> Iterator[Check]:
    user = ask.user
    if user.has({"readWrite"}):
        yield _round_trip(ask)
    known = ask.access.collections.get(user.database, frozenset())
    for form in INSIDE:
        yield ask.tried(form, user.database, (ask.mark, *sorted(known)), can=user.has(form.roles))
    for form in USERS:
        yield ask.tried(form, user.database, (ask.mark,))


def _reads(ask: _Asker) -> Iterator[Check]:
    find = INSIDE[0]
    for database, collections in sorted(ask.user.reads.items()):
        yield judge(
            ask.probe(database, "read", f"find in {', '.join(map(shown, sorted(collections)))}", can=True),
            {shown(name): attempt(ask.session, database, find.command(name, ask.mark)) for name in sorted(collections)},
            mend=ask.mend,
        )
        for form in INSIDE[1:]:
            if form.each:
                yield ask.tried(form, database, tuple(sorted(collections)))


def _foreign(ask: _Asker, database: str, collections: tuple[str, ...]) -> Iterator[Check]:
    system = database in SYSTEM_DATABASES
    for form in (*INSIDE, *USERS):
        # Of the server's own collections it is enough that they cannot be read.
        names = collections[:1] if system and form.aspect == "write" else collections
        yield ask.tried(form, database, names)
    if system:
        return
    own = ask.user.database
    if ask.user.has({"read", "readWrite"}):
        result = attempt(ask.session, own, out_to(database, ask.mark, ask.mark))
        yield judge(ask.probe(database, "write", "write by $out", can=False), {"": result}, mend=ask.mend)
    result = attempt(ask.session, "admin", rename_to(database, own, ask.mark), harmless=_NOT_FOUND)
    yield judge(ask.probe(database, "write", "move a collection there", can=False), {"": result}, mend=ask.mend)


def _listed(ask: _Asker) -> Check:
    """The databases it is shown when it asks for those it may use."""
    probe = Probe(ask.user.user.name, "admin", "rights", "see databases of others in a list", "cannot", "attempt")
    with ask.session.typed("list databases"):
        reply = ask.session.client.admin.command({"listDatabases": 1, "nameOnly": True})
    beyond = {one["name"] for one in reply["databases"]} - {ask.user.database, *ask.user.reads}
    if beyond and ask.user.pending:
        beyond &= ask.access.databases | set(SYSTEM_DATABASES)
    if beyond:
        return Check(probe, Outcome.VIOLATED, f"it sees {', '.join(map(shown, sorted(beyond)))}", ask.mend)
    return Check(probe, Outcome.OK)


def _javascript(ask: _Asker) -> Check:
    """Whether the server runs JavaScript for whoever may find: there is no privilege for it."""
    probe = Probe(
        ask.user.user.name, ask.user.database, "rights", "the server runs JavaScript ($where)", "is", "attempt"
    )
    found = attempt(ask.session, ask.user.database, {"find": ask.mark, "filter": {"$where": "true"}, "limit": 1})
    if found.permitted:
        step = "there is no privilege for it; security.javascriptEnabled: false in mongod.conf, where nobody uses it"
        return Check(probe, Outcome.NOTED, "$where, $function and mapReduce run code of the user's on the server", step)
    reason = "it may not find" if found.permitted is False else found.seen
    return Check(probe, Outcome.NOT_APPLICABLE, reason)


# --- the collection of its own


def _round_trip(ask: _Asker) -> Check:
    from pymongo.errors import OperationFailure

    database = ask.session.client[ask.user.database]
    probe = ask.probe(
        ask.user.database, "write", "insert, find, update and delete in a collection of its own, and drop it", can=True
    )
    try:
        _sweep(database)
        try:
            seen = _written(database, ask.mark)
        finally:
            with suppress(OperationFailure):
                database.drop_collection(ask.mark)
        left = database.list_collection_names(filter={"name": ask.mark})
    except OperationFailure as error:
        wanting: Literal[Outcome.VIOLATED, Outcome.INCONCLUSIVE]
        wanting = Outcome.VIOLATED if error.code == DENIED else Outcome.INCONCLUSIVE
        return Check(probe, wanting, reply_text(error), ask.mend)
    except DRIVER_ERRORS as error:
        raise typed(error, ask.session.config) from error
    if left:
        return Check(probe, Outcome.VIOLATED, f"the collection {ask.mark} could not be dropped", ask.mend)
    if seen:
        return Check(probe, Outcome.INCONCLUSIVE, seen, "look at the server, then verify again")
    return Check(probe, Outcome.OK)


def _written(database: Any, name: str) -> str:
    """Write and read a document; what did not come back, or nothing."""
    collection = database[name]
    collection.insert_one({"_id": 1, "by": "soa-db"})
    found = collection.find_one({"_id": 1})
    updated = collection.update_one({"_id": 1}, {"$set": {"by": "soa-db verify"}}).modified_count
    removed = collection.delete_one({"_id": 1}).deleted_count
    if (found, updated, removed) == ({"_id": 1, "by": "soa-db"}, 1, 1):
        return ""
    return "what was written did not come back"


def _sweep(database: Any) -> None:
    """Drop what runs that were killed have left."""
    from bson import ObjectId

    for name in database.list_collection_names(filter={"name": {"$regex": f"^{PREFIX}[0-9a-f]{{24}}$"}}):
        made = ObjectId(name.removeprefix(PREFIX)).generation_time
        if datetime.now(UTC) - made > _ABANDONED:
            database.drop_collection(name)
