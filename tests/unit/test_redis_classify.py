"""Every error of redis-py has a meaning, and becomes the right typed error."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import redis.exceptions
from pydantic import SecretStr

from soa_db import PasswordAuth, RedisConfig, errors
from soa_db._core.redis.classify import Category, classify
from soa_db._core.redis.refusal import describe
from soa_db._redis.failures import NotReached, category_of, connecting, typed

DRIVER_ERRORS = sorted(
    {
        cls
        for cls in vars(redis.exceptions).values()
        if inspect.isclass(cls) and issubclass(cls, Exception) and cls.__module__ == "redis.exceptions"
    },
    key=lambda cls: cls.__name__,
)
CONFIG = RedisConfig(instance_name="cache", host="h", user="u", auth=PasswordAuth(password=SecretStr("p")))
# What redis-py puts before the answer to a command of a pipeline.
QUOTED = "Command # 1 (SET k [canary] PX 60000) of pipeline caused error: "


def test_there_are_errors_to_look_at() -> None:
    """The list is not empty by mistake."""
    assert len(DRIVER_ERRORS) > 25


@pytest.mark.parametrize("cls", DRIVER_ERRORS, ids=lambda cls: cls.__name__)
def test_every_class_of_the_driver_is_classified_by_its_own_name(cls: type[Exception]) -> None:
    """A new release of redis-py with a new class must be looked at, not taken for its parent."""
    assert classify([cls.__name__]) is not Category.UNKNOWN


def test_an_unheard_of_class_is_unknown() -> None:
    """Nothing is guessed."""
    assert classify(["BrandNewError"]) is Category.UNKNOWN


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (redis.exceptions.ResponseError("MISCONF Redis is configured to save"), Category.FULL),
        (redis.exceptions.ResponseError("OOM command not allowed"), Category.FULL),
        (redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas"), Category.FULL),
        (redis.exceptions.ResponseError("WRONGTYPE Operation against a key"), Category.REFUSED),
        (redis.exceptions.ResponseError("READONLY You can't write"), Category.NOT_READY),
        (redis.exceptions.ResponseError("NOPERM this user"), Category.PRIVILEGE),
        (redis.exceptions.ResponseError("WRONGPASS invalid"), Category.AUTHENTICATION),
        (redis.exceptions.ResponseError(f"{QUOTED}MISCONF Redis is configured to save"), Category.FULL),
        (redis.exceptions.ResponseError(f"{QUOTED}('NOREPLICAS Not enough',)"), Category.FULL),
        (redis.exceptions.ResponseError(f'{QUOTED}("NOPERM User\'s",)'), Category.PRIVILEGE),
        (redis.exceptions.ConnectionError("No connection available."), Category.POOL),
        (redis.exceptions.ConnectionError("Connection closed by server."), Category.UNREACHABLE),
        (redis.exceptions.ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] x"), Category.CERTIFICATE),
        (redis.exceptions.ConnectionError("[SSL: WRONG_VERSION_NUMBER] x"), Category.CERTIFICATE),
        (
            redis.exceptions.ConnectionError("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred"),
            Category.UNREACHABLE,
        ),
    ],
)
def test_an_answer_is_told_by_its_first_word(error: Exception, category: Category) -> None:
    """redis-py hands most of them on as plain ResponseError."""
    assert category_of(error) is category


@pytest.mark.parametrize(
    ("category", "cls"),
    [
        (Category.UNREACHABLE, errors.ServerUnavailable),
        (Category.SLOW, errors.ServerUnavailable),
        (Category.NOT_READY, errors.ServerUnavailable),
        (Category.AUTHENTICATION, errors.AuthenticationFailed),
        (Category.CERTIFICATE, errors.TlsVerificationFailed),
        (Category.PRIVILEGE, errors.AccessDenied),
        (Category.FULL, errors.CommandRefused),
        (Category.POOL, errors.PoolTimeout),
        (Category.REFUSED, errors.CommandRefused),
        (Category.ARGUMENT, errors.ConfigurationError),
        (Category.CONFLICT, errors.CommandRefused),
        (Category.DRIVER, errors.CommandRefused),
        (Category.UNKNOWN, errors.CommandRefused),
    ],
)
def test_every_category_becomes_its_typed_error_with_a_next_step(category: Category, cls: type[Exception]) -> None:
    """No category is forgotten."""
    kind, message, hint = describe(category, "why")
    assert kind is cls
    assert message
    assert hint
    assert set(Category) >= {category}


@pytest.mark.parametrize("text", ["OOM command not allowed", "('OOM command not allowed',)"])
def test_a_value_that_the_driver_quotes_is_left_out(text: str) -> None:
    """Of pipelines it quotes the command; the rest is the server's answer."""
    _, message, _ = describe(Category.FULL, QUOTED + text)
    assert message == "the server takes no writes: OOM command not allowed"


@pytest.mark.parametrize(
    ("category", "text", "source", "hint"),
    [
        (Category.AUTHENTICATION, "x", "elasticache-iam", "elasticache:Connect"),
        (Category.AUTHENTICATION, "x", "none", "no credentials"),
        (Category.AUTHENTICATION, "x", "config", "check user and password"),
        (Category.AUTHENTICATION, "x", "dev/redis/chat", "dev/redis/chat"),
        (Category.CERTIFICATE, "[SSL: WRONG_VERSION_NUMBER]", "", "speaks no TLS"),
        (Category.CERTIFICATE, "certificate has expired", "", "renew"),
        (Category.CERTIFICATE, "Hostname mismatch", "", "`dial`"),
        (Category.CERTIFICATE, "unable to get local issuer", "", "SOA_DB_CA_FILE"),
        (Category.UNREACHABLE, "Protocol error, got b'H'", "", "something else than Redis"),
        (Category.UNREACHABLE, "Name or service not known", "", "host name"),
        (Category.UNREACHABLE, "max number of clients reached", "", "maxclients"),
        (Category.PRIVILEGE, "NOPERM", "", "db-access.yaml"),
    ],
)
def test_the_hint_is_the_next_step(category: Category, text: str, source: str, hint: str) -> None:
    """It fits what really went wrong."""
    assert hint in describe(category, text, source=source)[2]


def test_a_failed_login_is_our_error_and_the_drivers_and_names_no_secret() -> None:
    """A server that repeats the password does not get it into our message; copies and pickles keep everything."""
    driver = redis.exceptions.AuthenticationError("WRONGPASS for hunter22")
    error = connecting(driver, CONFIG, source="dev/redis/chat", secret="hunter22")
    assert isinstance(error, errors.AuthenticationFailed)
    assert isinstance(error, redis.exceptions.AuthenticationError)
    assert "hunter22" not in str(error)
    assert "dev/redis/chat" in str(error)
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert str(again) == str(error)
        assert type(again) is type(error)


def test_our_own_error_comes_out_of_a_clusters_wrapping() -> None:
    """A cluster client wraps what went wrong at its nodes."""
    inner = NotReached("away", hint="wait")
    outer = redis.exceptions.RedisClusterException("Redis Cluster cannot be connected")
    outer.__cause__ = inner
    assert typed(outer, CONFIG) is inner
