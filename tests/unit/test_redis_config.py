"""RedisConfig: what it accepts, where it comes from, and what it never shows."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from soa_db import ConfigurationError, IamAuth, NoAuth, PasswordAuth, RedisConfig, SecretMalformed, TlsConfig

PASSWORD = "canary p@ss:/?#word"
AUTH = PasswordAuth(password=SecretStr(PASSWORD))


def config(**fields: Any) -> RedisConfig:
    """A config with the fewest fields."""
    return RedisConfig(**{"instance_name": "cache", "host": "redis.example", **fields})


def test_the_defaults_are_safe() -> None:
    """TLS verified, the port of the protocol, everything bounded."""
    plain = config()
    assert (plain.port, plain.tls, plain.auth, plain.cluster, plain.db) == (6379, TlsConfig(), NoAuth(), False, 0)
    assert plain.connect_timeout > 0
    assert plain.command_timeout > 0
    assert plain.max_connections > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"host": ""},
        {"host": "a b"},
        {"host": "a,b"},
        {"port": 0},
        {"user": ""},
        {"user": "a\nb"},
        {"db": -1},
        {"db": 1, "cluster": True},
        {"connect_timeout": 0},
        {"command_timeout": float("inf")},
        {"max_connections": 0},
        {"auth": IamAuth(region="r"), "user": "u", "tls": None},
        {"auth": IamAuth(region="r")},
        {"auth": {"kind": "iam", "region": "r", "cache_name": "a.b"}, "user": "u"},
        {"unknown": 1},
    ],
)
def test_what_cannot_be_used_is_refused(fields: dict[str, Any]) -> None:
    """At construction, with a typed error."""
    with pytest.raises(ConfigurationError):
        config(**fields)


def test_it_never_shows_its_password() -> None:
    """Neither repr, nor str, nor a dump."""
    whole = config(auth=AUTH)
    for shown in (repr(whole), str(whole), str(whole.model_dump()), whole.model_dump_json()):
        assert "canary" not in shown


def test_a_secrets_payload_is_a_config() -> None:
    """The port as a number or as text; fields of others are nobody's business; what is given wins."""
    payload = {"username": "u", "password": PASSWORD, "endpoint": "h.example", "port": "6380", "user_group_id": "g"}
    whole = RedisConfig.from_secret(payload, instance_name="cache")
    assert whole == config(host="h.example", port=6380, user="u", auth=AUTH)
    assert RedisConfig.from_secret({**payload, "tls": False}, instance_name="cache").tls is None
    assert RedisConfig.from_secret({**payload, "tls": "true"}, instance_name="cache").tls == TlsConfig()
    assert RedisConfig.from_secret(payload, instance_name="cache", host="other", port=1).host == "other"
    with_port = {"password": PASSWORD, "endpoint": "h.example:7000"}
    assert RedisConfig.from_secret(with_port, instance_name="cache").port == 7000
    assert RedisConfig.from_secret({**with_port, "port": 7001}, instance_name="cache").port == 7001
    with pytest.raises(ConfigurationError, match="host"):
        RedisConfig.from_secret({"password": PASSWORD}, instance_name="cache")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"password": None}, "password"),
        ({"password": ""}, "password"),
        ({"password": 5}, "password"),
        ({"username": ["canary"]}, "username"),
        ({"endpoint": "canary host"}, "endpoint"),
        ({"endpoint": "h:canary"}, "endpoint"),
        ({"endpoint": "h:"}, "endpoint"),
        ({"endpoint": "[::1"}, "endpoint"),
        ({"endpoint": "rediss://u:canary@h.example:6379"}, "endpoint"),
        ({"endpoint": "u:canary@h:1"}, "endpoint"),
        ({"endpoint": "canary@h"}, "endpoint"),
        ({"port": "canary"}, "port"),
        ({"port": 0}, "port"),
        ({"port": True}, "port"),
        ({"tls": "canary"}, "tls"),
        ({"tls": 1}, "tls"),
    ],
)
def test_a_malformed_secret_names_the_field_and_never_its_value(change: dict[str, object], field: str) -> None:
    """Any value of a secret may be the password in the wrong place."""
    payload = {"username": "u", "password": PASSWORD, "endpoint": "h.example", **change}
    with pytest.raises(SecretMalformed, match=f"'{field}'") as caught:
        RedisConfig.from_secret(payload, instance_name="cache", secret_id="dev/redis/chat-api")
    assert "dev/redis/chat-api" in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("redis://h.example", {"tls": None}),
        ("rediss://h.example:6380/2", {"port": 6380, "db": 2}),
        ("redis://[::1]:7000", {"host": "::1", "port": 7000, "tls": None}),
        ("redis://u:canary%20p%40ss%3A%2F%3F%23word@h.example", {"user": "u", "auth": AUTH, "tls": None}),
        ("redis://:canary%20p%40ss%3A%2F%3F%23word@h.example?db=3", {"auth": AUTH, "db": 3, "tls": None}),
        ("rediss://h.example?ssl_cert_reqs=none", {"tls": TlsConfig(verify="none")}),
        (
            "rediss://h.example?ssl_ca_certs=%2Fca.pem&ssl_check_hostname=false",
            {"tls": TlsConfig(ca_file="/ca.pem", verify="ca")},
        ),
        (
            "redis://h.example?socket_timeout=2.5&socket_connect_timeout=1&max_connections=7",
            {"command_timeout": 2.5, "connect_timeout": 1.0, "max_connections": 7, "tls": None},
        ),
    ],
)
def test_a_url_is_a_config(url: str, fields: dict[str, Any]) -> None:
    """In redis-py's words; rediss is TLS, verified."""
    expected = config(**{"host": "h.example", **fields})
    assert RedisConfig.from_url(url, instance_name="cache") == expected
    assert RedisConfig.from_env({"REDIS_URL": url, "REDIS_HOST": "no"}, instance_name="cache") == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://canary@h",
        "redis://",
        "redis://u:canary/x@h",
        "redis://u:canary#x@h",
        "redis://u:can?ary@h",
        "redis://h:canary",
        "redis://[canary",
        "redis://h/canary",
        "redis://h?canary",
        "redis://h?color=canary",
        "redis://h?db=1&db=2",
        "redis://h/1?db=2",
        "redis://canary@h",
        "redis://h?ssl_ca_certs=canary",
        "rediss://h?ssl_cert_reqs=optional",
        "rediss://h?ssl_check_hostname=canary",
        "redis://h?socket_timeout=canary",
        "redis://h?socket_timeout=0",
        "redis://h?socket_timeout=nan",
        "redis://h?max_connections=-1",
    ],
)
def test_a_url_that_cannot_be_used_is_never_quoted(url: str) -> None:
    """Any part of it may be a piece of a password that was not written as %XX."""
    with pytest.raises(ConfigurationError) as caught:
        RedisConfig.from_url(url, instance_name="cache")
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_environment_is_a_config() -> None:
    """Its variables one by one; redis-cli's for the password where there is no other."""
    given = {
        "REDIS_HOST": "h.example",
        "REDIS_PORT": "6380",
        "REDIS_USERNAME": "u",
        "REDIS_PASSWORD": PASSWORD,
        "REDIS_DB": "1",
        "REDIS_TLS": "true",
        "REDISCLI_AUTH": "another",
    }
    whole = RedisConfig.from_env(given, instance_name="cache")
    assert whole == config(host="h.example", port=6380, user="u", auth=AUTH, db=1)
    only = RedisConfig.from_env({"REDIS_HOST": "h.example", "REDISCLI_AUTH": PASSWORD}, instance_name="cache")
    assert only == config(host="h.example", auth=AUTH, tls=None)
    for wrong in ({}, {"REDIS_HOST": "h", "REDIS_TLS": "canary"}, {"REDIS_HOST": "h", "REDIS_PORT": "canary"}):
        with pytest.raises(ConfigurationError) as caught:
            RedisConfig.from_env(wrong, instance_name="cache")
        assert "canary" not in str(caught.value)
