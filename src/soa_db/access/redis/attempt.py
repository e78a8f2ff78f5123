"""Trying a command in a form that cannot take effect, and reading what came of it.

Between MULTI and DISCARD a server checks the rights of every command when it is sent, and carries out none: NOPERM
where it is denied, QUEUED where it would be permitted (processCommand in the servers' server.c; held by tests on real
ones). A connection that breaks in between drops what was queued. EXEC is never sent. Where a command has a wrong
argument that makes it harmless by itself (FLUSHALL BADARG) it is sent with that too.

Arguments are counted before rights are looked at: a form with too few of them proves nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from soa_db.access.attempt import Attempt
from soa_db.access.redis.session import CommandRefused

if TYPE_CHECKING:
    from soa_db.access.redis.session import Session

__all__ = ["attempt", "tried"]

DENIED = "NOPERM"
# A cluster says where the key is only to those who may use it.
_ELSEWHERE = frozenset({"MOVED", "ASK", "CROSSSLOT", "TRYAGAIN"})
_UNKNOWN = re.compile(r"ERR unknown (sub)?command", re.IGNORECASE)
_SWITCHED_OFF = re.compile(r"ERR (DEBUG|MODULE) command not allowed")


def attempt(session: Session, *words: str) -> Attempt:
    """Send a command to be queued, and drop it.

    Raises:
        ServerUnavailable: the connection broke.
    """
    try:
        session.call("MULTI")
    except CommandRefused as error:
        return Attempt(None, f"MULTI: {error.message}")
    try:
        reply = session.call(*words)
    except CommandRefused as error:
        return _refused(error)
    finally:
        _discard(session)
    if reply == "QUEUED":
        return Attempt(permitted=True, seen="it is permitted")
    session.close()  # whatever this is, nothing more is sent to it
    return Attempt(None, f"the server did not queue it: {str(reply)[:80]}")


def tried(session: Session, *words: str, harmless: str) -> Attempt:
    """Send a command that cannot be queued, in a form that the server refuses for its arguments.

    Args:
        session: the session.
        words: the command.
        harmless: the error that only somebody permitted gets.
    """
    try:
        session.call(*words)
    except CommandRefused as error:
        return Attempt(permitted=True, seen="it is permitted") if harmless in error.message else _refused(error)
    return Attempt(permitted=True, seen="it was carried out")


def _refused(error: CommandRefused) -> Attempt:
    if error.code == DENIED:
        return Attempt(permitted=False, seen=error.message)
    if error.code in _ELSEWHERE:
        return Attempt(permitted=True, seen="it is permitted")
    absent = bool(_UNKNOWN.match(error.message) or _SWITCHED_OFF.match(error.message))
    return Attempt(None, error.message[:120], absent)


def _discard(session: Session) -> None:
    try:
        session.call("DISCARD")
    except CommandRefused:
        session.close()
