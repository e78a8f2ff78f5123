"""Every error of pymongo has a meaning, and becomes the right typed error."""

from __future__ import annotations

import copy
import inspect
import pickle
import ssl

import bson.errors
import pymongo.errors
import pytest
from pydantic import SecretStr
from pymongo.errors import NotPrimaryError, OperationFailure, ServerSelectionTimeoutError

from soa_db import MongoConfig, MongoHost, PasswordAuth, errors
from soa_db._core.mongo.classify import Category, classify
from soa_db._core.mongo.refusal import describe
from soa_db._mongo.failures import LoginRefused, category_of, login_refused, typed

DRIVER_ERRORS = sorted(
    {
        cls
        for module in (pymongo.errors, bson.errors)
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, Exception)
    },
    key=lambda cls: cls.__name__,
)
CONFIG = MongoConfig(
    instance_name="chat",
    hosts=(MongoHost(host="h"), MongoHost(host="::1", port=1)),
    database="chat_db",
    user="u",
    auth=PasswordAuth(password=SecretStr("hunter22")),
)


def test_there_are_errors_to_look_at() -> None:
    """The list is not empty by mistake."""
    assert len(DRIVER_ERRORS) > 28


@pytest.mark.parametrize("cls", DRIVER_ERRORS, ids=lambda cls: cls.__name__)
def test_every_class_of_the_driver_is_classified_by_its_own_name(cls: type[Exception]) -> None:
    """A new release of pymongo with a new class must be looked at, not taken for its parent."""
    assert classify([cls.__name__]) is not Category.UNKNOWN


def test_an_unheard_of_class_is_unknown() -> None:
    """Nothing is guessed."""
    assert classify(["BrandNewError"]) is Category.UNKNOWN


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (OperationFailure("Authentication failed.", 18, {"errmsg": "Authentication failed."}), Category.AUTHENTICATION),
        (OperationFailure("not authorized on x to execute", 13, {}), Category.PRIVILEGE),
        (OperationFailure("no such command: 'x'", 59, {}), Category.REFUSED),
        (OperationFailure("WriteConflict error", 112, {}), Category.CONFLICT),
        (OperationFailure("Server returned an invalid signature."), Category.AUTHENTICATION),
        (OperationFailure("no code"), Category.REFUSED),
        (pymongo.errors.WriteError("out of disk", 14031, {}), Category.FULL),
        (pymongo.errors.DuplicateKeyError("E11000", 11000, {}), Category.CONFLICT),
        (pymongo.errors.WTimeoutError("waiting for replication timed out", 64, {}), Category.UNACKNOWLEDGED),
        (NotPrimaryError("not primary", {"code": 10107, "errmsg": "not primary"}), Category.NOT_READY),
        (pymongo.errors.NetworkTimeout("h:1: timed out"), Category.SLOW),
        (pymongo.errors.AutoReconnect("h:1: connection closed"), Category.UNREACHABLE),
        (
            pymongo.errors.AutoReconnect("SSL handshake failed: h:1: [SSL: CERTIFICATE_VERIFY_FAILED] certificate"),
            Category.CERTIFICATE,
        ),
        (
            ServerSelectionTimeoutError("SSL handshake failed: h:1: certificate verify failed: Hostname mismatch"),
            Category.CERTIFICATE,
        ),
        (
            pymongo.errors.AutoReconnect("SSL handshake failed: h:1: EOF occurred in violation of protocol"),
            Category.UNREACHABLE,
        ),
        (ssl.SSLCertVerificationError(1, "Hostname mismatch"), Category.CERTIFICATE),
        (pymongo.errors.DocumentTooLarge("too large"), Category.ARGUMENT),
    ],
    ids=lambda value: value.name if isinstance(value, Category) else type(value).__name__,
)
def test_an_error_is_told_by_its_class_code_and_words(error: Exception, category: Category) -> None:
    """The server's code decides where there is one."""
    assert category_of(error) is category


@pytest.mark.parametrize(
    ("category", "cls"),
    [
        (Category.UNREACHABLE, errors.ServerUnavailable),
        (Category.SLOW, errors.ServerUnavailable),
        (Category.NOT_READY, errors.ServerUnavailable),
        (Category.UNACKNOWLEDGED, errors.ServerUnavailable),
        (Category.AUTHENTICATION, errors.AuthenticationFailed),
        (Category.CERTIFICATE, errors.TlsVerificationFailed),
        (Category.PRIVILEGE, errors.AccessDenied),
        (Category.POOL, errors.PoolTimeout),
        (Category.ARGUMENT, errors.ConfigurationError),
        (Category.FULL, errors.CommandRefused),
        (Category.REFUSED, errors.CommandRefused),
        (Category.CONFLICT, errors.CommandRefused),
        (Category.DRIVER, errors.CommandRefused),
        (Category.UNKNOWN, errors.CommandRefused),
    ],
)
def test_every_category_becomes_its_typed_error_with_a_next_step(category: Category, cls: type[Exception]) -> None:
    """Each says why, and what to do."""
    kind, message, hint = describe(category, "why")
    assert kind is cls
    assert "why" in message
    assert hint


def test_no_category_is_forgotten() -> None:
    """Each has its words."""
    assert all(describe(category, "x")[2] for category in Category)


@pytest.mark.parametrize(
    ("category", "text", "source", "hint"),
    [
        (Category.AUTHENTICATION, "x", "config", "check user, password and auth_source"),
        (Category.AUTHENTICATION, "x", "dev/mongodb-shared/chat-password", "dev/mongodb-shared/chat-password"),
        (Category.AUTHENTICATION, "Server returned an invalid signature.", "config", "the server cannot prove"),
        (Category.PRIVILEGE, "x requires authentication", "none", "no credentials"),
        (Category.PRIVILEGE, "not authorized", "config", "db-access.yaml"),
        (Category.CERTIFICATE, "[SSL: WRONG_VERSION_NUMBER] wrong version number", "", "speaks no TLS"),
        (Category.CERTIFICATE, "certificate has expired", "", "renew"),
        (Category.CERTIFICATE, "Hostname mismatch", "", "localhost"),
        (Category.CERTIFICATE, "tlsv1 alert unknown ca", "", "client certificate"),
        (Category.CERTIFICATE, "unable to get local issuer", "", "SOA_DB_CA_FILE"),
        (Category.UNREACHABLE, "Message length (1347703880) is larger than", "", "something else than MongoDB"),
        (Category.UNREACHABLE, "Name or service not known", "", "host name"),
        (Category.UNREACHABLE, "No replica set members found yet", "", "replica_set"),
        (Category.UNREACHABLE, "Connection refused", "", "has a primary"),
    ],
)
def test_the_hint_is_the_next_step(category: Category, text: str, source: str, hint: str) -> None:
    """It fits what really went wrong."""
    assert hint in describe(category, text, source=source)[2]


def test_a_message_holds_the_servers_words_and_no_documents() -> None:
    """pymongo appends whole answers and descriptions of all servers."""
    words = 'not authorized on admin to execute command { find: "pupils", filter: { email: "ada@example.org" } }'
    details = {"ok": 0.0, "errmsg": words, "code": 13}
    found = typed(OperationFailure("not authorized on admin", 13, details), CONFIG)
    assert isinstance(found, errors.AccessDenied)
    assert "not authorized on admin" in str(found)
    assert "ada@" not in str(found)
    away = ServerSelectionTimeoutError(
        "h:27017: refused (configured timeouts: connectTimeoutMS: 10.0ms), Timeout: 10s, Topology Description: <…>"
    )
    text = str(typed(away, CONFIG))
    assert "the server is not available: h:27017: refused (" in text
    assert "Topology" not in text
    assert "configured" not in text
    assert "hosts=h:27017,[::1]:1" in text
    assert "user=u" in text


def test_a_failed_login_is_our_error_and_the_drivers() -> None:
    """Whoever catches pymongo's by its code finds it; copies and pickles keep everything."""
    driver = OperationFailure("Authentication failed.", 18, {"errmsg": "Authentication failed.", "code": 18})
    error = login_refused(driver, CONFIG, source="dev/mongodb-shared/chat-password")
    assert isinstance(error, errors.AuthenticationFailed)
    assert isinstance(error, OperationFailure)
    assert error.code == 18
    assert error.details is None
    assert category_of(error) is Category.AUTHENTICATION
    assert typed(error, CONFIG) is error
    assert "hunter22" not in f"{error!s}{error!r}"
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert str(again) == str(error)
        assert type(again) is LoginRefused
        assert again.code == 18
        assert not again.has_error_label("RetryableError")
