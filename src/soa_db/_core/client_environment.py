"""What a client program such as psql is started with: variables set, variables taken away, arguments. Pure.

libpq's variables: https://www.postgresql.org/docs/current/libpq-envars.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soa_db._core.conninfo import connection_parameters, login_parameters
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from soa_db.config import PostgresConfig
    from soa_db.credentials import Credentials

__all__ = ["LIBPQ_VARIABLES", "POSTGRES_PROGRAMS", "UNSAFE_VARIABLES", "ClientEnvironment", "postgres_environment"]

_MASK = "****"

POSTGRES_PROGRAMS = frozenset(
    {
        "clusterdb",
        "createdb",
        "createuser",
        "dropdb",
        "dropuser",
        "pg_activity",
        "pg_amcheck",
        "pg_basebackup",
        "pg_dump",
        "pg_dumpall",
        "pg_isready",
        "pg_receivewal",
        "pg_recvlogical",
        "pg_restore",
        "pgbench",
        "pgcli",
        "psql",
        "reindexdb",
        "vacuumdb",
        "vacuumlo",
    }
)
"""Programs that connect by libpq, or as it does."""

LIBPQ_VARIABLES = frozenset(
    {
        "PGAPPNAME",
        "PGCHANNELBINDING",
        "PGCONNECT_TIMEOUT",
        "PGDATABASE",
        "PGGSSDELEGATION",
        "PGGSSENCMODE",
        "PGGSSLIB",
        "PGHOST",
        "PGHOSTADDR",
        "PGKRBSRVNAME",
        "PGLOADBALANCEHOSTS",
        "PGMAXPROTOCOLVERSION",
        "PGMINPROTOCOLVERSION",
        "PGOAUTHCAFILE",
        "PGOAUTHDEBUG",
        "PGPASSFILE",
        "PGPASSWORD",
        "PGPORT",
        "PGREALM",
        "PGREQUIREAUTH",
        "PGREQUIREPEER",
        "PGREQUIRESSL",
        "PGSERVICE",
        "PGSERVICEFILE",
        "PGSSLCERT",
        "PGSSLCERTMODE",
        "PGSSLCOMPRESSION",
        "PGSSLCRL",
        "PGSSLCRLDIR",
        "PGSSLKEY",
        "PGSSLKEYLOGFILE",
        "PGSSLMAXPROTOCOLVERSION",
        "PGSSLMINPROTOCOLVERSION",
        "PGSSLMODE",
        "PGSSLNEGOTIATION",
        "PGSSLROOTCERT",
        "PGSSLSNI",
        "PGSYSCONFDIR",
        "PGTARGETSESSIONATTRS",
        "PGUSER",
    }
)
"""What tells libpq, and drivers that follow it, where and how to connect, and what to print of it (PGOAUTHDEBUG).

Not PGOPTIONS, PGCLIENTENCODING and the like, which are of the session.
"""

UNSAFE_VARIABLES = frozenset(
    {
        # Python's ssl, curl and some builds of OpenSSL write the keys of TLS sessions there: who has them reads the
        # password off the wire (https://docs.python.org/3/library/ssl.html#ssl.create_default_context).
        "SSLKEYLOGFILE",
        # 0 turns verification off in Node.js, and so in mongosh
        # (https://nodejs.org/api/cli.html#node_tls_reject_unauthorizedvalue).
        "NODE_TLS_REJECT_UNAUTHORIZED",
    }
)
"""What gives a secret away in whatever client reads it."""

# No client of PostgreSQL's own reads it; a program that does would go where it says.
_URL = "DATABASE_URL"

# Of a parameter for which libpq reads no variable (keepalives) its own default is kept.
_VARIABLE_OF = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "gssencmode": "PGGSSENCMODE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}


@dataclass(frozen=True, slots=True)
class ClientEnvironment:
    """What a client program finds.

    Attributes:
        variables: those that are set; never shown, since secrets are among them.
        secret: which of them are secrets.
        removed: those that are taken away, because they would lead the client, and its password, elsewhere, or have
            it give the password away.
        arguments: what stands before the caller's own arguments; never a secret.

    Raises:
        ConfigurationError: a value holds a NUL, which no variable can.
    """

    variables: Mapping[str, str] = field(repr=False)
    secret: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in self.variables.items():
            if "\0" in value:
                raise ConfigurationError(
                    f"what {name} is to hold has a NUL in it, which no environment variable can hold",
                    hint="set another password" if name in self.secret else "",
                )

    def within(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the whole environment of the client, from the one it would inherit."""
        return {**{name: value for name, value in inherited.items() if name not in self.removed}, **self.variables}

    def masked(self) -> dict[str, str]:
        """Return the variables that are set, for a person to read: secrets masked."""
        return {name: _MASK if name in self.secret else value for name, value in self.variables.items()}


def postgres_environment(
    config: PostgresConfig, credentials: Credentials, *, addresses: Sequence[str] = (), root_file: str | None = None
) -> ClientEnvironment:
    """Return what libpq reads to connect as a config says.

    Timeouts of the session go into PGOPTIONS; where the config has none, the caller's own PGOPTIONS stays.

    Args:
        config: what to connect to.
        credentials: user and password or token; a token must be used within its 900 s, a connection then lasts on.
        addresses: IP addresses to dial instead of the host's own; the host is still what TLS verifies.
        root_file: file of trusted roots, which must last as long as the client does; needed unless TLS is off or
            unverified.

    Raises:
        ConfigurationError: user or password hold a character that PostgreSQL cannot take.
    """
    user = config.user if config.user is not None else credentials.user
    parameters = {
        **connection_parameters(config, addresses=addresses, root_file=root_file),
        **login_parameters(user, credentials.secret, credentials.source),
    }
    variables = {
        variable: str(parameters[name])
        for name, variable in _VARIABLE_OF.items()
        # An empty one means the same as none: what was inherited is taken away.
        if parameters.get(name, "") != ""
    }
    secret = frozenset({"PGPASSWORD"}) & variables.keys()
    return ClientEnvironment(variables, secret=secret, removed=LIBPQ_VARIABLES | UNSAFE_VARIABLES | {_URL})
