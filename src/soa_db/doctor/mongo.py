"""MongoDB: a service's one user."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from soa_db import names
from soa_db.doctor.chain import Broken
from soa_db.doctor.examination import Examination
from soa_db.doctor.network import Place
from soa_db.doctor.opening import open_and_ask
from soa_db.doctor.report import Finding, Status, Target
from soa_db.doctor.stored import Parameter, Secret, contradictions, no_port
from soa_db.doctor.surroundings import judge_clock
from soa_db.doctor.tls import Peer, name_of
from soa_db.errors import AuthenticationFailed, SoaDbError
from soa_db.sources.fields import malformed, read_endpoint
from soa_db.sources.mongo import read_ca_payload, read_mongo_hosts, read_mongo_login, read_mongo_payload

if TYPE_CHECKING:
    from soa_db.access.mongo.expect import UserAccess
    from soa_db.access.mongo.logins import LoaderLogins
    from soa_db.access.mongo.session import Session
    from soa_db.access.spec import Spec
    from soa_db.config import MongoConfig
    from soa_db.doctor.surroundings import Surroundings

__all__ = ["MongoExamination", "mongo_targets"]

# Not by provision: it is the server's.
_CA_MADE_BY = "whoever runs the server (`aws secretsmanager create-secret`, holding {ca_cert: PEM})"


def mongo_targets(spec: Spec) -> Iterator[Target]:
    """The service's user, when the spec has a part for MongoDB."""
    if spec.mongo is not None:
        yield Target(spec.service, "mongo", spec.mongo_database(), "app", spec.mongo_user())


class MongoExamination(Examination["MongoConfig", "Session"]):
    """One user.

    Args:
        around: the run.
        target: who at what.
        access: what the specs say it may do.
    """

    def __init__(self, around: Surroundings, target: Target, access: UserAccess) -> None:
        super().__init__(around, target)
        self._access = access
        self._secret = names.mongo_secret_name(around.env, target.service)

    def parameters(self) -> tuple[Parameter, ...]:
        """Hosts, replica set and the CA's secret, in mirror and prod."""
        env = self.around.env
        if env == "dev":
            return ()
        hosts = (
            [Parameter(names.mongo_hosts_ssm_path(env), _no_hosts, "host:port,host:port")]
            if env == "prod"
            else [
                Parameter(names.mongo_endpoint_ssm_path(), _no_host, "<the host>"),
                Parameter(names.mongo_port_ssm_path(), no_port, str(names.MONGO_PORT)),
            ]
        )
        return (
            *hosts,
            Parameter(names.mongo_replica_set_ssm_path(env), lambda _: None, "<the set's name>"),
            Parameter(names.mongo_ca_secret_ssm_path(env), lambda _: None, "<the ARN of the CA's secret>"),
        )

    def secrets(self) -> tuple[Secret, ...]:
        """The user's, and in mirror and prod the CA's."""
        own = Secret(self._secret, self._check_secret, self.provision_command)
        if self.around.env == "dev":
            return (own,)
        ca = self.values.get(names.mongo_ca_secret_ssm_path(self.around.env))
        return (own,) if ca is None else (own, Secret(ca, partial(self._check_ca, ca), _CA_MADE_BY, rotates=False))

    def _check_secret(self, payload: Mapping[str, object]) -> list[tuple[str, str]]:
        name = self._secret
        if self.around.env == "dev":
            found = read_mongo_payload(payload, name)
            if found.hosts is None:
                raise malformed(name, "hosts", "is missing")
        else:
            found = read_mongo_login(payload, name)
            for field, value in (("username", found.user), ("password", found.password)):
                if value is None:
                    raise malformed(name, field, "is missing")
        return contradictions(name, self.target, found.user, found.database, command=self.provision_command)

    def _check_ca(self, name: str, payload: Mapping[str, object]) -> list[tuple[str, str]]:
        read_ca_payload(payload, name, now=self.around.wall())
        return []

    def _logins(self) -> LoaderLogins:
        from soa_db.access.mongo.logins import LoaderLogins

        return LoaderLogins(self.around.env, lambda _: self.around.aws)

    def load(self) -> MongoConfig:
        """Load it as a service does, with short deadlines."""
        timeout = self.around.timeout * 0.9
        found = self._logins().config(self._access)
        options = found.options.model_copy(update={"connect_timeout": timeout, "server_selection_timeout": timeout})
        return found.model_copy(update={"options": options})

    def describe(self, config: MongoConfig) -> str:
        """Who where and how."""
        kind = f", replica set {config.replica_set}" if config.replica_set else ""
        how = "no login" if config.auth.kind == "none" else "the secret's password"
        tls = "TLS" if config.tls is not None else "no TLS"
        hosts = ", ".join(host.address for host in config.hosts)
        return f"{config.user or 'nobody'} at {config.database} on {hosts}, with {how}, {tls}{kind}"

    def places(self) -> tuple[Place, ...]:
        """The members."""
        if self.config is not None:
            return tuple(Place(host.host, host.port) for host in self.config.hosts)
        env, held = self.around.env, self.values
        try:
            if env == "dev":
                found = read_mongo_payload(self.payloads[self._secret], self._secret).hosts or ()
            elif env == "prod":
                found = read_mongo_hosts(held[names.mongo_hosts_ssm_path(env)])
            else:
                found = ((held[names.mongo_endpoint_ssm_path()], int(held[names.mongo_port_ssm_path()])),)
        except (SoaDbError, KeyError):
            return ()
        return tuple(Place(host, port) for host, port in found)

    def peer(self, place: Place) -> Peer | None:
        """TLS from the first byte; each member's name is verified as it is dialled."""
        config = self.config
        if config is None or config.tls is None:
            return None
        from soa_db._runtime.pem import load_roots, named_roots

        given = named_roots(config.tls)

        def context() -> ssl.SSLContext:
            found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            load_roots(found, given)
            return found

        name = name_of(given, "the public roots (certifi)")
        if given is not None and given.pem is not None:
            name = "the CA's secret"
        return Peer(place, place.host, name, context, lambda _: None, _answers_plainly, self.around.timeout * 0.45)

    def log_in(self, config: MongoConfig) -> Session:
        """Log in with what the service's provider gives."""
        from soa_db.access.login import log_in
        from soa_db.access.mongo.session import connect

        try:
            if config.auth.kind == "none":
                return connect(config, None, "")
            provider = self._logins().credentials(self._access, config)
            return log_in(provider, lambda user, password: connect(config, config.user or user, password))
        except AuthenticationFailed as error:
            hint = (
                f"the secret {self._secret} does not hold the password the server knows, or there is no user "
                f"{self.target.user} in {config.auth_source or config.database}: {self.provision_command}"
            )
            raise Broken.by(error, hint) from error

    def authorisation(self, session: Session) -> Iterator[Finding]:
        """Compare the user's roles, as the server has them, with those of the spec."""
        answer = session.read("admin", {"connectionStatus": 1, "showPrivileges": False}, what="ask who is logged in")
        told = answer.get("authInfo", {})
        if not told.get("authenticatedUsers"):
            yield self._as_nobody(session)
            return
        has = {(str(role["db"]), str(role["role"])) for role in told.get("authenticatedUserRoles", ())}
        wants = {(role.database, role.name) for role in self._access.roles}
        lacks = sorted(f"{role} on {database}" for database, role in wants - has)
        if lacks:
            hint = self.provision_command
            yield Finding("authorisation", Status.FAILED, f"{self.target.user} lacks {', '.join(lacks)}", hint)
            return
        given = ", ".join(sorted(f"{role} on {database}" for database, role in wants))
        yield Finding("authorisation", Status.OK, f"has {given}; `soa-db verify` proves the rest")

    def _as_nobody(self, session: Session) -> Finding:
        """Whoever has not logged in may ping; whether that is enough shows when something is read."""
        from soa_db._mongo.failures import DRIVER_ERRORS

        try:
            session.client[self.target.database].command("listCollections", nameOnly=True)
        except DRIVER_ERRORS:
            told = f"the server wants a login, and the secret {self._secret} holds none"
            return Finding("authorisation", Status.FAILED, told, self.provision_command)
        return Finding("authorisation", Status.OK, "the server wants no login: everybody may do everything")

    def clock(self, session: Session) -> Iterator[Finding]:
        """``localTime`` of hello."""
        begun = self.around.wall()
        theirs = session.read("admin", {"hello": 1}, what="say hello").get("localTime")
        if not isinstance(theirs, datetime):
            yield Finding("clock", Status.NOT_APPLICABLE, "the server does not say what time it is")
            return
        aware = theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)
        yield judge_clock("the server", aware.timestamp(), (begun + self.around.wall()) / 2)

    def pool(self, config: MongoConfig, session: Session) -> Iterator[Finding]:
        """Open the provider; see that there is a primary."""
        from soa_db.mongo import MongoProvider

        opening = open_and_ask(MongoProvider(config, aws=self.around.aws), MongoProvider.ping)
        hello = session.read("admin", {"hello": 1}, what="say hello")
        told = f"{opening}; up to {config.options.max_pool_size} connections a process"
        if members := hello.get("hosts"):
            told += f"; {hello.get('setName')} has {len(members)} member{'' if len(members) == 1 else 's'}"
        if not opening.answered:
            yield Finding("pool", Status.FAILED, f"{told}; not every ping was answered", "look at the server's log")
        elif not hello.get("isWritablePrimary"):
            hint = "name every member, and the replica set: a secondary takes no writes"
            yield Finding("pool", Status.WARNING, f"{told}; the server is a secondary", hint)
        else:
            yield Finding("pool", Status.OK, told)


def _no_hosts(value: str) -> str | None:
    try:
        read_mongo_hosts(value)
    except ValueError as fault:
        return str(fault)
    return None


def _no_host(value: str) -> str | None:
    found = read_endpoint(value)
    return None if found is not None and found[1] is None else "does not hold one host name or address, without a port"


def _answers_plainly(place: Place, timeout: float) -> bool:
    from pymongo import MongoClient

    from soa_db._mongo.failures import DRIVER_ERRORS

    wait = int(min(timeout, 2.0) * 1000)
    try:
        with MongoClient[dict[str, object]](
            str(place), directConnection=True, serverSelectionTimeoutMS=wait, connectTimeoutMS=wait
        ) as client:
            client.admin.command("hello")
    except DRIVER_ERRORS:
        return False
    return True
