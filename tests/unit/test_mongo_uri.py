"""The connection string: byte for byte the TypeScript package's, masked unless asked, read back by the driver."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from pymongo.uri_parser import parse_uri

from soa_db import ConfigurationError, Dial, MongoConfig, MongoHost, MongoOptions, PasswordAuth, SecretAuth, TlsConfig
from soa_db.mongo import connection_uri


def config(**fields: Any) -> MongoConfig:
    """A config of one host, without TLS and user."""
    host = MongoHost(host="db-host.example")
    return MongoConfig(**{"instance_name": "t", "hosts": [host], "database": "app_db", "tls": None, **fields})


def password(text: str) -> PasswordAuth:
    """That password."""
    return PasswordAuth(password=SecretStr(text))


@pytest.mark.parametrize(
    ("fields", "ca_file", "expected"),
    [
        ({}, None, "mongodb://db-host.example:27017/app_db"),
        (
            {"user": "user@with/special", "auth": password("p@ss/w'ord! (~*)+ü%")},
            None,
            "mongodb://user%40with%2Fspecial:p%40ss%2Fw'ord!%20(~*)%2B%C3%BC%25@db-host.example:27017/app_db",
        ),
        (
            {"hosts": [MongoHost(host="a.internal"), MongoHost(host="fd00::1", port=2)], "replica_set": "saga-rs"},
            None,
            "mongodb://a.internal:27017,[fd00::1]:2/app_db?replicaSet=saga-rs",
        ),
        (
            {"user": "u", "auth": password("pw"), "auth_source": "a_db"},
            None,
            "mongodb://u:pw@db-host.example:27017/app_db?authSource=a_db",
        ),
        ({"tls": TlsConfig()}, None, "mongodb://db-host.example:27017/app_db?tls=true&retryWrites=true"),
        (
            {
                "user": "ledger_api_app",
                "auth": password("sekret"),
                "auth_source": "ledger_api_db",
                "database": "ledger_api_db",
                "replica_set": "saga-rs",
                "tls": TlsConfig(ca_pem="PEM"),
            },
            "/tmp/a ca~*.pem",
            (
                "mongodb://ledger_api_app:sekret@db-host.example:27017/ledger_api_db?replicaSet=saga-rs"
                "&authSource=ledger_api_db&tls=true&retryWrites=true&tlsCAFile=%2Ftmp%2Fa+ca%7E*.pem"
            ),
        ),
    ],
)
def test_it_is_what_the_original_builds(fields: dict[str, Any], ca_file: str | None, expected: str) -> None:
    """User and password as by encodeURIComponent, options as by URLSearchParams, in this order."""
    assert connection_uri(config(**fields), ca_file, show_password=True) == expected


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        (
            {"tls": TlsConfig(ca_file="ca"), "options": MongoOptions(retry_writes=False)},
            "tls=true&retryWrites=false&tlsCAFile=ca",
        ),
        ({"options": MongoOptions(retry_writes=True)}, "retryWrites=true"),
        ({"tls": TlsConfig(verify="ca")}, "tls=true&retryWrites=true&tlsAllowInvalidHostnames=true"),
        ({"tls": TlsConfig(verify="none")}, "tls=true&retryWrites=true&tlsAllowInvalidCertificates=true"),
        ({"tls": TlsConfig(cert="c", key="c")}, "tls=true&retryWrites=true&tlsCertificateKeyFile=c"),
    ],
)
def test_it_says_all_that_a_person_needs(fields: dict[str, Any], options: str) -> None:
    """What the original had no word for comes last."""
    assert connection_uri(config(**fields)) == f"mongodb://db-host.example:27017/app_db?{options}"


def test_the_weaker_mechanism_is_said() -> None:
    """Where there is a login at all."""
    weak = MongoOptions(mechanism="SCRAM-SHA-1")
    found = connection_uri(config(user="u", auth=password("pw"), options=weak))
    assert found == "mongodb://u:****@db-host.example:27017/app_db?authMechanism=SCRAM-SHA-1"
    assert connection_uri(config(options=weak)) == "mongodb://db-host.example:27017/app_db"


def test_a_tunnel_is_dialled_directly() -> None:
    """The driver would else go on to the members the set names, which the tunnel does not lead to."""
    through = config(replica_set="rs", auth_source="a", dial=Dial(host="::1", port=5))
    assert connection_uri(through) == "mongodb://[::1]:5/app_db?authSource=a&directConnection=true"


def test_the_password_is_shown_only_when_asked() -> None:
    """Masked by what is plainly no password, wherever the password is from."""
    known = config(user="u", auth=password("canary"))
    assert connection_uri(known) == "mongodb://u:****@db-host.example:27017/app_db"
    secret = config(user="u", auth=SecretAuth(secret_id="prod/x"))
    assert connection_uri(secret, password="canary") == connection_uri(known)
    assert connection_uri(secret, show_password=True, password="a b") == connection_uri(
        config(user="u", auth=password("a b")), show_password=True
    )


def test_a_password_that_stands_in_a_secret_is_asked_for() -> None:
    """By the secret's name, with the way to it."""
    secret = config(user="u", auth=SecretAuth(secret_id="prod/mongodb-shared/chat-api-password"))
    with pytest.raises(ConfigurationError, match="prod/mongodb-shared/chat-api-password") as caught:
        connection_uri(secret, show_password=True)
    assert "password=" in caught.value.hint


@pytest.mark.parametrize(
    ("fields", "arguments", "words"),
    [
        ({"auth": SecretAuth(secret_id="s")}, {}, "no user"),
        ({"tls": TlsConfig(cert="c", key="k")}, {}, "one file"),
        ({}, {"ca_file": "ca"}, "no TLS"),
        ({"user": "u", "auth": password("canary\udc80")}, {"show_password": True}, "Unicode"),
    ],
)
def test_what_a_uri_cannot_say(fields: dict[str, Any], arguments: dict[str, Any], words: str) -> None:
    """An error, and not a string that means something else."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        connection_uri(config(**fields), **arguments)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='/\\. "$'), min_size=1, max_size=15)
HOSTS = st.builds(
    MongoHost,
    host=st.one_of(
        st.from_regex(r"[a-z0-9](?:[a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True),
        st.ip_addresses(v=6).map(str),
    ),
    port=st.integers(1, 65535),
)
CONFIGS = st.builds(
    config,
    hosts=st.lists(HOSTS, min_size=1, max_size=50).map(tuple),
    database=NAMES,
    user=TEXTS,
    auth=TEXTS.map(password),
    auth_source=TEXTS,
    replica_set=st.none() | TEXTS,
    tls=st.none() | st.builds(TlsConfig, ca_file=st.none() | TEXTS),
)


@given(CONFIGS)
def test_the_driver_reads_what_the_config_says(whole: MongoConfig) -> None:
    """User, password, hosts, database and options, whatever stands in them."""
    found = parse_uri(connection_uri(whole, show_password=True), validate=False)
    assert found["nodelist"] == [(host.host, host.port) for host in whole.hosts]
    assert isinstance(whole.auth, PasswordAuth)
    login = (whole.user, whole.auth.password.get_secret_value())
    assert (found["username"], found["password"], found["database"]) == (*login, whole.database)
    options = dict(found["options"])
    assert options.get("replicaSet") == whole.replica_set
    assert options.get("authSource") == whole.auth_source
    assert ("tls" in options) is (whole.tls is not None)
    assert options.get("tlsCAFile") == (whole.tls and whole.tls.ca_file)


@given(CONFIGS)
def test_a_config_reads_its_own_uri(whole: MongoConfig) -> None:
    """But for retryWrites, which is then said."""
    found = MongoConfig.from_url(connection_uri(whole, show_password=True), instance_name="t")
    options = MongoOptions(retry_writes=None if whole.tls is None else True)
    assert found == whole.model_copy(update={"options": options})


@given(TEXTS)
def test_no_password_is_shown_unasked(text: str) -> None:
    """Two passwords give the same string."""
    shown = connection_uri(config(user="u", auth=password(text)))
    assert shown == "mongodb://u:****@db-host.example:27017/app_db"
