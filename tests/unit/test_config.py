"""Config models are frozen, pure data, and mask secrets; they are made from payloads, URLs and variables."""

from __future__ import annotations

import contextlib
import json
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from soa_db import Dial, IamAuth, NoAuth, PasswordAuth, PoolConfig, PostgresConfig, SecretAuth, TlsConfig
from soa_db.config import AwsTarget
from soa_db.errors import ConfigurationError, SecretMalformed, SoaDbError
from soa_db.sources import host_and_port, is_local, read_port

CANARY = "c4n4ry"


def config(**changes: Any) -> PostgresConfig:
    """A config of the usual kind, with changes."""
    return PostgresConfig(**{"instance_name": "chat", "host": "db.example", "database": "chat", **changes})


def whole(error: BaseException) -> str:
    """Everything a log would hold of an error, its causes included."""
    return "".join(traceback.format_exception(error)) + repr(error)


def test_repr_and_dump_mask_secrets() -> None:
    """In every form a config is shown or stored."""
    tls = TlsConfig(ca_pem="-----BEGIN CERTIFICATE-----")
    shown = config(auth=PasswordAuth(password=SecretStr(CANARY)), tls=tls)
    for text in (repr(shown), str(shown), repr(shown.model_dump()), shown.model_dump_json()):
        assert CANARY not in text
    assert isinstance(shown.auth, PasswordAuth)
    assert shown.auth.password.get_secret_value() == CANARY


def test_a_config_is_frozen_and_compares_by_value() -> None:
    """It can be a key and be shared between threads."""
    assert config() == config()
    assert hash(config()) == hash(config())
    with pytest.raises(Exception, match="frozen"):
        config().host = "other"  # type: ignore[misc]  # that it is read-only is what is tested


@pytest.mark.parametrize(
    "auth",
    [
        NoAuth(),
        SecretAuth(secret_id="s", aws=AwsTarget(region="us-west-2", role_arn="arn:x", external_id="e")),
        IamAuth(region="us-west-2"),
    ],
)
def test_a_config_without_a_password_survives_json(auth: SecretAuth | IamAuth | NoAuth) -> None:
    """`auth` is tagged, so the right model comes back."""
    there = config(auth=auth, dial=Dial(host="localhost", port=15432))
    assert PostgresConfig(**json.loads(there.model_dump_json())) == there


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"port": 0}, "port"),
        ({"port": 70000}, "port"),
        ({"host": "a b"}, "host"),
        ({"host": "a,b"}, "host"),
        ({"host": ""}, "host"),
        ({"database": "x" * 64}, "63"),
        ({"database": "a\0"}, "control"),
        ({"user": ""}, "empty"),
        ({"pool": {"min_size": 3, "max_size": 2}}, "min_size"),
        ({"session": {"statement_timeout": -1}}, "statement_timeout"),
        ({"session": {"statement_timeout": float("nan")}}, "statement_timeout"),
        ({"tls": {"ca_pem": "a", "ca_file": "b"}}, "not both"),
        ({"tls": {"cert": "a"}}, "both cert and key"),
        ({"auth": {"kind": "password", "password": 5}}, "auth"),
        ({"auth": {"kind": "magic"}}, "auth"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_cannot_be_used_is_a_typed_error_naming_the_field(changes: dict[str, Any], words: str) -> None:
    """pydantic's own error quotes input, and input can be a secret."""
    with pytest.raises(ConfigurationError, match=words):
        config(**changes)


@pytest.mark.parametrize(
    "changes", [{"instance_name": "a\0b"}, {"session": {"application_name": "a\nb"}}, {"tls": {"ca_file": "/a\0b"}}]
)
def test_no_text_can_cut_the_conninfo_short(changes: dict[str, Any]) -> None:
    """At a NUL libpq would drop what follows: password and sslmode among it."""
    with pytest.raises(ConfigurationError, match="control character"):
        config(**changes)


def test_a_token_is_never_sent_in_plain_text() -> None:
    """The server asks for it in clear, and it is good for 15 minutes to whoever reads it."""
    with pytest.raises(ConfigurationError, match="needs TLS"):
        config(auth=IamAuth(region="us-west-2"), tls=None)


def test_an_empty_password_is_refused() -> None:
    """libpq would look for another, in PGPASSWORD and ~/.pgpass."""
    with pytest.raises(ConfigurationError, match="password"):
        PasswordAuth(password=SecretStr(""))


def test_an_error_about_a_password_does_not_hold_it() -> None:
    """Not in the message, not in a chained cause."""
    with pytest.raises(ConfigurationError) as caught:
        config(auth={"kind": "password", "password": [CANARY]})
    assert CANARY not in whole(caught.value)


def test_from_secret_takes_the_payload_and_the_overrides_win() -> None:
    """Port as text, `database` before `dbname`."""
    payload = {"username": "u", "password": "p", "host": "h", "port": "6432", "database": "d", "dbname": "other"}
    made = PostgresConfig.from_secret(payload, instance_name="chat", user="v", tls=None)
    assert (made.host, made.port, made.database, made.user, made.tls) == ("h", 6432, "d", "v", None)
    assert made.auth == PasswordAuth(password=SecretStr("p"))
    assert PostgresConfig.from_secret({**payload, "database": None}, instance_name="chat").database == "other"
    with pytest.raises(ConfigurationError, match="host"):
        PostgresConfig.from_secret({"password": "p", "database": "d"}, instance_name="chat")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"password": None}, "password"),
        ({"password": ""}, "password"),
        ({"password": 5}, "password"),
        ({"password": f"{CANARY}\0"}, "password"),
        ({"username": ""}, "username"),
        ({"username": {"a": 1}}, "username"),
        ({"host": "a b"}, "host"),
        ({"host": 5}, "host"),
        ({"port": "abc"}, "port"),
        ({"port": 70000}, "port"),
        ({"port": 0}, "port"),
        ({"port": True}, "port"),
        ({"port": 5432.0}, "port"),
        ({"port": "５４３２"}, "port"),
        ({"port": ""}, "port"),
        ({"database": ""}, "database"),
        ({"database": None, "dbname": []}, "dbname"),
    ],
)
def test_a_malformed_payload_names_the_field_and_no_value(change: dict[str, object], field: str) -> None:
    """And the secret it stands in."""
    payload = {"username": CANARY, "password": CANARY, "host": "h", "port": 5432, "database": CANARY, **change}
    with pytest.raises(SecretMalformed) as caught:
        PostgresConfig.from_secret(payload, instance_name="chat", secret_id="dev/chat")
    assert f"'{field}'" in str(caught.value)
    assert "dev/chat" in str(caught.value)
    assert CANARY not in whole(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:6432/d", {"host": "h", "port": 6432, "database": "d", "user": "u", "tls": TlsConfig()}),
        ("postgres://u:p@h/d", {"port": 5432}),
        ("postgresql://u@h", {"database": "u", "auth": NoAuth()}),
        ("postgresql://u:p@localhost/d", {"tls": None}),
        ("postgresql://u:p@127.0.0.1/d", {"tls": None}),
        ("postgresql://u:p@127.evil.example/d", {"tls": TlsConfig()}),
        ("postgresql://u:p@[::1]:5433/d", {"host": "::1", "port": 5433, "tls": None}),
        ("postgresql://u@%2FVar%2Frun/d", {"host": "/Var/run", "tls": None}),
        ("postgresql:///d?host=/tmp&user=u", {"host": "/tmp", "user": "u"}),
        ("postgresql://u:p@h/d?sslmode=disable", {"tls": None}),
        ("postgresql://u:p@h/d?sslmode=verify-ca", {"tls": TlsConfig(verify="ca")}),
        ("postgresql://u:p@h/d?sslmode=require", {"tls": TlsConfig(verify="none")}),
        ("postgresql://u:p@localhost/d?sslmode=verify-full", {"tls": TlsConfig()}),
        ("postgresql://u:p@localhost/d?sslrootcert=/ca.pem", {"tls": TlsConfig(ca_file="/ca.pem")}),
        (
            "postgresql://u:p@h/d?sslcert=c&sslkey=k&sslrootcert=r",
            {"tls": TlsConfig(ca_file="r", cert="c", key="k")},
        ),
        ("postgresql://u%40x:p%2Fq%3F@h/d%20e", {"user": "u@x", "database": "d e"}),
        ("postgresql://u:p@h/d?connect_timeout=3", {"pool": PoolConfig(connect_timeout=3)}),
        ("postgresql://h/d?user=a+b&password=c+d", {"user": "a+b"}),
    ],
)
def test_from_url(url: str, expected: dict[str, object]) -> None:
    """libpq's URLs, with TLS verified unless the URL says otherwise or the host is this machine."""
    made = PostgresConfig.from_url(url, instance_name="chat")
    assert {name: getattr(made, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"mysql://u:{CANARY}@h/d", "does not start with postgresql://"),
        (f"postgresql://u:{CANARY}@h:port/d", "cannot be read"),
        (f"postgresql://u:{CANARY}@h:99999/d", "cannot be read"),
        (f"postgresql://u:{CANARY}@[h/d", "cannot be read"),
        (f"postgresql://u:{CANARY}@/d", "no host"),
        (f"postgresql://u:{CANARY}@h/d?sslmode=prefer", "sslmode"),
        (f"postgresql://u:{CANARY}@h/d?sslmode=allow", "sslmode"),
        (f"postgresql://u:{CANARY}@h/d?sslmod=disable", "'sslmod'"),
        (f"postgresql://u:{CANARY}@h/d?sslmode=disable&sslrootcert=x", "sslmode=disable"),
        (f"postgresql://u:{CANARY}@h/d?sslrootcert=system", "system"),
        (f"postgresql://u:a?{CANARY}@h/d", "cannot be read"),
        (f"postgresql://u:1?{CANARY}@h/d", "an unknown parameter"),
        (f"postgresql://u:1/{CANARY}@h/d", "path of the database URL"),
        (f"postgresql://u:a#{CANARY}@h/d", "%23|cannot be read"),
        (f"postgresql://u:{CANARY}@h/d?user=x", "twice"),
        (f"postgresql://u:{CANARY}@h/d?connect_timeout=soon", "connect_timeout"),
        (f"postgresql://:{CANARY}@h", "neither database nor user"),
        (CANARY, "does not start"),
    ],
)
def test_a_url_that_cannot_be_used_is_never_quoted(url: str, words: str) -> None:
    """The password may be in any part of it, when a character of it was not escaped."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        PostgresConfig.from_url(url, instance_name="chat")
    assert CANARY not in whole(caught.value)


@given(st.text(max_size=60))
def test_any_text_as_a_url_gives_a_config_or_a_typed_error(text: str) -> None:
    """No other exception, whatever stands in the environment variable it came from."""
    for url in (text, f"postgresql://{text}", f"postgresql://u:p@h/d?{text}"):
        with contextlib.suppress(SoaDbError):
            PostgresConfig.from_url(url, instance_name="chat")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40))
def test_any_password_survives_a_url(password: str) -> None:
    """Written as %XX, as the hint says."""
    from urllib.parse import quote

    made = PostgresConfig.from_url(f"postgresql://u:{quote(password, safe='')}@h/d", instance_name="chat")
    assert isinstance(made.auth, PasswordAuth)
    assert made.auth.password.get_secret_value() == password


def test_from_env_reads_what_libpq_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's own variables unless others are given."""
    for name, value in {"PGHOST": "h", "PGPORT": "6432", "PGUSER": "u", "PGPASSWORD": "p", "PGAPPNAME": "a"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PGDATABASE", raising=False)
    monkeypatch.delenv("PGSSLMODE", raising=False)
    made = PostgresConfig.from_env(instance_name="chat")
    assert (made.host, made.port, made.database, made.user) == ("h", 6432, "u", "u")
    assert made.session.application_name == "a"
    assert made.tls == TlsConfig()
    with pytest.raises(ConfigurationError, match="names no host"):
        PostgresConfig.from_env({}, instance_name="chat")
    with pytest.raises(ConfigurationError, match="port"):
        PostgresConfig.from_env({"PGHOST": "h", "PGPORT": "x", "PGUSER": "u"}, instance_name="chat")


@pytest.mark.parametrize(
    ("text", "expected"), [("h:1", ("h", 1)), ("[::1]:15432", ("::1", 15432)), ("10.0.0.1:5432", ("10.0.0.1", 5432))]
)
def test_host_and_port(text: str, expected: tuple[str, int]) -> None:
    """What `dial` takes as text."""
    assert host_and_port(text) == expected


@pytest.mark.parametrize("text", ["h", "h:", ":1", "h:abc", "h:70000", "::1:5432", "a b:1", ""])
def test_what_is_no_host_and_port(text: str) -> None:
    """An address of IPv6 needs brackets, or its last group is the port."""
    with pytest.raises(ConfigurationError):
        host_and_port(text)


def test_ports_and_local_hosts() -> None:
    """Numbers and decimal text; loopback addresses, `localhost` and sockets."""
    assert [read_port(port) for port in (1, "65535", 0, "65536", "-1", " 1", None, True, 1.0)] == [
        1, 65535, None, None, None, None, None, None, None,
    ]  # fmt: skip
    assert [is_local(host) for host in ("localhost", "127.1.2.3", "::1", "/tmp", "10.0.0.1", "localhost.example")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip
