"""How ``verify`` logs in: by the loader and the connect that services use, with their AWS rights when asked to."""

from __future__ import annotations

import os
import socket
import string
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from pydantic import SecretStr

from soa_db.config import IamAuth, PasswordAuth, SecretAuth, SessionConfig
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

    from soa_db.access.spec import PostgresIdentity
    from soa_db.aws import AwsClients
    from soa_db.config import AwsTarget, PostgresConfig
    from soa_db.names import Env

__all__ = ["EndableLogins", "LoaderLogins", "Logins", "Rights", "RunEnded"]

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


def _is_template(text: str) -> bool:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return False
    return all(
        field is None or (field in {"service", "role", "env", "account"} and not spec and not conversion)
        for _, field, spec, conversion in parts
    )


class Rights:
    """The AWS clients of each service and role: the caller's own, or those of a role assumed per service and role.

    Args:
        env: the environment.
        aws: the caller's.
        assume_role: template of a role ARN with the fields {service}, {role}, {env} and {account}; None: no other
            rights than the caller's.
        own: ``aws`` is to be closed with the rest.

    Raises:
        ConfigurationError: the template has another field, or is none.
    """

    def __init__(self, env: Env, aws: AwsClients, assume_role: str | None, *, own: bool = False) -> None:
        self._own = own
        self.env = env
        self.aws = aws
        self.assumes = assume_role is not None
        self._template = assume_role or ""
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], AwsClients] = {}
        if assume_role is not None and not _is_template(assume_role):
            raise ConfigurationError(
                f"{assume_role!r} is not a template of a role",
                hint="its fields are {service}, {role}, {env} and {account}, e.g. "
                "arn:aws:iam::{account}:role/{service}-{role}",
            )

    def of(self, identity: PostgresIdentity) -> AwsClients:
        """The clients an identity's service has."""
        if not self.assumes:
            return self.aws
        tier = (identity.service, identity.role)
        with self._lock:
            if tier not in self._clients:
                account = self.aws.caller_identity().account if "{account}" in self._template else ""
                self._clients[tier] = self.aws.assume(
                    self._template.format(service=identity.service, role=identity.role, env=self.env, account=account)
                )
            return self._clients[tier]

    def by_target(self, target: AwsTarget) -> AwsClients:
        """The clients that made a configuration, so that what they have cached is used again."""
        with self._lock:
            return next((clients for clients in self._clients.values() if clients.target == target), self.aws)

    def close(self) -> None:
        """Close the clients made here; the caller's stay open."""
        with self._lock:
            if self._own:
                self.aws.close()
            for clients in self._clients.values():
                clients.close()


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
        from soa_db._sync.credentials import IamCredentials

        own = self.config(identity, identity.databases[0])
        if not isinstance(own.auth, IamAuth):
            raise ConfigurationError("the identity does not log in by IAM token", user=identity.user)
        aws = self._rights.of(identity)
        token = IamCredentials(own.auth, host=own.host, port=own.port, user=user, aws=aws).get().secret
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
