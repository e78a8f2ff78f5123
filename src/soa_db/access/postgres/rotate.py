"""New passwords for users that log in with one: in dev all, in mirror and prod those of services not yet on IAM.

PostgreSQL keeps one live password per user. From the moment the server is given the new one the old one is refused, so
a client must read its secret again: this library does (AWSCURRENT, then AWSPENDING while the rotation is under way),
and loses no call; a client that read its secret once and for all is cut off at its next connect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from soa_db.access.plan import Progress, ProgressEvent
from soa_db.access.postgres.admin import AdminServer, admin_server
from soa_db.access.postgres.lock import server_lock
from soa_db.access.rotate import Rotated, RotateResult
from soa_db.errors import ConfigurationError, ProvisionError, ServerUnavailable, SoaDbError
from soa_db.names import Env, dev_secret_name, password_secret_name

if TYPE_CHECKING:
    import psycopg

    from soa_db.access.aws.secrets import PasswordSecret
    from soa_db.access.engine import Request, Selection
    from soa_db.access.spec import SpecSet
    from soa_db.aws import AwsClients

__all__ = ["rotate_postgres"]


_COMMENTS = "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = ANY(%s)"


@dataclass(frozen=True, slots=True)
class _Login:
    """A user with the secrets that hold its password."""

    service: str
    user: str
    database: str
    secrets: tuple[PasswordSecret, ...]


def rotate_postgres(request: Request, selection: Selection) -> RotateResult:
    """Give PostgreSQL's users new passwords: in dev all, elsewhere those of the password secrets that exist.

    Raises:
        ConfigurationError: it was not said that all consumers re-read, or the selection is wrong.
        ProvisionError: passwords could not be changed: those named; the others were, and nothing is lost.
        CredentialError: AWS did not give, or take, what was needed.
        ConnectionFailed: the server was not reached.
    """
    if selection.finish:
        return RotateResult((), ("PostgreSQL keeps one live password per user: there is nothing to finish",))
    specs, env, aws = request.specs, request.env, request.aws
    server = admin_server(env, aws=aws, admin_url=request.admin_url)
    if env == "dev":
        logins, skipped = _in_dev(specs, server, selection.services, selection.roles), list[str]()
    else:
        logins, skipped = _on_passwords(specs, env, aws, server, selection.services)
    if not logins:
        return RotateResult((), tuple(skipped))
    if not selection.all_consumers_reread:
        raise ConfigurationError(
            "PostgreSQL keeps one live password per user: a client that read its secret once (the TypeScript "
            "packages do) is cut off at its next connect",
            hint="when every client of these services reads its secret again, say so: --all-consumers-reread; or leave "
            "PostgreSQL out with --engine",
            env=env,
        )
    with server_lock(server, timeout=selection.lock_timeout, progress=request.progress) as (connection, _):
        run = _Run(env, aws, server, connection, request.progress)
        run.check_users(logins)
        return RotateResult(run.rotate_all(logins), tuple(skipped))


def _in_dev(
    specs: SpecSet, server: AdminServer, services: Collection[str] | None, roles: Collection[str] | None
) -> list[_Login]:
    from soa_db.access.aws.secrets import PasswordSecret

    host, port = server.coordinates
    return [
        _Login(
            identity.service,
            identity.user,
            identity.databases[0],
            tuple(
                PasswordSecret(
                    dev_secret_name(identity.service, identity.role, db_id),
                    identity.service,
                    {"username": identity.user, "host": host, "port": port, "database": database},
                )
                for db_id, database in zip(identity.db_ids, identity.databases, strict=True)
            ),
        )
        for identity in specs.postgres_identities()
        if (services is None or identity.service in services) and (roles is None or identity.role in roles)
    ]


def _on_passwords(
    specs: SpecSet, env: Env, aws: AwsClients, server: AdminServer, services: Collection[str] | None
) -> tuple[list[_Login], list[str]]:
    """The users of the password secrets that exist: whoever each payload names.

    A user may stand in the secrets of several services: those are one login, since it has one live password.
    """
    from soa_db.access.aws.secrets import PasswordSecret, read_passwords

    places = [
        (spec.service, spec.database_name(database), password_secret_name(env, spec.service, database.id))
        for spec in specs.specs
        for database in spec.postgres_databases()
    ]
    versions = read_passwords(aws, [name for _, _, name in places])
    found: dict[str, _Login] = {}
    skipped: list[str] = []
    for service, database, name in places:
        version = versions[name]
        chosen = services is None or service in services
        if version is None and chosen:
            skipped.append(f"{service} has no password secret {name}: it logs in by IAM token")
        if version is None:
            continue
        payload = version.payload or {}
        user = _user(payload, name, server) if chosen else _named(payload)
        if user is None:
            continue
        login = found.get(user, _Login(service, user, database, ()))
        found[user] = replace(login, secrets=(*login.secrets, PasswordSecret(name, service)))
    if services is None:
        return list(found.values()), skipped
    logins = [login for login in found.values() if any(secret.service in services for secret in login.secrets)]
    for login in logins:
        if others := sorted({secret.service for secret in login.secrets}.difference(services)):
            raise ConfigurationError(
                f"{login.user} logs in for {', '.join(others)} too, which would be cut off",
                hint=f"rotate these services together: {' '.join(f'--service {one}' for one in others)}",
                env=env,
            )
    return logins, skipped


def _named(payload: Mapping[str, object]) -> str | None:
    user = payload.get("username")
    return user if isinstance(user, str) and user else None


def _user(payload: Mapping[str, object], name: str, server: AdminServer) -> str:
    user = _named(payload)
    if user is None:
        raise ConfigurationError(
            "the secret does not say whose password it holds", hint="put a 'username' into its payload", secret=name
        )
    if user == server.config.user:
        raise ConfigurationError(
            f"the secret holds the password of the administrator {user!r}, which is not a service's to rotate",
            hint="give the service a user of its own",
            secret=name,
        )
    return user


@dataclass(frozen=True, slots=True)
class _Run:
    """One run, over the session that holds the lock: lose it, and nothing more is changed."""

    env: Env
    aws: AwsClients
    server: AdminServer
    connection: psycopg.Connection[Any]
    tell: Progress

    def check_users(self, logins: list[_Login]) -> None:
        """Find missing roles, and those of other services, before any secret is written."""
        import psycopg

        from soa_db.access.postgres.desired import service_of

        wanted = [login.user for login in logins]
        try:
            found = dict(self.connection.execute(_COMMENTS, [wanted]).fetchall())
        except psycopg.Error as error:
            raise ServerUnavailable(
                f"its roles could not be looked at: {error.diag.message_primary or type(error).__name__}",
                hint="nothing was changed; run the command again",
                host=self.server.address,
            ) from error
        missing = sorted(set(wanted).difference(found))
        if missing:
            raise ProvisionError(
                f"there is no role {', '.join(missing)} on the server",
                hint="`soa-db provision` makes it; nothing was changed",
                host=self.server.address,
            )
        for login in logins:
            service = service_of(found[login.user])
            if service is not None and service not in {secret.service for secret in login.secrets}:
                raise ProvisionError(
                    f"role {login.user} belongs to service {service}, but {login.service} claims it",
                    hint="nothing was changed; choose another user for one of them",
                    host=self.server.address,
                )

    def rotate_all(self, logins: list[_Login]) -> tuple[Rotated, ...]:
        """Rotate every password: one that fails stops no other, and each that failed is named in the end."""
        rotated: list[Rotated] = []
        failed: list[tuple[_Login, SoaDbError]] = []
        for login in logins:
            try:
                rotated.append(self.rotate(login))
            except SoaDbError as error:
                failed.append((login, error))
                self._say(login, f"failed: {error.message}")
                if self.connection.closed:
                    break  # the lock went with it
        if len(logins) == 1 and failed:
            raise failed[0][1]
        if failed:
            lines = "\n".join(f"  {login.user}: {error}" for login, error in failed)
            left = len(logins) - len(rotated) - len(failed)
            raise ProvisionError(
                f"{len(failed)} of {len(logins)} passwords could not be rotated; {len(rotated)} were"
                + (f", {left} were not tried, since the session with the lock is gone" if left else "")
                + f":\n{lines}",
                hint="mend the cause and run the command again, for these services only if you like",
                host=self.server.address,
            ) from failed[0][1]
        return tuple(rotated)

    def rotate(self, login: _Login) -> Rotated:
        """Rotate one user's password."""
        from soa_db.access.aws.secrets import issue_password, stored_passwords

        self._say(login, "rotating its password")

        def opens(password: str) -> bool:
            return self.server.opens(login.database, login.user, password)

        # Of each service: a secret that only names the user is not given its password.
        for service in dict.fromkeys(secret.service for secret in login.secrets) if self.env != "dev" else ():
            names = [secret.name for secret in login.secrets if secret.service == service]
            if not any(opens(password) for name in names for password in stored_passwords(self.aws, name)):
                raise ConfigurationError(
                    f"no password stored for {login.user} opens this server, so it is left alone",
                    hint="is the user on IAM already, or the secret for another server?",
                    host=self.server.address,
                    secret=names[0],
                )
        issued = issue_password(
            self.aws,
            login.secrets,
            set_on_server=lambda password: self._set(login, password),
            opens=opens,
            goal="rotate",
            progress=lambda sentence: self._say(login, sentence),
        )
        return Rotated(login.service, login.user, tuple(secret.name for secret in login.secrets), not issued.made)

    def _set(self, login: _Login, password: str) -> None:
        import psycopg

        from soa_db.access.postgres.render import set_password

        # Computed here, so that neither the statement nor the server's log holds the password.
        verifier = self.connection.pgconn.encrypt_password(password.encode(), login.user.encode(), b"scram-sha-256")
        try:
            self.connection.execute(set_password(login.user, verifier.decode()))
        except psycopg.Error as error:
            raise ProvisionError(
                f"the password of {login.user} could not be set: {error.diag.message_primary or type(error).__name__}",
                hint="the new one stands in AWSPENDING; mend the cause and run the command again",
                host=self.server.address,
            ) from error

    def _say(self, login: _Login, sentence: str) -> None:
        self.tell(ProgressEvent("password", f"{login.user}: {sentence}", login.database))
