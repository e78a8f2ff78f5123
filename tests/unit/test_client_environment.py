"""What psql, redis-cli and MongoDB's tools are started with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from pydantic import SecretStr

from soa_db._core.client_environment import (
    LIBPQ_VARIABLES,
    UNSAFE_VARIABLES,
    ClientEnvironment,
    postgres_environment,
)
from soa_db._core.mongo.client_environment import mongo_environment, private_file
from soa_db._core.redis.client_environment import redis_environment
from soa_db.cli.exec import environment_of
from soa_db.config import Dial, NoAuth, PasswordAuth, PostgresConfig, RedisConfig, SessionConfig, TlsConfig
from soa_db.credentials import Credentials
from soa_db.errors import ConfigurationError

PASSWORD = "pa ss'\"\\$word"
CREDENTIALS = Credentials("chat_api_ro", PASSWORD)
# Of the session, not of where and how to connect.
OF_THE_SESSION = {"PGOPTIONS", "PGCLIENTENCODING", "PGDATESTYLE", "PGTZ", "PGGEQO", "PGLOCALEDIR"}


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


def libpqs() -> list[Path]:
    """The libpq of the driver, and those of the servers that are installed beside it (PostgreSQL 16 to 18)."""
    packages = Path(psycopg.__file__).parents[1]
    return [file for pattern in ("libpq-*.so*", "libpq.so.*") for file in packages.rglob(pattern) if file.is_file()]


def test_no_libpq_that_is_at_hand_asks_for_a_variable_that_is_not_known() -> None:
    """Some stand in no list that it hands out: PGOAUTHDEBUG has a libpq of 18 print what it should not."""
    read: set[str] = set()
    for file in libpqs():
        read |= {word.decode() for word in re.findall(rb"(?<=\0)PG[A-Z_]{2,}(?=\0)", file.read_bytes())}
    variables = {name for name in read if not name.startswith("PGRES_")}
    assert "PGOAUTHDEBUG" in variables
    assert variables - OF_THE_SESSION - LIBPQ_VARIABLES == set()


def table() -> dict[str, str]:
    """Variable → what happens to it, as docs/exec.md says."""
    page = (Path(__file__).parents[2] / "docs" / "exec.md").read_text("utf-8")
    rows = (line.split("|") for line in page.splitlines() if line.startswith("| `"))
    return {
        name: row[2].strip().split()[0]
        for row in rows
        if row[2].strip().startswith(("set", "taken away", "kept"))
        for name in re.findall("`([A-Z_0-9]+)`", row[1])
    }


@pytest.mark.parametrize("name", [*table(), "PATH"])
def test_what_the_table_in_the_docs_says_of_a_variable_is_what_happens_to_it(name: str) -> None:
    """Set, taken away, kept: with all three engines asked for, and a tunnel."""
    tunnel, session = Dial(host="::1", port=1), SessionConfig(idle_in_transaction_timeout=None)
    given = [
        # The server's own timeouts, as exec has it.
        postgres_environment(
            postgres(dial=tunnel, session=session), CREDENTIALS, addresses=["::1"], root_file="/r.pem"
        ),
        redis_environment(redis(), CREDENTIALS, program="python"),
        mongo_environment(URI, program="python"),
    ]
    found = environment_of(given, {name: "elsewhere"}).get(name)
    assert {"elsewhere": "kept", None: "taken"}.get(found, "set") == table().get(name, "kept")


def test_the_table_in_the_docs_names_every_variable_that_is_set_or_taken_away() -> None:
    """So that nobody has to read the code to know what becomes of theirs."""
    for found in (
        postgres_environment(postgres(), CREDENTIALS, root_file="/r.pem"),
        redis_environment(redis(), CREDENTIALS, program="redis-cli"),
        mongo_environment(URI, program="mongosh", file="/private/connect.js"),
    ):
        assert (found.removed | found.variables.keys()) - table().keys() == set()
        assert found.removed >= UNSAFE_VARIABLES


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


def redis(**fields: Any) -> RedisConfig:
    """A config as the loader gives one for mirror."""
    given = {"instance_name": "chat-api", "host": "cache.example", "user": "chat-api-mirror", "auth": NoAuth()}
    return RedisConfig(**{**given, **fields})


def test_redis_cli_gets_its_place_as_arguments_and_its_password_as_a_variable() -> None:
    """It reads no variable for host, user or TLS; a later argument of the caller's wins."""
    found = redis_environment(
        redis(port=6380, tls=TlsConfig(cert="/c.pem", key="/k.pem"), cluster=True),
        CREDENTIALS,
        program="redis-cli",
        root_file="/r.pem",
    )
    line = "-h cache.example -p 6380 -c --tls --sni cache.example --cacert /r.pem --cert /c.pem --key /k.pem"
    assert found.arguments == (*line.split(), "--user", "chat-api-mirror")
    assert found.variables["REDISCLI_AUTH"] == found.variables["VALKEYCLI_AUTH"] == PASSWORD
    assert PASSWORD not in repr(found)


def test_redis_cli_through_a_tunnel_names_the_real_host() -> None:
    """SNI is the real host's, what is dialled the tunnel's."""
    found = redis_environment(redis(dial=Dial(host="127.0.0.1", port=1)), CREDENTIALS, program="valkey-cli")
    assert " ".join(found.arguments) == "-h 127.0.0.1 -p 1 --tls --sni cache.example --user chat-api-mirror"


def test_redis_cli_without_users_or_verification() -> None:
    """No user without a password: redis-cli would ask for one."""
    plain = redis_environment(redis(tls=None, db=3), Credentials(None, "", source="none"), program="redis-cli")
    assert plain.arguments == ("-h", "cache.example", "-p", "6379", "-n", "3")
    assert plain.secret == frozenset()
    assert "REDISCLI_AUTH" not in plain.within({"REDISCLI_AUTH": "of another"})
    unverified = redis_environment(redis(tls=TlsConfig(verify="none")), CREDENTIALS, program="redis-cli")
    assert "--insecure" in unverified.arguments


def test_another_program_finds_what_from_env_reads() -> None:
    """Without an argument; an inherited REDIS_URL would win over the rest."""
    found = redis_environment(redis(port=6380), CREDENTIALS, program="python")
    assert found.arguments == ()
    config = RedisConfig.from_env(found.within({"REDIS_URL": "redis://elsewhere"}), instance_name="chat-api")
    assert (config.host, config.port, config.user) == ("cache.example", 6380, "chat-api-mirror")
    assert config.tls is not None
    assert config.auth.kind == "password"
    assert config.auth.password.get_secret_value() == PASSWORD


URI = "mongodb://chat_api_app:p%22w@a.example:27017/chat_api_db?tls=true"


def test_the_mongodb_tools_read_their_uri_from_yaml() -> None:
    """`--config`, since 100.3; the password is nowhere else."""
    file = private_file("mongodump", URI, "/private")
    assert file is not None
    assert yaml.safe_load(file.text) == {"uri": URI}
    assert URI not in repr(file)
    found = mongo_environment(URI, program="mongodump", file="/private/config.yaml")
    assert found.arguments == ("--config=/private/config.yaml",)
    assert found.within({"MONGODB_URI": "elsewhere"}) == {}


@pytest.mark.parametrize(
    ("given", "talks"),
    [
        ((), True),
        (("--quiet",), True),
        (("--eval", "1"), False),
        (("--eval=1",), False),
        (("-f", "x"), False),
        (("--file=x",), False),
        (("report.js",), False),
        (("report.mongodb.js",), False),
        (("--norc", "--apiVersion", "1"), True),
    ],
)
def test_mongosh_is_to_be_talked_to_unless_it_is_given_a_script(given: tuple[str, ...], talks: bool) -> None:
    """The connection is an --eval, the first: with one alone mongosh would connect and end."""
    found = mongo_environment(URI, program="mongosh", given=given, file="/private/connect.js")
    assert found.arguments[:3] == ("--nodb", "--eval", 'void load("/private/connect.js")')
    assert (found.arguments[3:] == ("--shell",)) is talks
    assert found.variables == {}


def test_mongoshs_script_deletes_itself_first() -> None:
    """So that the password does not lie there while the shell is open."""
    file = private_file("mongosh", URI, '/priv"ate')
    assert file is not None
    first, second = file.text.splitlines()
    assert 'unlinkSync("/priv\\"ate/connect.js")' in first
    assert second == f'db = connect("{URI}");'


def test_another_program_finds_mongodb_uri() -> None:
    """What `MongoConfig.from_env` reads."""
    assert private_file("python", URI, "/private") is None
    found = mongo_environment(URI, program="python")
    assert (found.variables, found.arguments) == ({"MONGODB_URI": URI}, ())
    assert found.masked() == {"MONGODB_URI": "****"}
