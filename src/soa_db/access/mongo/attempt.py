"""Sending a command in a form that cannot take effect, and reading what came of it.

A server looks at privileges before it looks at most of what a command says (``checkAuthorization`` of each command in
its sources; held by tests on a real one). So a command that must fail for what it says is answered with code 13 where
it is denied, and with its own code where it would be permitted. Nothing but code 13 proves a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from soa_db._mongo.failures import DRIVER_ERRORS, typed
from soa_db.access.attempt import Attempt

if TYPE_CHECKING:
    from soa_db.access.mongo.session import Session

__all__ = ["DENIED", "attempt", "reply_text"]

DENIED = 13  # Unauthorized (src/mongo/base/error_codes.yml)
PERMITTED = "it is permitted"


def attempt(
    session: Session, database: str, command: Mapping[str, Any], *, harmless: frozenset[int] = frozenset()
) -> Attempt:
    """Send a command that changes nothing.

    Args:
        session: whose.
        database: where.
        command: the command; one that succeeds, or fails with one of ``harmless``, is permitted.
        harmless: the codes that only somebody permitted gets.

    Raises:
        SoaDbError: the server did not answer.
    """
    from pymongo.errors import OperationFailure

    try:
        session.client[database].command(dict(command))
    except OperationFailure as error:
        if error.code == DENIED:
            return Attempt(permitted=False, seen=reply_text(error))
        if error.code in harmless:
            return Attempt(permitted=True, seen=PERMITTED)
        return Attempt(None, reply_text(error))
    except DRIVER_ERRORS as error:
        raise typed(error, session.config) from error
    return Attempt(permitted=True, seen=PERMITTED)


def reply_text(error: Exception) -> str:
    """The server's code and words, without the command that it repeats."""
    details = getattr(error, "details", None)
    text = str(details.get("errmsg") if isinstance(details, Mapping) and details.get("errmsg") else error)
    words = " ".join(text.split("{", 1)[0].removesuffix("to execute command ").split())[:120]
    return f"{getattr(error, 'code', None)}: {words}"
