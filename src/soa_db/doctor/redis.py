"""Redis: a service's one user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from soa_db import names
from soa_db.config import IamAuth
from soa_db.doctor.chain import Broken
from soa_db.doctor.examination import Examination
from soa_db.doctor.network import Place, dial
from soa_db.doctor.opening import open_and_ask
from soa_db.doctor.report import Finding, Status, Target
from soa_db.doctor.stored import Parameter, Secret
from soa_db.doctor.surroundings import judge_clock
from soa_db.doctor.tls import Peer, name_of
from soa_db.errors import AuthenticationFailed
from soa_db.sources.fields import read_endpoint
from soa_db.sources.redis import read_redis_payload

if TYPE_CHECKING:
    import ssl

    from soa_db.access.redis.expect import UserAccess
    from soa_db.access.redis.logins import LoaderLogins
    from soa_db.access.redis.session import Session
    from soa_db.access.spec import Spec
    from soa_db.config import RedisConfig
    from soa_db.doctor.surroundings import Surroundings
    from soa_db.names import Env

__all__ = ["RedisExamination", "redis_targets"]

# In the place of a wildcard: no key has it in its name.
_MARK = "soa-db-doctor"


def redis_targets(spec: Spec, env: Env) -> Iterator[Target]:
    """The service's user, when the spec has a part for Redis."""
    if spec.redis is not None:
        yield Target(spec.service, "redis", "redis", "app", names.redis_user(spec.service, env))


class RedisExamination(Examination["RedisConfig", "Session"]):
    """One user.

    Args:
        around: the run.
        target: who.
        access: what the specs say it may do.
    """

    def __init__(self, around: Surroundings, target: Target, access: UserAccess) -> None:
        super().__init__(around, target)
        self._access = access
        self._iam = target.service in around.settings.environment(around.env).redis_iam and around.env != "dev"
        self._secret = names.redis_secret_name(around.env, target.service)

    @property
    def parameters_need(self) -> tuple[str, ...]:
        """The endpoint is read from SSM where the secret has none: so the secret comes first."""
        return ("identity", "role") if self._iam else ("identity", "role", "secret")

    def parameters(self) -> tuple[Parameter, ...]:
        """The endpoint, unless the secret says it."""
        if not self._iam and read_redis_payload(self.payloads[self._secret], self._secret).host is not None:
            return ()

        def no_endpoint(value: str) -> str | None:
            return None if read_endpoint(value) is not None else "does not hold host or host:port"

        return (Parameter(names.redis_endpoint_ssm_path(self.around.env), no_endpoint, "<the Redis endpoint>"),)

    def secrets(self) -> tuple[Secret, ...]:
        """The user's, unless it logs in with tokens."""
        if self._iam:
            return ()
        env = self.around.env
        tokens = f"where it logs in with IAM tokens, name it in redis_iam of [environments.{env}] in soa-db.toml"
        return (Secret(self._secret, self._check_secret, self.provision_command, "" if env == "dev" else tokens),)

    def _check_secret(self, payload: Mapping[str, object]) -> list[tuple[str, str]]:
        found = read_redis_payload(payload, self._secret)
        warnings = []
        if found.user is not None and found.user != self.target.user:
            told = (
                f"in the secret {self._secret} the field 'username' is not {self.target.user!r}, as the contract has it"
            )
            warnings.append((told, self.provision_command))
        if found.tls is False and self.around.env != "dev":
            told = f"the secret {self._secret} turns TLS off: the password travels in plain text"
            warnings.append((told, "turn TLS on at the server, then take 'tls' out of the secret"))
        return warnings

    def _logins(self) -> LoaderLogins:
        from soa_db.access.redis.caches import find_caches
        from soa_db.access.redis.logins import LoaderLogins

        around = self.around
        iam = around.settings.environment(around.env).redis_iam
        return LoaderLogins(
            around.env, lambda _: around.aws, iam=iam, caches=partial(find_caches, around.aws, around.env)
        )

    def load(self) -> RedisConfig:
        """Load it as a service does, with short deadlines."""
        timeout = self.around.timeout * 0.9
        found = self._logins().config(self._access)
        return found.model_copy(update={"connect_timeout": timeout, "command_timeout": timeout})

    def describe(self, config: RedisConfig) -> str:
        """Who where and how."""
        how = "an IAM token" if isinstance(config.auth, IamAuth) else "the secret's password"
        kind = ", a cluster" if config.cluster else ""
        tls = "TLS" if config.tls is not None else "no TLS"
        return f"{config.user} on {Place(config.host, config.port)}, with {how}, {tls}{kind}"

    def places(self) -> tuple[Place, ...]:
        """The endpoint."""
        if self.config is not None:
            return (Place(self.config.host, self.config.port),)
        found = read_endpoint(self.values.get(names.redis_endpoint_ssm_path(self.around.env), ""))
        if found is None:
            return ()
        return (Place(found[0], found[1] or names.REDIS_PORT),)

    def peer(self, place: Place) -> Peer | None:
        """TLS from the first byte."""
        config = self.config
        if config is None or config.tls is None:
            return None
        from soa_db._runtime.pem import named_roots

        def context() -> ssl.SSLContext:
            from soa_db._redis.tls import tls_context

            found = tls_context(config)
            assert found is not None
            return found

        given = named_roots(config.tls)
        name = name_of(given, "the public roots (certifi)")
        return Peer(place, config.host, name, context, lambda _: None, _answers_plainly, self.around.timeout * 0.45)

    def log_in(self, config: RedisConfig) -> Session:
        """Log in with what the service's provider gives."""
        try:
            return self._logins().connect(self._access, config)
        except AuthenticationFailed as error:
            raise Broken.by(error, error.hint or self._login_hint(config)) from error

    def _login_hint(self, config: RedisConfig) -> str:
        user = self.target.user
        if isinstance(config.auth, IamAuth):
            return (
                f"check that the ElastiCache user {user} logs in by IAM and is in the group "
                f"{names.redis_user_group(self.around.env)}, that the caller has elasticache:Connect on cache and user "
                f"(`soa-db policy --apply`), and that the clocks agree: {self.provision_command}"
            )
        return (
            f"there is no user {user}, it is off, or the secret {self._secret} holds no password the server knows: "
            f"{self.provision_command}"
        )

    def authorisation(self, session: Session) -> Iterator[Finding]:
        """EXISTS on a key nobody has, of each pattern: it reads nothing and writes nothing."""
        from soa_db.access.redis.expect import sample
        from soa_db.access.redis.session import CommandRefused

        allowed = []
        bad = False
        for pattern in (*self._access.keys, *self._access.read_only_keys):
            try:
                session.call("EXISTS", sample(pattern, _MARK))
            except CommandRefused as error:
                # A cluster names the node a key is on only to those who may use the key.
                if error.code != "MOVED":
                    bad = True
                    told = f"{self.target.user} may not read keys {pattern}: {error.message}"
                    yield Finding("authorisation", Status.FAILED, told, self.provision_command, pattern)
                    continue
            allowed.append(pattern)
        if not bad:
            told = f"reads keys {', '.join(allowed)}; `soa-db verify` proves the rest"
            yield Finding("authorisation", Status.OK, told)

    def clock(self, session: Session) -> Iterator[Finding]:
        """TIME, which a service's user is rarely allowed."""
        from soa_db.access.redis.session import CommandRefused

        begun = self.around.wall()
        try:
            seconds, micros = session.call("TIME")
        except CommandRefused:
            yield Finding(
                "clock", Status.NOT_APPLICABLE, "the user may not ask the server for the time; nothing hangs on it"
            )
            return
        yield judge_clock("the server", int(seconds) + int(micros) / 1e6, (begun + self.around.wall()) / 2)

    def pool(self, config: RedisConfig, session: Session) -> Iterator[Finding]:
        """Open the manager; compare what it may take with what there is."""
        from soa_db.redis import RedisConnectionManager

        opening = open_and_ask(RedisConnectionManager(config, aws=self.around.aws), RedisConnectionManager.ping)
        told = str(opening)
        if not opening.answered:
            yield Finding("pool", Status.FAILED, f"{told}, but not every PING was answered", "look at the server's log")
            return
        facts = _facts(session)
        most, size = facts.get("maxclients", ""), config.max_connections
        if most.isdecimal():
            used = facts.get("connected_clients", "?")
            told += f"; {used} of {most} connections in use: {int(most) // size} pools of {size}"
        if most.isdecimal() and int(most) < size:
            yield Finding("pool", Status.WARNING, told, "lower max_connections, or raise maxclients")
        elif facts.get("role") in {"slave", "replica"} and not config.cluster:
            hint = "the endpoint is to name the primary: on a replica nothing can be written"
            yield Finding("pool", Status.WARNING, f"{told}; the server is a replica", hint)
        else:
            yield Finding("pool", Status.OK, told)


def _facts(session: Session) -> dict[str, str]:
    """What INFO says of clients and replication; nothing to those who may not ask."""
    from soa_db.access.redis.session import CommandRefused

    found: dict[str, str] = {}
    for section in ("clients", "replication"):
        try:
            text = str(session.call("INFO", section))
        except CommandRefused:
            continue
        found |= {key: value for key, _, value in (line.partition(":") for line in text.splitlines()) if value}
    return found


def _answers_plainly(place: Place, timeout: float) -> bool:
    try:
        connection, _ = dial(place, timeout)
        with connection:
            connection.settimeout(min(timeout, 2.0))
            connection.sendall(b"PING\r\n")
            return connection.recv(1) in {b"+", b"-"}
    except (OSError, Broken):
        return False
