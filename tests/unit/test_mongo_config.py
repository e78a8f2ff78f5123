"""MongoConfig: what it accepts, where it comes from, and what it never shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from soa_db import (
    ConfigurationError,
    Dial,
    IamAuth,
    MongoConfig,
    MongoHost,
    MongoOptions,
    NoAuth,
    PasswordAuth,
    SecretMalformed,
    TlsConfig,
)
from soa_db.sources.mongo import read_ca_payload, read_mongo_hosts

PASSWORD = "canary p@ss:/?#wo+rd%"
ENCODED = "canary%20p%40ss%3A%2F%3F%23wo+rd%25"
AUTH = PasswordAuth(password=SecretStr(PASSWORD))
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def config(**fields: Any) -> MongoConfig:
    """A config with the fewest fields."""
    return MongoConfig(**{"instance_name": "chat", "hosts": [MongoHost(host="h.example")], "database": "d", **fields})


def test_the_defaults_are_safe() -> None:
    """TLS verified, the port of the protocol, nothing waits for ever."""
    plain = config()
    assert (plain.hosts[0].port, plain.tls, plain.auth, plain.replica_set) == (27017, TlsConfig(), NoAuth(), None)
    assert plain.options.connect_timeout > 0
    assert plain.options.server_selection_timeout > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"hosts": []},
        {"hosts": [MongoHost(host=f"h{number}") for number in range(51)]},
        {"hosts": [{"host": ""}]},
        {"hosts": [{"host": "a b"}]},
        {"hosts": [{"host": "a,b"}]},
        {"hosts": [{"host": "u:canary@h"}]},
        {"hosts": [{"host": "h:27017"}]},
        {"hosts": [{"host": "h/x"}]},
        {"hosts": [{"host": "h", "port": 0}]},
        {"database": ""},
        {"database": "a.b"},
        {"database": "a b"},
        {"database": "a/b"},
        {"database": "é" * 32},
        {"user": ""},
        {"user": "a\nb"},
        {"auth": AUTH},
        {"auth": IamAuth(region="r"), "user": "u"},
        {"options": {"max_pool_size": 0}},
        {"options": {"min_pool_size": 200}},
        {"options": {"write_concern": "canary"}},
        {"unknown": 1},
    ],
)
def test_what_cannot_be_used_is_refused(fields: dict[str, Any]) -> None:
    """At construction, with a typed error that quotes nothing."""
    with pytest.raises(ConfigurationError) as caught:
        config(**fields)
    assert "canary" not in str(caught.value)


def test_an_address_is_written_as_drivers_read_it() -> None:
    """An IPv6 address in brackets."""
    assert MongoHost(host="h.example", port=1).address == "h.example:1"
    assert MongoHost(host="fd00::1").address == "[fd00::1]:27017"


def test_it_never_shows_its_password() -> None:
    """Neither repr, nor str, nor a dump."""
    whole = config(user="u", auth=AUTH)
    for shown in (repr(whole), str(whole), str(whole.model_dump()), whole.model_dump_json()):
        assert "canary" not in shown


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a:1", (("a", 1),)),
        (" a:1 ,, b.example:2 ,", (("a", 1), ("b.example", 2))),
        ("[fd00::1]:27017,10.0.0.1:1", (("fd00::1", 27017), ("10.0.0.1", 1))),
        (",".join(f"h{number}:1" for number in range(50)), tuple((f"h{number}", 1) for number in range(50))),
    ],
)
def test_a_list_of_hosts(text: str, hosts: tuple[tuple[str, int], ...]) -> None:
    """Blanks are ignored, also whole entries of them; the order stays."""
    assert read_mongo_hosts(text) == hosts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no host"),
        (" , ,", "names no host"),
        ("a:1,canary", "number 2, without a port"),
        ("fd00::1", "number 1, without a port"),
        ("canary:1:2", "not host:port"),
        ("a:", "not host:port"),
        ("a:0", "not host:port"),
        ("a:65536", "not host:port"),
        ("[fd00::1:27017", "not host:port"),
        ("mongodb://u:canary@h:1", "not host:port"),
        ("a b:1", "not host:port"),
        (",".join(f"h{number}:1" for number in range(100)), "100 hosts; a replica set has 50"),
    ],
)
def test_a_list_of_hosts_that_cannot_be_used(text: str, words: str) -> None:
    """Told by its number in the list, never quoted."""
    with pytest.raises(ValueError, match=words) as caught:
        read_mongo_hosts(text)
    assert "canary" not in str(caught.value)


def test_a_secrets_payload_is_a_config() -> None:
    """Hosts as text, as a list, or one host and its port; what is given wins."""
    payload = {"username": "u", "password": PASSWORD, "hosts": "a:1, b:2", "database": "d", "replica_set": "rs", "x": 1}
    whole = MongoConfig.from_secret(payload, instance_name="chat")
    members = (MongoHost(host="a", port=1), MongoHost(host="b", port=2))
    assert whole == config(hosts=members, user="u", auth=AUTH, replica_set="rs")
    listed = {**payload, "hosts": ["a:1", "b:2"], "host": "other", "port": 9}
    assert MongoConfig.from_secret(listed, instance_name="chat") == whole
    one = {**payload, "hosts": None, "host": "fd00::1", "port": "7"}
    assert MongoConfig.from_secret(one, instance_name="chat").hosts == (MongoHost(host="fd00::1", port=7),)
    assert MongoConfig.from_secret(payload, instance_name="chat", database="other", tls=None).database == "other"
    open_server = {"host": "h.example", "port": 27017, "database": "d"}
    assert MongoConfig.from_secret(open_server, instance_name="chat") == config()
    for missing in ("hosts", "database"):
        with pytest.raises(ConfigurationError, match=missing):
            MongoConfig.from_secret({**payload, missing: None}, instance_name="chat")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"password": None}, "password"),
        ({"password": ""}, "password"),
        ({"password": 5}, "password"),
        ({"username": ["canary"]}, "username"),
        ({"hosts": "canary"}, "hosts"),
        ({"hosts": ""}, "hosts"),
        ({"hosts": []}, "hosts"),
        ({"hosts": ["canary"]}, "hosts"),
        ({"hosts": [1]}, "hosts"),
        ({"hosts": {"canary": 1}}, "hosts"),
        ({"hosts": "mongodb://u:canary@h:1"}, "hosts"),
        ({"hosts": None, "host": "canary@h", "port": 1}, "host"),
        ({"hosts": None, "host": "h"}, "port"),
        ({"hosts": None, "host": "h", "port": "canary"}, "port"),
        ({"hosts": None, "host": "h", "port": True}, "port"),
        ({"database": 1}, "database"),
        ({"replica_set": ""}, "replica_set"),
    ],
)
def test_a_malformed_secret_names_the_field_and_never_its_value(change: dict[str, object], field: str) -> None:
    """Any value of a secret may be the password in the wrong place."""
    payload = {"username": "u", "password": PASSWORD, "hosts": "a:1", "database": "d", **change}
    with pytest.raises(SecretMalformed, match=f"'{field}'") as caught:
        MongoConfig.from_secret(payload, instance_name="chat", secret_id="dev/mongodb-shared/chat-api-password")
    assert "dev/mongodb-shared/chat-api-password" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("mongodb://h.example/d", {}),
        ("mongodb://h.example:27018/d?", {"hosts": [MongoHost(host="h.example", port=27018)]}),
        ("mongodb://h.example,[fd00::1]:1/d?replicaSet=rs", {"replica_set": "rs", "hosts": ["h.example", "fd00::1"]}),
        (f"mongodb://u%2B:{ENCODED}@h.example/d", {"user": "u+", "auth": AUTH, "auth_source": "d"}),
        (f"mongodb://u:{ENCODED}@h.example/d?authsource=admin", {"user": "u", "auth": AUTH, "auth_source": "admin"}),
        ("mongodb://h.example/d?authSource=a+b", {"auth_source": "a b"}),
        ("mongodb://h.example/d?tls=true", {"tls": TlsConfig()}),
        ("mongodb://h.example/d?ssl=true", {"tls": TlsConfig()}),
        ("mongodb://h.example/d?tls=false", {}),
        ("mongodb://h.example/d?tlsCAFile=%2Fca.pem", {"tls": TlsConfig(ca_file="/ca.pem")}),
        ("mongodb://h.example/d?tlsInsecure=true", {"tls": TlsConfig(verify="none")}),
        ("mongodb://h.example/d?tlsAllowInvalidCertificates=true", {"tls": TlsConfig(verify="none")}),
        ("mongodb://h.example/d?tlsAllowInvalidHostnames=true", {"tls": TlsConfig(verify="ca")}),
        ("mongodb://h.example/d?tlsAllowInvalidHostnames=false", {"tls": TlsConfig()}),
        ("mongodb://h.example/d?tlsCertificateKeyFile=c", {"tls": TlsConfig(cert="c", key="c")}),
        ("mongodb://h.example/d?directConnection=true", {"dial": Dial(host="h.example", port=27017)}),
        ("mongodb://h.example/d?directConnection=false&appName=x&authMechanism=SCRAM-SHA-256", {}),
        ("mongodb://h.example/d?authMechanism=DEFAULT", {}),
        ("mongodb://h.example/d?authMechanism=scram-sha-1", {"options": MongoOptions(mechanism="SCRAM-SHA-1")}),
        (
            (
                "mongodb://h.example/d?maxPoolSize=7&minPoolSize=2&maxIdleTimeMS=1500&connectTimeoutMS=250"
                "&serverSelectionTimeoutMS=3000&waitQueueTimeoutMS=4000&timeoutMS=5000&retryWrites=false&w=2"
            ),
            {
                "options": MongoOptions(
                    max_pool_size=7,
                    min_pool_size=2,
                    max_idle=1.5,
                    connect_timeout=0.25,
                    server_selection_timeout=3.0,
                    pool_timeout=4.0,
                    operation_timeout=5.0,
                    retry_writes=False,
                    write_concern=2,
                )
            },
        ),
        (
            "mongodb://h.example/d?MAXIDLETIMEMS=0&timeoutMS=0&w=majority&retryWrites=true",
            {"options": MongoOptions(retry_writes=True, write_concern="majority")},
        ),
    ],
)
def test_a_url_is_a_config(url: str, fields: dict[str, Any]) -> None:
    """In the driver's words, which mean what they mean there."""
    if fields.get("hosts") == ["h.example", "fd00::1"]:
        fields = {**fields, "hosts": [MongoHost(host="h.example"), MongoHost(host="fd00::1", port=1)]}
    expected = config(**{"tls": None, **fields})
    assert MongoConfig.from_url(url, instance_name="chat") == expected
    assert MongoConfig.from_env({"MONGODB_URI": url}, instance_name="chat") == expected


def test_a_user_without_a_database_is_kept_in_admin() -> None:
    """As the driver has it; the database may be given, and moves no user."""
    found = MongoConfig.from_url("mongodb://u:p@h.example", instance_name="chat", database="d")
    assert (found.database, found.auth_source) == ("d", "admin")
    found = MongoConfig.from_url("mongodb://u:p@h.example/a", instance_name="chat", database="d")
    assert (found.database, found.auth_source) == ("d", "a")
    with pytest.raises(ConfigurationError, match="database"):
        MongoConfig.from_url("mongodb://h.example", instance_name="chat")


@pytest.mark.parametrize(
    "url",
    [
        "canary",
        "http://canary@h/d",
        "mongodb+srv://u:canary@h/d",
        "mongodb://",
        "mongodb:///d",
        "mongodb://u:canary/x@h/d",
        "mongodb://u:27017/canary@h/d",
        "mongodb://u:canary#x@h/d",
        "mongodb://u:can?ary@h/d",
        "mongodb://u:27017?canary=x@h/d",
        "mongodb://u:can@ary@h/d",
        "mongodb://u:can:ary@h/d",
        "mongodb://u:canary%@h/d",
        "mongodb://u:canary%zz@h/d",
        "mongodb://canary@h/d",
        "mongodb://:canary@h/d",
        "mongodb://u:@h/canary",
        "mongodb://h:canary/d",
        "mongodb://fd00::1/canary",
        "mongodb://[canary/d",
        "mongodb://%2Ftmp%2Fcanary.sock/d",
        "mongodb://h/ca/nary",
        "mongodb://h/d.canary",
        "mongodb://h/d?canary",
        "mongodb://h/d?color=canary",
        "mongodb://h/d?w=1&W=2",
        "mongodb://h/d?ssl=true&tls=true",
        "mongodb://h/d?tls=canary",
        "mongodb://h/d?tls=false&tlsCAFile=canary",
        "mongodb://h/d?maxPoolSize=canary",
        "mongodb://h/d?connectTimeoutMS=-1",
        "mongodb://h/d?connectTimeoutMS=0",
        "mongodb://h/d?w=canary",
        "mongodb://h/d?w=0",
        "mongodb://h/d?authMechanism=MONGODB-AWS",
        "mongodb://h/d?authMechanism=PLAIN",
        "mongodb://a,b/d?directConnection=true",
    ],
)
def test_a_url_that_cannot_be_used_is_never_quoted(url: str) -> None:
    """Any part of it may be a piece of a password that was not written as %XX."""
    with pytest.raises(ConfigurationError) as caught:
        MongoConfig.from_url(url, instance_name="chat")
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_variable_is_named() -> None:
    """There is one, and no default in its place."""
    with pytest.raises(ConfigurationError, match="MONGODB_URI"):
        MongoConfig.from_env({}, instance_name="chat")


@cache
def ca(begins: int, ends: int) -> str:
    """A CA that is valid from so many days after NOW to so many."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{begins} {ends}")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=begins))
        .not_valid_after(NOW + timedelta(days=ends))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize("pem", [ca(-1, 1), ca(-2, -1) + ca(-1, 1), "# old\n" + ca(-1, 1)])
def test_a_ca_is_good_while_one_of_its_certificates_is(pem: str) -> None:
    """Old and new stand side by side while it is replaced."""
    assert read_ca_payload({"ca_cert": pem}, "ca", now=NOW.timestamp()) == pem


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (ca(-9, -2), "expired on 2029-12-30"),
        (ca(-9, -2) + ca(-9, -1), "expired on 2029-12-31"),
        (ca(1, 2), "not valid yet"),
        (None, "is missing"),
        ("", "is empty"),
        (5, "is not text"),
        ("canary", "not a certificate in PEM"),
        ("canary ü", "not a certificate in PEM"),
        (ca(-1, 1).replace("M", "canary"), "not a certificate in PEM"),
        (ca(-1, 1) + "-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n", "not a certificate in PEM"),
        (trustme.CA().private_key_pem.bytes().decode(), "not a certificate in PEM"),
    ],
)
def test_a_ca_that_cannot_be_used_is_named_by_secret_and_field(pem: object, words: str) -> None:
    """And nothing of it is quoted."""
    with pytest.raises(SecretMalformed, match=words) as caught:
        read_ca_payload({"ca_cert": pem}, "arn:of-the-ca", now=NOW.timestamp())
    assert "'ca_cert'" in str(caught.value)
    assert "arn:of-the-ca" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
