"""What an error of redis-py means: for a retry, for a cache call, for the person who reads it. Pure.

The driver's error comes in as the names of its classes, nearest first, and its text. redis-py makes classes of the
first word of some answers (LOADING, READONLY, NOPERM …); of the others the text begins with that word
(https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

__all__ = ["Category", "answer", "classify"]


class Category(Enum):
    """What kind of failure it is, and so what is done about it."""

    UNREACHABLE = "the server is not reached, ended the connection or speaks another protocol"
    SLOW = "the server did not answer in time"
    NOT_READY = "the server answers, but does not serve the command now, and has not run it"
    AUTHENTICATION = "the server refused the credentials"
    CERTIFICATE = "TLS could not be established or verified"
    PRIVILEGE = "the user may not do it"
    FULL = "the server has no memory left, or does not write for another reason of its own"
    POOL = "no connection was free"
    REFUSED = "the command is wrong for the key or the server"
    ARGUMENT = "an argument cannot be sent"
    CONFLICT = "another client was faster"
    DRIVER = "the driver was used wrongly or gave up"
    UNKNOWN = "unknown"


_BY_CLASS = {
    "AskError": Category.NOT_READY,
    "AuthenticationError": Category.AUTHENTICATION,
    "AuthenticationWrongNumberOfArgsError": Category.AUTHENTICATION,
    "AuthorizationError": Category.AUTHENTICATION,
    "BusyLoadingError": Category.NOT_READY,
    "ChildDeadlockedError": Category.DRIVER,
    "ClusterCrossSlotError": Category.REFUSED,
    "ClusterDownError": Category.NOT_READY,
    "ClusterError": Category.NOT_READY,
    "ConnectionError": Category.UNREACHABLE,
    "CrossSlotTransactionError": Category.REFUSED,
    "DataError": Category.ARGUMENT,
    "ExecAbortError": Category.REFUSED,
    "ExternalAuthProviderError": Category.AUTHENTICATION,
    "IncorrectPolicyType": Category.DRIVER,
    "InvalidPipelineStack": Category.DRIVER,
    "InvalidResponse": Category.UNREACHABLE,
    "LockError": Category.CONFLICT,
    "LockNotOwnedError": Category.CONFLICT,
    "MasterDownError": Category.NOT_READY,
    "MaxConnectionsError": Category.POOL,
    "ModuleError": Category.REFUSED,
    "MovedError": Category.NOT_READY,
    "NoPermissionError": Category.PRIVILEGE,
    "NoScriptError": Category.REFUSED,
    "NoSuchFieldsetError": Category.REFUSED,
    "OutOfMemoryError": Category.FULL,
    "PubSubError": Category.DRIVER,
    "ReadOnlyError": Category.NOT_READY,
    "RedisClusterException": Category.UNREACHABLE,
    "RedisError": Category.DRIVER,
    "ResponseError": Category.REFUSED,
    "SlotNotCoveredError": Category.NOT_READY,
    "TimeoutError": Category.SLOW,
    "TryAgainError": Category.NOT_READY,
    "WatchError": Category.CONFLICT,
}
# First words of answers that redis-py hands on as plain ResponseError (or as another class in older releases).
_BY_WORD = {
    "BUSY": Category.NOT_READY,
    "CLUSTERDOWN": Category.NOT_READY,
    "LOADING": Category.NOT_READY,
    "MASTERDOWN": Category.NOT_READY,
    "MISCONF": Category.FULL,
    "NOAUTH": Category.AUTHENTICATION,
    "NOPERM": Category.PRIVILEGE,
    "NOREPLICAS": Category.FULL,
    "OOM": Category.FULL,
    "READONLY": Category.NOT_READY,
    "TRYAGAIN": Category.NOT_READY,
    "WRONGPASS": Category.AUTHENTICATION,
}
_TLS_SIGNS = ("certificate verify failed", "certificate_verify_failed", "wrong_version_number", "wrong version number")
# OpenSSL's reason when the other end is gone: a server that dies, or is not up yet behind its proxy.
_TLS_CUT = ("unexpected_eof", "unexpected eof", "eof occurred in violation of protocol")
# redis-py puts "Command # 1 (SET key value) of pipeline caused error: " before the answer to a command of a pipeline;
# its asynchronous client then gives the answer in the form ('…',).
_ANNOTATION = " of pipeline caused error: "


def answer(text: str) -> str:
    """Return a message of the driver's without the command it quotes, values and all."""
    _, found, rest = text.rpartition(_ANNOTATION)
    if not found:
        return text
    for quote in ("'", '"'):
        if rest.startswith(f"({quote}") and rest.endswith(f"{quote},)"):
            return rest[2:-3]
    return rest


def classify(classes: Iterable[str], text: str = "") -> Category:
    """Say what an error is; ``UNKNOWN`` for a class this module has not been told about.

    Args:
        classes: names of its classes, nearest first.
        text: its message, and its causes' where they say more.
    """
    text = answer(text)
    found = next((_BY_CLASS[name] for name in classes if name in _BY_CLASS), Category.UNKNOWN)
    lower = text.lower()
    match found:
        case Category.UNREACHABLE if "no connection available" in lower or "too many connections" in lower:
            return Category.POOL
        case Category.UNREACHABLE if any(sign in lower for sign in _TLS_CUT):
            return found
        case Category.UNREACHABLE if any(sign in lower for sign in _TLS_SIGNS) or "[ssl:" in lower:
            return Category.CERTIFICATE
        case Category.UNREACHABLE | Category.REFUSED:
            word = text.split(" ", 1)[0].removesuffix(":")
            return _BY_WORD.get(word, found)
        case _:
            return found
