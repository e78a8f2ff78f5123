"""What an error of pymongo means: for a retry, for a check, for the person who reads it. Pure.

The driver's error comes in as the names of its classes, nearest first, the server's code and its text. Codes are those
of https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

__all__ = ["AUTHENTICATION_FAILED", "UNAUTHORIZED", "Category", "classify"]

UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18


class Category(Enum):
    """What kind of failure it is, and so what is done about it."""

    UNREACHABLE = "the server is not reached, ended the connection or speaks another protocol"
    SLOW = "the server did not answer in time"
    NOT_READY = "the server answers, but is no primary or is shutting down"
    AUTHENTICATION = "the server refused the credentials"
    CERTIFICATE = "TLS could not be established or verified"
    PRIVILEGE = "the user may not do it"
    FULL = "the server has no room left"
    POOL = "no connection was free"
    UNACKNOWLEDGED = "written, but not acknowledged by as many members as were asked for"
    REFUSED = "the command is wrong for the data or the server"
    ARGUMENT = "an argument cannot be sent"
    CONFLICT = "a key is taken, or another client was faster"
    DRIVER = "the driver was used wrongly or gave up"
    UNKNOWN = "unknown"


_BY_CLASS = {
    "AutoReconnect": Category.UNREACHABLE,
    "BSONError": Category.ARGUMENT,
    "BulkWriteError": Category.REFUSED,
    "ClientBulkWriteException": Category.REFUSED,
    "CollectionInvalid": Category.REFUSED,
    "ConfigurationError": Category.ARGUMENT,
    "ConnectionFailure": Category.UNREACHABLE,
    "CursorNotFound": Category.REFUSED,
    "DocumentTooLarge": Category.ARGUMENT,
    "DuplicateKeyError": Category.CONFLICT,
    "EncryptedCollectionError": Category.DRIVER,
    "EncryptionError": Category.DRIVER,
    "ExecutionTimeout": Category.SLOW,
    "InvalidBSON": Category.UNREACHABLE,
    "InvalidDocument": Category.ARGUMENT,
    "InvalidId": Category.ARGUMENT,
    "InvalidName": Category.ARGUMENT,
    "InvalidOperation": Category.DRIVER,
    "InvalidStringData": Category.ARGUMENT,
    "InvalidURI": Category.ARGUMENT,
    "NetworkTimeout": Category.SLOW,
    "NotPrimaryError": Category.NOT_READY,
    "OperationFailure": Category.REFUSED,
    "ProtocolError": Category.UNREACHABLE,
    "PyMongoError": Category.DRIVER,
    "SSLCertVerificationError": Category.CERTIFICATE,
    "ServerSelectionTimeoutError": Category.UNREACHABLE,
    "WTimeoutError": Category.UNACKNOWLEDGED,
    "WaitQueueTimeoutError": Category.POOL,
    "WriteConcernError": Category.UNACKNOWLEDGED,
    "WriteError": Category.REFUSED,
    "_OperationCancelled": Category.UNREACHABLE,
    "_PoolClosedError": Category.DRIVER,
}
_BY_CODE = {
    UNAUTHORIZED: Category.PRIVILEGE,
    AUTHENTICATION_FAILED: Category.AUTHENTICATION,
    50: Category.SLOW,  # MaxTimeMSExpired
    64: Category.UNACKNOWLEDGED,  # WriteConcernFailed
    91: Category.NOT_READY,  # ShutdownInProgress
    100: Category.UNACKNOWLEDGED,  # UnsatisfiableWriteConcern
    112: Category.CONFLICT,  # WriteConflict
    146: Category.FULL,  # ExceededMemoryLimit
    189: Category.NOT_READY,  # PrimarySteppedDown
    262: Category.SLOW,  # ExceededTimeLimit
    334: Category.AUTHENTICATION,  # MechanismUnavailable
    391: Category.AUTHENTICATION,  # ReauthenticationRequired
    10107: Category.NOT_READY,  # NotWritablePrimary
    11000: Category.CONFLICT,  # DuplicateKey
    11600: Category.NOT_READY,  # InterruptedAtShutdown
    11602: Category.NOT_READY,  # InterruptedDueToReplStateChange
    13435: Category.NOT_READY,  # NotPrimaryNoSecondaryOk
    13436: Category.NOT_READY,  # NotPrimaryOrSecondary
    14031: Category.FULL,  # OutOfDiskSpace
}
# What the ssl module and OpenSSL say; a handshake that the other side broke off in the middle is no verdict.
_TLS = re.compile(
    r"certificate.verify.failed|wrong.version.number|hostname mismatch|ip address mismatch|self.signed certificate|"
    r"tlsv1 alert|sslv3 alert|unsupported protocol|no shared cipher",
    re.IGNORECASE,
)


# What the driver says of a server that does not know the password either.
_NO_PROOF = "Server returned an invalid"


def classify(classes: Iterable[str], text: str = "", code: int | None = None) -> Category:
    """Say what an error is; ``UNKNOWN`` for a class this module has not been told about.

    Args:
        classes: names of its classes, nearest first.
        text: its message; of an error that speaks for several servers, one certificate that does not stand up decides.
        code: the server's code.
    """
    found = next((_BY_CLASS[name] for name in classes if name in _BY_CLASS), Category.UNKNOWN)
    if found is Category.UNREACHABLE and _TLS.search(text):
        return Category.CERTIFICATE
    if found is Category.REFUSED and code is not None:
        return _BY_CODE.get(code, found)
    if found is Category.REFUSED and text.startswith(_NO_PROOF):
        return Category.AUTHENTICATION
    return found
