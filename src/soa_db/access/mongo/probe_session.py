"""What a user can do once it is logged in, asked in its own session; nothing that is tried takes effect.

What is really written are documents in a collection of the probe's own, which is dropped. Its name says when it was
made: what a run that was killed has left, a later one drops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from soa_db._mongo.failures import DRIVER_ERRORS, typed
from soa_db.access.attempt import Attempt, judge
from soa_db.access.mongo.attempt import DENIED, attempt, reply_text
from soa_db.access.mongo.expect import SYSTEM_DATABASES
from soa_db.access.mongo.forms import INSIDE, RENAMED, SERVER, USERS, Form, out_to, rename_to
from soa_db.access.quoting import shown
from soa_db.access.report import Aspect, Check, Outcome, Probe

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

    from soa_db.access.mongo.expect import MongoAccess, UserAccess
    from soa_db.access.mongo.session import Session

__all__ = ["probe_name", "probe_session", "probe_writing"]

PREFIX = "soa-db-probe-"
# Far longer than a probe lives; the clocks of two who verify may differ.
_ABANDONED = timedelta(minutes=15)
_KINDS: Mapping[Aspect, str] = {
    "read": "read what is not shared with it",
    "write": "write",
    "ddl": "make, change and drop collections",
    "rights": "see and change users and roles",
}


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
        results = self.attempts(form, database, collections)
        return judge(self.probe(database, form.aspect, form.what, can=can), results, mend=self.mend)

    def attempts(self, form: Form, database: str, collections: tuple[str, ...]) -> dict[str, Attempt]:
        """What comes of a form, by its name and the collection's."""
        return {
            form.what if name == self.mark else f"{form.what} {shown(name)}": attempt(
                self.session, database, form.command(name, self.mark), harmless=form.harmless
            )
            for name in (collections if form.each else collections[:1])
        }


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
    yield from probe_writing(ask.session, user, mark=ask.mark, mend=ask.mend)
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
    """Everything about a database of others: one check for each kind of ability."""
    system = database in SYSTEM_DATABASES
    own = ask.user.database
    results: dict[Aspect, dict[str, Attempt]] = {"read": {}, "write": {}, "ddl": {}, "rights": {}}
    for form in (*INSIDE, *USERS):
        # Of the server's own collections it is enough that they cannot be read.
        names = collections[:1] if system and form.aspect == "write" else collections
        results[form.aspect] |= ask.attempts(form, database, names)
    if not system:
        if ask.user.has({"read", "readWrite"}):
            results["write"]["$out"] = attempt(ask.session, own, out_to(database, ask.mark, ask.mark))
        moved = attempt(ask.session, "admin", rename_to(database, own, ask.mark), harmless=RENAMED)
        results["write"]["renameCollection"] = moved
    shown_as = "(nobody's)" if database == ask.mark else database
    for aspect, found in results.items():
        yield judge(ask.probe(shown_as, aspect, _KINDS[aspect], can=False), found, mend=ask.mend)


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


def probe_writing(session: Session, user: UserAccess, *, mark: str, mend: str) -> Iterator[Check]:
    """Write and read in a collection of the probe's own, when the user may write at all.

    Args:
        session: logged in as the user.
        user: what the specs say about it.
        mark: the name of the collection.
        mend: the command that provisions.

    Raises:
        SoaDbError: the server did not answer.
    """
    from pymongo.errors import OperationFailure

    if not user.has({"readWrite"}):
        return
    what = "insert, find, update and delete in a collection of its own, and drop it"
    probe = Probe(user.user.name, user.database, "write", what, "can", "attempt")
    try:
        seen = _round_trip(session.client[user.database], mark)
    except OperationFailure as error:
        wanting: Literal[Outcome.VIOLATED, Outcome.INCONCLUSIVE]
        wanting = Outcome.VIOLATED if error.code == DENIED else Outcome.INCONCLUSIVE
        yield Check(probe, wanting, reply_text(error), mend)
    except DRIVER_ERRORS as error:
        raise typed(error, session.config) from error
    else:
        yield Check(probe, Outcome.INCONCLUSIVE, seen, "look at the server") if seen else Check(probe, Outcome.OK)


def _round_trip(database: Database[dict[str, Any]], name: str) -> str:
    """Write, read and drop; say what did not come back, or nothing."""
    from pymongo.errors import PyMongoError

    _sweep(database)
    try:
        found = _written(database[name])
    except BaseException:
        with suppress(PyMongoError):
            database.drop_collection(name)
        raise
    database.drop_collection(name)
    return found


def _written(collection: Collection[dict[str, Any]]) -> str:
    collection.insert_one({"_id": 1, "by": "soa-db"})
    found = collection.find_one({"_id": 1})
    updated = collection.update_one({"_id": 1}, {"$set": {"by": "soa-db verify"}}).modified_count
    removed = collection.delete_one({"_id": 1}).deleted_count
    if (found, updated, removed) == ({"_id": 1, "by": "soa-db"}, 1, 1):
        return ""
    return "what was written did not come back"


def _sweep(database: Database[dict[str, Any]]) -> None:
    """Drop what runs that were killed have left."""
    from bson import ObjectId

    for name in database.list_collection_names(filter={"name": {"$regex": f"^{PREFIX}[0-9a-f]{{24}}$"}}):
        made = ObjectId(name.removeprefix(PREFIX)).generation_time
        if datetime.now(UTC) - made > _ABANDONED:
            database.drop_collection(name)
