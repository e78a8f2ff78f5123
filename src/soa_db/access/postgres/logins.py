"""How ``verify`` logs in: by the loader and the connect that services use, with their AWS rights when asked to."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from pydantic import SecretStr

from soa_db.config import IamAuth, PasswordAuth, SecretAuth, SessionConfig
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

    from soa_db.access.aws.rights import Rights
    from soa_db.access.spec import PostgresIdentity
    from soa_db.config import PostgresConfig

__all__ = ["EndableLogins", "LoaderLogins", "Logins", "RunEnded"]

_SESSION = SessionConfig(
    statement_timeout=20.0, lock_timeout=2.0, idle_in_transaction_timeout=20.0, application_name="soa-db verify"
)


class Logins(Protocol):
    """Gives configurations and connections; a test has its own."""

    def config(self, identity: PostgresIdentity, database: str) -> PostgresConfig:
        """How ``identity`` reaches ``database``.

        Raises:
            SoaDbError: AWS did not give what it takes.
        """
        ...

    def impostor(self, identity: PostgresIdentity, user: str, database: str) -> PostgresConfig:
        """How ``identity`` could try to pass for another user: with a token for it that its own AWS rights signed."""
        ...

    def connect(self, config: PostgresConfig) -> psycopg.Connection[Any]:
        """Make one connection in autocommit mode.

        Raises:
            SoaDbError: it failed.
        """
        ...


class LoaderLogins:
    """Logins through ``load_postgres_config_from_aws`` and ``connect``, the public ones.

    Args:
        rights: whose AWS rights to use.
    """

    def __init__(self, rights: Rights) -> None:
        self._rights = rights
        self._configs: dict[tuple[str, str], PostgresConfig] = {}

    def config(self, identity: PostgresIdentity, database: str) -> PostgresConfig:
        """Load the configuration of one of the identity's own databases and turn it to the one asked for."""
        from soa_db.postgres import load_postgres_config_from_aws

        db_id = identity.db_ids[identity.databases.index(database) if database in identity.databases else 0]
        home = identity.databases[identity.db_ids.index(db_id)]
        key = (identity.user, db_id)
        config = self._configs.get(key)
        if config is None:
            config = load_postgres_config_from_aws(
                env=self._rights.env,
                service=identity.service,
                role=identity.role,
                db_id=db_id,
                user=identity.user,
                database=home,
                aws=self._rights.of(identity),
                session=_SESSION,
            )
            self._configs[key] = config
        return config if database == home else config.model_copy(update={"database": database})

    def impostor(self, identity: PostgresIdentity, user: str, database: str) -> PostgresConfig:
        """Sign a token for another user; as a plain password, since nothing is to be renewed when it is refused."""
        from soa_db._sync.credentials import postgres_credentials

        own = self.config(identity, identity.databases[0])
        if not isinstance(own.auth, IamAuth):
            raise ConfigurationError("the identity does not log in by IAM token", user=identity.user)
        aws = self._rights.of(identity)
        token = postgres_credentials(own.model_copy(update={"user": user}), aws=aws).get().secret
        auth = PasswordAuth(password=SecretStr(token))
        return own.model_copy(update={"user": user, "database": database, "auth": auth})

    def connect(self, config: PostgresConfig) -> psycopg.Connection[Any]:
        """Connect as a service would, with the AWS clients the configuration was loaded with."""
        from soa_db.postgres import connect

        match config.auth:
            case SecretAuth(aws=target) | IamAuth(aws=target):
                return connect(config, aws=self._rights.by_target(target))
            case _:
                return connect(config)


class RunEnded(Exception):
    """The run was ended while this part of it was under way."""


class EndableLogins:
    """Logins that another thread can put an end to, whatever their sessions wait for.

    Args:
        logins: makes the connections.
    """

    def __init__(self, logins: Logins) -> None:
        self._logins = logins
        self._lock = threading.Lock()
        self._sessions: WeakSet[psycopg.Connection[Any]] = WeakSet()
        self._ended = False
        self.config = logins.config
        self.impostor = logins.impostor

    def connect(self, config: PostgresConfig) -> psycopg.Connection[Any]:
        """Connect, unless the run has ended.

        Raises:
            RunEnded: it has.
            SoaDbError: it failed.
        """
        if self._ended:
            raise RunEnded
        connection = self._logins.connect(config)
        with self._lock:
            if not self._ended:
                self._sessions.add(connection)
                return connection
        connection.close()
        raise RunEnded

    def end(self) -> None:
        """Hang up every session: its thread meets a connection that broke, and gets no other one."""
        import psycopg

        with self._lock:
            self._ended = True
            for connection in self._sessions:
                # Through a descriptor of our own: the connection is its thread's, which may just be closing it.
                with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as ours:
                    ours.shutdown(socket.SHUT_RDWR)
