"""From a configuration to libpq's parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from soa_db._core.conninfo import connection_parameters, login_parameters, session_settings, startup_options
from soa_db.config import Dial, PoolConfig, PostgresConfig, SessionConfig, TlsConfig
from soa_db.errors import ConfigurationError


def config(**changes: object) -> PostgresConfig:
    """A configuration with something changed."""
    return PostgresConfig(**{"instance_name": "chat", "host": "db.example", "database": "chat_api", **changes})


def test_the_defaults_verify_and_keep_alive() -> None:
    """TLS in full, timeouts in the startup packet, a dead peer noticed."""
    parameters = connection_parameters(config(), root_file="/roots.pem")
    assert parameters == {
        "host": "db.example",
        "port": 5432,
        "dbname": "chat_api",
        "application_name": "chat",
        "connect_timeout": 10,
        "gssencmode": "disable",
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        "hostaddr": "",
        "options": "-c idle_in_transaction_session_timeout=30000",
        "sslmode": "verify-full",
        "sslrootcert": "/roots.pem",
    }


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        (None, {"sslmode": "disable"}),
        (TlsConfig(verify="ca"), {"sslmode": "verify-ca"}),
        (TlsConfig(verify="none"), {"sslmode": "require"}),
        (TlsConfig(cert="/c", key="/k"), {"sslmode": "verify-full", "sslcert": "/c", "sslkey": "/k"}),
    ],
)
def test_tls_settings_are_libpqs(tls: TlsConfig | None, expected: dict[str, str]) -> None:
    """One to one."""
    parameters = connection_parameters(config(tls=tls))
    assert {name: value for name, value in parameters.items() if name.startswith("ssl")} == expected


def test_a_dialled_address_keeps_the_real_host_for_verification() -> None:
    """Every address is paired with the name: psycopg tries them in turn."""
    parameters = connection_parameters(config(dial=Dial(host="localhost", port=6000)), addresses=["::1", "127.0.0.1"])
    assert parameters["host"] == "db.example,db.example"
    assert parameters["hostaddr"] == "::1,127.0.0.1"
    assert parameters["port"] == 6000


def test_a_proxy_gets_no_options_in_the_startup_packet() -> None:
    """PgBouncer and RDS Proxy refuse them; they are SET after connect."""
    assert connection_parameters(config(session=SessionConfig(proxy=True)))["options"] == ""


@given(seconds=st.floats(0, 1e12))
def test_a_limit_never_becomes_no_limit(seconds: float) -> None:
    """To the server 0 means none, and more than an int4 is refused."""
    (value,) = session_settings(SessionConfig(statement_timeout=seconds, idle_in_transaction_timeout=None)).values()
    assert (value == 0) == (seconds == 0)
    assert 0 <= value <= 2**31 - 1


def test_what_is_none_stays_the_servers_own() -> None:
    """Nothing is sent for it."""
    assert startup_options(SessionConfig(idle_in_transaction_timeout=None)) == ""
    session = SessionConfig(statement_timeout=1.5, lock_timeout=0, idle_in_transaction_timeout=None)
    assert startup_options(session) == "-c statement_timeout=1500 -c lock_timeout=0"


@pytest.mark.parametrize(("given", "expected"), [(0.1, 2), (2.1, 3), (10.0, 10)])
def test_the_connect_timeout_is_whole_seconds_for_libpq(given: float, expected: int) -> None:
    """Rounded up; libpq takes less than two for two."""
    assert connection_parameters(config(pool=PoolConfig(connect_timeout=given)))["connect_timeout"] == expected


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_password_survives_libpqs_quoting(password: str) -> None:
    """Quotes, backslashes, blanks, percent signs and all."""
    conninfo = make_conninfo("", host="h", **login_parameters("u", password, "config"))
    assert conninfo_to_dict(conninfo)["password"] == password


@pytest.mark.parametrize("password", ["a\0b", "a\ud800b"])
def test_a_password_that_cannot_be_sent_is_refused_without_being_shown(password: str) -> None:
    """At a NUL libpq would end the conninfo, and lose what follows: the sslmode, say."""
    with pytest.raises(ConfigurationError, match="password") as caught:
        login_parameters("u", password, "dev/x")
    assert "dev/x" in str(caught.value)
    assert "a" + password[1] not in str(caught.value)


def test_without_user_or_password_nothing_is_sent() -> None:
    """libpq's own defaults apply."""
    assert login_parameters(None, "", "none") == {}
