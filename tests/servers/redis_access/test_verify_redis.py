"""``verify`` on a Redis that is as the specs say, and on one with a fault: it names the fault, and nothing but it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.redis_access.conftest import admin_session
from tests.servers.redis_access.world import spec

from soa_db.access.redis.admin import AdminServer
from soa_db.access.redis.probe import redis_home, redis_parts
from soa_db.access.redis.self_run import SelfRun
from soa_db.access.redis.session import Session, connect
from soa_db.access.report import Check, Outcome, VerifyReport
from soa_db.access.spec import SpecSet
from soa_db.config import RedisConfig, TlsConfig
from soa_db.errors import ServerUnavailable
from soa_db.local.redis import RedisServer

if TYPE_CHECKING:
    from pathlib import Path

    from soa_db.access.redis.expect import UserAccess
    from soa_db.access.redis.logins import Logins
    from soa_db.local.redis_cluster import RedisCluster
    from soa_db.local.tls import ServerTls
    from soa_db.names import Env

PASSWORD = "password-of-every-user"

# Written out, so that what builds access strings has no part in it.
_COMMON = "-@dangerous -@admin -scan -randomkey -dbsize -function -client|kill -client|tracking -pubsub|channels "
_COMMON += "-pubsub|shardchannels +info"
_APP = f"-@all +@read +@write +@connection +@transaction +@pubsub {_COMMON}"
_READS = "+@read +@connection +@transaction +subscribe +unsubscribe +psubscribe +punsubscribe +ssubscribe +sunsubscribe"
_READS += " +pubsub|numsub +pubsub|numpat +pubsub|shardnumsub"
_QUEUE = "+eval +evalsha +script|load +script|exists +eval_ro +evalsha_ro"
_TAIL = "resetchannels sanitize-payload"
USERS = {
    "alpha": f"on {_TAIL} ~alpha:* %R~flags:* &alpha:* {_APP}",
    "beta": f"on {_TAIL} ~beta:* &beta:* -@all {_READS} {_COMMON}",
    "gamma": f"on {_TAIL} ~gamma:* ~gamma &gamma:* {_APP} {_QUEUE}",
    "delta": f"on {_TAIL} ~delta:* &delta:* {_APP} +scan +client|tracking",
}
SPECS = SpecSet(
    (
        spec("alpha", read_only_keys=["flags:*"]),
        spec("beta", profile="readonly"),
        spec("gamma", keys=["gamma:*", "gamma"], profile="queue"),
        spec("delta", scan=True),
    )
)


@dataclass
class PasswordLogins:
    """Logins with one password, without AWS and without a loader."""

    reach: RedisConfig

    def config(self, user: UserAccess) -> RedisConfig:
        """How it is reached."""
        return self.reach.model_copy(update={"user": user.user})

    def connect(self, user: UserAccess, config: RedisConfig) -> Session:
        """Log in."""
        return connect(config, user.user, PASSWORD)


@dataclass
class Verified:
    """A server with the four users, and its verification."""

    server: RedisServer
    env: Env
    extra: str = ""
    administered: bool = True
    logins: Logins | None = None
    reach: RedisConfig = field(init=False)

    def __post_init__(self) -> None:
        self.reach = RedisConfig.from_url(self.server.admin_url, instance_name="test")
        self.run(*self.users())

    def users(self) -> list[str]:
        """The commands that make the users right again."""
        made = [f"{name}-{self.env} reset >{PASSWORD} {rules} {self.extra}" for name, rules in USERS.items()]
        return [f"ACL SETUSER {line}" for line in (*made, "default reset")]

    def run(self, *commands: str) -> None:
        """Run commands as the administrator; a selector is one word."""
        with admin_session(self.server) as session:
            for command in commands:
                session.call(*re.findall(r"\([^)]*\)|\S+", command.replace("{env}", self.env)))

    def verify(self, only: tuple[str, ...] | None = None) -> VerifyReport:
        """Run all parts one after the other."""
        parts = redis_parts(
            SPECS,
            self.env,
            clients_of=lambda service: pytest.fail(f"asked AWS about {service}"),
            only=only,
            administration=(self.backend) if self.administered else None,
            logins=self.logins or PasswordLogins(self.reach.model_copy(update={"user": None})),
        )
        checks: list[Check] = [check for _, ask in parts for check in ask()]
        return VerifyReport(self.env, tuple(checks), redis_home(SPECS, self.env, only))

    def backend(self) -> SelfRun:
        """The administrator."""
        return SelfRun(AdminServer(self.reach), self.env)


@pytest.fixture(scope="session")
def tls_server(server_folder: Path, server_tls: ServerTls) -> Iterator[RedisServer]:
    """A Redis with TLS for these tests alone: they change users that `verify` judges all together."""
    server = RedisServer(server_folder / "verified", tls=server_tls)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def verified(tls_server: RedisServer) -> Iterator[Verified]:
    """Everything as the specs say; and again afterwards."""
    verified = Verified(tls_server, "prod")
    yield verified
    verified.run("ACL DELUSER zeta-prod monitoring", *verified.users())


def test_a_redis_as_declared_is_green(verified: Verified) -> None:
    """Every kind of probe, nothing violated, nothing undecided, and the text names every user."""
    report = verified.verify()
    assert [str(check) for check in (*report.violations, *report.inconclusive)] == []
    assert {check.probe.aspect for check in report.checks} == {
        "connect",
        "read",
        "write",
        "rights",
        "auth",
        "tls",
        "roles",
    }
    assert report.exit_code == 0
    assert "alpha-prod" in report.to_text()
    not_applicable = [str(check) for check in report.checks if check.outcome is Outcome.NOT_APPLICABLE]
    assert all("DEBUG" in text for text in not_applicable), not_applicable
    assert PASSWORD not in report.to_json()


def test_valkey_in_dev_is_green(valkey_server: RedisServer) -> None:
    """Without TLS, with `default` on."""
    verified = Verified(valkey_server, "dev")
    verified.run("ACL SETUSER default on nopass ~* &* +@all")
    report = verified.verify()
    verified.run("ACL SETUSER default reset", *(f"ACL DELUSER {name}-dev" for name in USERS))
    assert [str(check) for check in (*report.violations, *report.inconclusive)] == []


def test_a_cluster_is_green(own_cluster: RedisCluster) -> None:
    """Keys on other nodes are reached there, and denied ones are denied anywhere."""
    cluster = "+cluster|slots +cluster|nodes +cluster|info +cluster|keyslot +cluster|shards"
    nodes = [Verified(node, "prod", cluster) for node in own_cluster.nodes]
    try:
        report = nodes[0].verify()
        assert [str(check) for check in (*report.violations, *report.inconclusive)] == []
        nodes[3].run("ACL SETUSER alpha-prod ~* ")
        said = [str(check) for check in nodes[0].verify().violations]
        assert len(said) == 1
        assert f"its access string is another one on 127.0.0.1:{own_cluster.nodes[3].port}" in said[0]
    finally:
        for node in nodes:
            node.run(*(f"ACL DELUSER {name}-prod" for name in USERS))


@dataclass(frozen=True)
class Fault:
    """What is wrong, and what ``verify`` must say: each of ``says``, and nothing that is not in it or ``also``."""

    name: str
    plant: str
    says: tuple[str, ...]
    also: tuple[str, ...] = ()


_ALPHA = r"^alpha-{env} in redis: "
_STRING = r"^alpha-{env} in redis: its access is what the spec says: its access string is another one$"


def _right(rule: str, said: str) -> Fault:
    return Fault(rule.strip("+"), f"ACL SETUSER alpha-{{env}} {rule}", (f"{_ALPHA}cannot {said}: ", _STRING))


FAULTS = (
    _right("+keys", "KEYS"),
    _right("+scan", "SCAN"),
    _right("+randomkey", "RANDOMKEY"),
    _right("+dbsize", "DBSIZE"),
    _right("+flushall", "FLUSHALL"),
    _right("+flushdb", "FLUSHDB"),
    _right("+swapdb", "SWAPDB"),
    _right("+config|get", "CONFIG GET"),
    _right("+config|set", "CONFIG SET"),
    _right("+acl|list", "ACL LIST"),
    _right("+acl|setuser", "ACL SETUSER"),
    _right("+function|list", "FUNCTION LIST"),
    _right("+function|load", "FUNCTION LOAD"),
    _right("+fcall", "FCALL"),
    _right("+monitor", "MONITOR"),
    _right("+shutdown", "SHUTDOWN"),
    _right("+client|list", "CLIENT LIST"),
    _right("+client|kill", "CLIENT KILL"),
    _right("+client|pause", "CLIENT PAUSE"),
    _right("+client|tracking", "CLIENT TRACKING"),
    _right("+pubsub|channels", "PUBSUB CHANNELS"),
    _right("+replicaof", "REPLICAOF"),
    _right("+script|flush", "SCRIPT FLUSH"),
    _right("+slowlog|get", "SLOWLOG GET"),
    _right("+cluster|reset", "CLUSTER RESET"),
    _right("+module|list", "MODULE LIST"),
    _right("+eval", "EVAL"),
    Fault(
        "everybodys_keys",
        "ACL SETUSER alpha-{env} ~*",
        (
            *(f"{_ALPHA}cannot {what} keys of others: " for what in ("GET", "COPY from", "SET", "DEL", "COPY to")),
            f"{_ALPHA}cannot RENAME to keys of others",
            f"{_ALPHA}cannot write 1 kinds of keys it only reads",
            _STRING,
        ),
    ),
    Fault(
        "anothers_keys_to_read",
        "ACL SETUSER alpha-{env} %R~beta:*",
        (rf"{_ALPHA}cannot GET keys of others: it is permitted \(beta:", f"{_ALPHA}cannot COPY from keys", _STRING),
    ),
    Fault(
        "anothers_keys_to_write",
        "ACL SETUSER alpha-{env} %W~gamma:*",
        (rf"{_ALPHA}cannot SET keys of others: it is permitted \(gamma:", f"{_ALPHA}cannot COPY to keys", _STRING),
        (f"{_ALPHA}cannot (DEL|RENAME to) keys of others",),
    ),
    Fault(
        "sort_into_anothers_keys",
        "ACL SETUSER alpha-{env} +sort ~beta:*",
        (f"{_ALPHA}cannot SORT STORE to keys of others", f"{_ALPHA}cannot GET keys of others", _STRING),
        (f"{_ALPHA}cannot .* keys of others",),
    ),
    Fault(
        "read_only_keys_are_written",
        "ACL SETUSER alpha-{env} ~flags:*",
        (f"{_ALPHA}cannot write 1 kinds of keys it only reads", _STRING),
    ),
    Fault(
        "a_reading_user_writes",
        "ACL SETUSER beta-{env} +set",
        (r"^beta-{env} in redis: cannot write 1 kinds of keys it only reads", r"^beta-{env} .* access string"),
    ),
    Fault(
        "anothers_channels",
        "ACL SETUSER alpha-{env} &beta:*",
        (
            rf"{_ALPHA}cannot subscribe to channels of others: it is permitted \(beta:",
            f"{_ALPHA}cannot subscribe to channel patterns of others",
            f"{_ALPHA}cannot publish to channels of others",
            _STRING,
        ),
    ),
    Fault(
        "a_reading_user_publishes",
        "ACL SETUSER beta-{env} +publish",
        (r"^beta-{env} in redis: cannot publish to its channels", r"^beta-{env} .* access string"),
    ),
    Fault(
        "ping_is_denied",
        "ACL SETUSER alpha-{env} -ping",
        (rf"{_ALPHA}can do what client libraries do first: NOPERM .*\(PING\)", _STRING),
    ),
    Fault(
        "info_is_denied",
        "ACL SETUSER alpha-{env} -info",
        (rf"{_ALPHA}can do what client libraries do first: NOPERM .*\(INFO\)", _STRING),
    ),
    Fault(
        "a_queue_without_scripts",
        "ACL SETUSER gamma-{env} -evalsha",
        (
            r"^gamma-{env} in redis: can do what client libraries do first: .*\(EVALSHA",
            r"^gamma-{env} .* access string",
        ),
    ),
    Fault(
        "a_queue_reaches_others_by_scripts",
        "ACL SETUSER gamma-{env} %R~beta:*",
        (
            r"^gamma-{env} in redis: cannot reach keys of others that a script does not name: the script ran \(beta:",
            r"^gamma-{env} in redis: cannot GET keys of others",
            r"^gamma-{env} .* access string",
        ),
        (r"^gamma-{env} in redis: cannot COPY from keys", r"^gamma-{env} in redis: cannot name keys of others"),
    ),
    Fault(
        "own_keys_lost",
        "ACL SETUSER alpha-{env} resetkeys ~alpha:x %R~flags:*",
        (f"{_ALPHA}can write, read and remove a key of alpha", f"{_ALPHA}can read its keys", _STRING),
    ),
    Fault("read_only_keys_lost", "ACL SETUSER alpha-{env} resetkeys ~alpha:*", (f"{_ALPHA}can read its keys", _STRING)),
    Fault(
        "own_channels_lost",
        "ACL SETUSER alpha-{env} resetchannels",
        (
            f"{_ALPHA}can subscribe to its channels",
            f"{_ALPHA}can subscribe to its channel patterns",
            f"{_ALPHA}can publish to its channels",
            _STRING,
        ),
    ),
    Fault(
        "scan_is_declared_and_denied",
        "ACL SETUSER delta-{env} -scan",
        (r"^delta-{env} in redis: can SCAN: ", r"^delta-{env} .* access string"),
    ),
    Fault(
        "off",
        "ACL SETUSER alpha-{env} off",
        (f"{_ALPHA}can log in: AuthenticationFailed", _STRING),
    ),
    Fault(
        "nopass",
        "ACL SETUSER alpha-{env} nopass",
        (
            f"{_ALPHA}cannot log in with a wrong password: the server let it in",
            f"{_ALPHA}cannot log in without a password: the server let it in",
            r"anybody gets in as it without a password",
        ),
    ),
    Fault(
        "a_selector",
        "ACL SETUSER alpha-{env} (~gamma:* +get)",
        (r"it has selectors beside its own rights", rf"{_ALPHA}cannot GET keys of others: it is permitted \(gamma:"),
    ),
    Fault(
        "a_user_of_another_service_may_write_keys_of_this_one",
        "ACL SETUSER zeta-{env} on >some-password ~zeta:* ~alpha:cache:* +@all",
        (r"^the server in redis: no user of another service may change .*: zeta-{env} may write keys of alpha$",),
    ),
    Fault(
        "default_is_on_with_a_password",
        "ACL SETUSER default on >some-password ~* +@all",
        (r"^the server in redis: the user default is off: it is on at",),
    ),
    Fault(
        "default_is_on_for_everybody",
        "ACL SETUSER default on nopass ~* &* +@all",
        (
            r"^the server in redis: the user default is off",
            f"{_ALPHA}cannot get in without logging in: the server let it in",
            f"{_ALPHA}cannot log in as default: the server let it in",
        ),
        (r"cannot get in without logging in", r"cannot log in as default"),
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_named_with_what_follows_from_it_and_nothing_else(fault: Fault, verified: Verified) -> None:
    """Each expected violation is reported with a way to mend it, and no violation without connection to the fault."""
    verified.run(fault.plant)
    report = verified.verify()
    said = [str(check) for check in report.violations]
    expected = [pattern.replace("{env}", verified.env) for pattern in fault.says]
    missing = [pattern for pattern in expected if not any(re.search(pattern, text) for text in said)]
    known = [*expected, *(pattern.replace("{env}", verified.env) for pattern in fault.also)]
    beside = [text for text in said if not any(re.search(pattern, text) for pattern in known)]
    assert not missing, "\n".join(("not said:", *missing, "said:", *said))
    assert not beside, "\n".join(("beside the point:", *beside))
    assert all(check.mend for check in report.violations)
    assert report.exit_code == 4


def test_nothing_happens_when_everything_is_permitted(any_server: RedisServer) -> None:
    """With users that may do everything: no key, user, setting, script, function or channel is touched."""
    verified = Verified(any_server, "mirror")
    verified.run(*(f"ACL SETUSER {name}-mirror ~* &* +@all" for name in USERS))
    with admin_session(any_server) as session:
        session.call("SET", "soa-db-victim", "x")
        session.call("RPUSH", "alpha:list", "3", "1", "2")
    with any_server.admin() as client:
        before = _everything(client)
        with client.pubsub() as ears:
            ears.psubscribe("*")
            assert ears.get_message(timeout=5)
            report = verified.verify()
            heard = ears.get_message(timeout=0.2)
        after = _everything(client)
        client.delete("soa-db-victim", "alpha:list")
    assert before == after
    assert heard is None, "nothing was published"
    assert len(report.violations) > 100
    verified.run(*(f"ACL DELUSER {name}-mirror" for name in USERS))


def _everything(client: Any) -> dict[str, object]:
    """What a probe could have changed."""
    info = client.info()
    return {
        "keys": {key: client.object("ENCODING", key) for key in client.keys("*")},
        "users": client.acl_list(),
        "config": client.config_get("*"),
        "functions": client.execute_command("FUNCTION", "LIST"),
        "run": info["run_id"],
        "role": info["role"],
        "modules": client.execute_command("MODULE", "LIST"),
    }


@pytest.mark.parametrize("nth", [1, 5, 20, 60])
def test_a_run_that_is_cut_off_leaves_nothing_and_is_inconclusive(
    verified: Verified, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """The connection breaks at some command: nothing is taken for a refusal, and no key of a probe's stays for long."""
    count = 0
    act = Session.call

    def broken(self: Session, *words: str | int) -> Any:
        nonlocal count
        if self.config.user == "alpha-prod":
            count += 1
            if count > nth:
                self.close()
                raise ServerUnavailable("cut")
        return act(self, *words)

    monkeypatch.setattr(Session, "call", broken)
    report = verified.verify(("alpha",))
    monkeypatch.undo()
    assert report.inconclusive
    assert not report.violations
    with verified.server.admin() as client:
        left = client.keys("*soa-db-probe*")
        assert all(client.pttl(key) > 0 for key in left)
        client.delete("x", *left)


def test_without_an_administrator_it_is_noted_that_nobody_looked(verified: Verified) -> None:
    """Not silently, and not as a fault; one that does not get in is the same."""
    verified.administered = False
    report = verified.verify()
    assert report.exit_code == 0
    assert [check.detail for check in report.notes] == ["not looked at: no administrator's access was given"]
    verified.administered = True
    assert verified.verify().notes == ()
    verified.run("ACL SETUSER weak on >weak-password +@all -acl ~*")
    verified.reach = RedisConfig.from_url(verified.server.url("weak", "weak-password"), instance_name="test")
    (note,) = verified.verify().notes
    verified.reach = RedisConfig.from_url(verified.server.admin_url, instance_name="test")
    verified.run("ACL DELUSER weak")
    assert "not looked at: ProvisionError: could not inspect the users: NOPERM" in note.detail


def test_users_of_others_are_noted_and_only_is_honoured(verified: Verified) -> None:
    """`--only alpha`: nobody else logs in."""
    verified.run("ACL SETUSER monitoring on >some-password +info")
    report = verified.verify(("alpha",))
    assert [check.detail for check in report.notes] == ["monitoring"]
    assert {check.probe.identity for check in report.checks} == {"alpha-prod", ""}
    assert report.exit_code == 0


def test_a_server_that_speaks_plain_text_too_is_a_violation(verified: Verified, redis_server: RedisServer) -> None:
    """The TLS probes judge what they meet: a plain server, a CA that is taken, a host that is not looked at."""
    from soa_db.access.redis.probe_login import _plain
    from soa_db.access.report import Probe

    probe = Probe("alpha-prod", "redis", "tls", "connect in plain text", "cannot", "login")
    plain = RedisConfig.from_url(redis_server.admin_url, instance_name="test")
    assert _plain(probe, plain).outcome is Outcome.VIOLATED
    assert _plain(probe, verified.reach.model_copy(update={"tls": None})).outcome is Outcome.OK
    assert _plain(probe, plain.model_copy(update={"port": 1})).outcome is Outcome.INCONCLUSIVE
    verified.reach = verified.reach.model_copy(update={"tls": TlsConfig(verify="none")})
    said = [str(check) for check in verified.verify(("alpha",)).violations]
    assert said == [
        "alpha-prod in redis: cannot be fooled by a certificate of an unknown authority: the certificate was taken",
        "alpha-prod in redis: cannot be fooled by another host's certificate: the certificate was taken",
    ]


def test_a_wrong_certificate_is_inconclusive_for_the_login(verified: Verified) -> None:
    """It says nothing about the user."""
    verified.reach = verified.reach.model_copy(update={"tls": TlsConfig()})
    verified.administered = False
    report = verified.verify(("alpha",))
    assert [check.outcome for check in report.checks if check.probe.what == "log in"] == [Outcome.INCONCLUSIVE]
    assert report.exit_code == 5
