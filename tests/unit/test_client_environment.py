"""What psql, redis-cli and MongoDB's tools are started with."""

from __future__ import annotations

import psycopg
import pytest
from pydantic import SecretStr

from soa_db._core.client_environment import LIBPQ_VARIABLES, ClientEnvironment, postgres_environment
from soa_db.config import Dial, NoAuth, PasswordAuth, PostgresConfig, SessionConfig, TlsConfig
from soa_db.credentials import Credentials
from soa_db.errors import ConfigurationError

PASSWORD = "pa ss'\"\\$word"
CREDENTIALS = Credentials("chat_api_ro", PASSWORD)
# Of the session, not of where and how to connect.
OF_THE_SESSION = {"PGOPTIONS", "PGCLIENTENCODING"}


def postgres(**fields: object) -> PostgresConfig:
    """A config as the loader gives one for mirror."""
    given: dict[str, object] = {
        "instance_name": "chat-api",
        "host": "db.example",
        "port": 5433,
        "database": "chat_api",
        "user": "chat_api_ro",
        "auth": PasswordAuth(password=SecretStr(PASSWORD)),
    }
    return PostgresConfig(**{**given, **fields})


def test_every_variable_that_tells_libpq_where_to_connect_is_taken_away() -> None:
    """A new libpq may read new ones: the list is held against what this one reads."""
    read = {(option.envvar or b"").decode() for option in psycopg.pq.Conninfo.get_defaults()} - {""}
    assert read - OF_THE_SESSION <= LIBPQ_VARIABLES
    assert {"PGSERVICE", "PGSERVICEFILE", "PGPASSFILE", "PGHOSTADDR", "PGSYSCONFDIR"} <= LIBPQ_VARIABLES
    assert not OF_THE_SESSION & LIBPQ_VARIABLES


def test_libpq_finds_in_the_environment_what_the_config_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against libpq itself, started from an environment that would lead elsewhere."""
    for name in LIBPQ_VARIABLES:
        monkeypatch.setenv(name, "elsewhere")
    tls = TlsConfig(cert="/c.pem", key="/k.pem")
    found = postgres_environment(postgres(tls=tls), CREDENTIALS, addresses=("10.0.0.1", "::1"), root_file="/r.pem")
    environment = found.within(dict.fromkeys(LIBPQ_VARIABLES, "elsewhere") | {"PATH": "/bin", "PGTZ": "UTC"})
    for name in LIBPQ_VARIABLES:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = {
        option.keyword.decode(): option.val.decode() for option in psycopg.pq.Conninfo.get_defaults() if option.val
    }
    wanted = {
        "host": "db.example,db.example",
        "hostaddr": "10.0.0.1,::1",
        "port": "5433",
        "dbname": "chat_api",
        "user": "chat_api_ro",
        "password": PASSWORD,
        "sslmode": "verify-full",
        "sslrootcert": "/r.pem",
        "sslcert": "/c.pem",
        "sslkey": "/k.pem",
        "application_name": "chat-api",
        "connect_timeout": "10",
        "gssencmode": "disable",
        "options": "-c idle_in_transaction_session_timeout=30000",
    }
    assert wanted.items() <= options.items()
    assert "elsewhere" not in options.values()
    assert (environment["PATH"], environment["PGTZ"]) == ("/bin", "UTC")


def test_without_timeouts_the_callers_own_pgoptions_stay() -> None:
    """They lead nowhere; `PGOPTIONS='-c statement_timeout=5s'` is a person's way to be careful."""
    session = SessionConfig(idle_in_transaction_timeout=None)
    found = postgres_environment(postgres(session=session), CREDENTIALS)
    assert found.within({"PGOPTIONS": "-c statement_timeout=5s"})["PGOPTIONS"] == "-c statement_timeout=5s"


def test_a_tunnel_is_dialled_and_the_host_verified() -> None:
    """PGHOST stays what the certificate says; the port is the tunnel's."""
    config = postgres(dial=Dial(host="127.0.0.1", port=15432))
    found = postgres_environment(config, CREDENTIALS, addresses=("127.0.0.1",), root_file="/r.pem").variables
    assert (found["PGHOST"], found["PGHOSTADDR"], found["PGPORT"]) == ("db.example", "127.0.0.1", "15432")
    assert found["PGSSLMODE"] == "verify-full"


def test_without_credentials_no_password_is_set_and_none_inherited() -> None:
    """Trust or a client certificate: another database's PGPASSWORD must not be sent there."""
    config = postgres(auth=NoAuth(), tls=None, user=None)
    found = postgres_environment(config, Credentials(None, "", source="none"))
    environment = found.within({"PGPASSWORD": "of another", "PGUSER": "another"})
    assert not {"PGPASSWORD", "PGUSER"} & environment.keys()
    assert environment["PGSSLMODE"] == "disable"
    assert found.secret == frozenset()


def test_secrets_are_in_no_repr_and_masked_for_people() -> None:
    """A log or a traceback shows the object, `exec --json` the masked variables."""
    found = postgres_environment(postgres(), CREDENTIALS)
    assert PASSWORD not in repr(found)
    assert found.masked()["PGPASSWORD"] == "****"
    assert found.masked()["PGUSER"] == "chat_api_ro"


@pytest.mark.parametrize("password", ["a\0b", "\ud800"])
def test_a_password_no_variable_can_hold_is_refused_without_showing_it(password: str) -> None:
    """A NUL would end the variable early."""
    with pytest.raises(ConfigurationError) as caught:
        postgres_environment(postgres(), Credentials("u", password))
    assert password not in str(caught.value)
    with pytest.raises(ConfigurationError, match="PASSWORD is to hold"):
        ClientEnvironment({"PASSWORD": "a\0b"}, secret=frozenset({"PASSWORD"}))
