"""``doctor`` on a real Redis and MongoDB, secrets and parameters made by hand, one thing wrong at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest
from tests.integrations.doctor.kit import CANARY, Doctor, SkewedAws, blamed, only, specs_of, statuses, warned
from tests.servers.aws_kit import ACCOUNT
from tests.support.tcp import FaultyProxy

from soa_db import names
from soa_db.doctor import Finding, Report, Status
from soa_db.doctor.redis import RedisExamination

if TYPE_CHECKING:
    from soa_db.access.redis.session import Session
    from soa_db.local.mongo import MongoServer
    from soa_db.local.redis import RedisServer


def said(report: Report, step: str) -> Finding:
    """The finding of a step of the one target."""
    return next(finding for finding in only(report).findings if finding.step == step)


def warnings(report: Report) -> list[str]:
    """What is warned of."""
    assert report.ok, report
    return [finding.summary for finding in only(report).findings if finding.status is Status.WARNING]


@pytest.fixture
def user(redis_server: RedisServer, service: str) -> str:
    """The service's user in dev and in mirror, on the shared Redis; it may do anything, with any key."""
    with redis_server.admin() as client:
        for env in ("dev", "mirror"):
            # "{service}-{env}", as redis_user says.
            name = f"{service}-{env}"
            client.acl_setuser(name, enabled=True, passwords=[f"+{CANARY}"], commands=["+@all"], keys=["*"])
    return f"{service}-dev"


def test_an_endpoint_that_the_secret_has_not_comes_from_ssm(
    doctor: Doctor, aws: SkewedAws, redis_server: RedisServer, service: str, user: str
) -> None:
    """The secret first; who may ask the server for the time has its clock compared."""
    aws.put_secret(ACCOUNT, f"dev/redis/{service}", {"password": CANARY})
    path = names.redis_endpoint_ssm_path("dev")
    aws.put_parameters(ACCOUNT, {path: f"127.0.0.1:{redis_server.port}"})
    specs = specs_of(service, redis={"read_only_keys": ["flags:*"]})
    report = doctor(specs)
    assert report.ok, report
    assert list(statuses(report))[:2] == ["secret", "parameters"]
    assert said(report, "clock").status is Status.OK
    assert f"{user} on 127.0.0.1:{redis_server.port}" in said(report, "configuration").summary
    assert f"reads keys {service}:*, flags:*" in said(report, "authorisation").summary
    aws.put_parameters(ACCOUNT, {path: f"redis://{CANARY}@x"})
    found = blamed(doctor(specs))
    assert (found.step, found.subject) == ("parameters", path)
    assert "does not hold host or host:port" in found.summary


def test_a_redis_secret_that_contradicts_the_contract_is_a_warning(
    doctor: Doctor, aws: SkewedAws, redis_server: RedisServer, service: str, user: str
) -> None:
    """In mirror: the user of another environment, and TLS turned off."""
    payload = {"username": user, "password": CANARY, "endpoint": "127.0.0.1", "port": redis_server.port, "tls": False}
    aws.put_secret(ACCOUNT, f"mirror/redis/{service}", payload)
    report = doctor(specs_of(service, redis={}), env="mirror")
    told = warnings(report)
    assert len(told) == 2
    assert f"the field 'username' is not '{service}-mirror'" in told[0]
    assert "turns TLS off" in told[1]
    assert said(report, "tls").summary == "off, as the secret says"


def test_a_replica_and_a_full_server_are_warnings(
    doctor: Doctor, aws: SkewedAws, service: str, redis_server_factory: Callable[..., RedisServer]
) -> None:
    """Nothing can be written on one; the other has no room for one pool."""
    own = redis_server_factory()
    payload = {"password": CANARY, "endpoint": "127.0.0.1", "port": own.port}
    aws.put_secret(ACCOUNT, f"dev/redis/{service}", payload)
    with own.admin() as client:
        name = names.redis_user(service, "dev")
        client.acl_setuser(name, enabled=True, passwords=[f"+{CANARY}"], commands=["+@all"], keys=["*"])
        client.config_set("maxclients", 40)
        found = warned(doctor(specs_of(service, redis={})))
        assert found.step == "pool"
        assert "of 40 connections in use: 0 pools of 50" in found.summary
        assert "maxclients" in found.hint
        client.config_set("maxclients", 1000)
        # What it holds stays: it is made a replica of nobody that answers.
        client.replicaof("127.0.0.1", 1)
        found = warned(doctor(specs_of(service, redis={})))
        assert "the server is a replica" in found.summary
        assert "primary" in found.hint
        client.acl_setuser(name, enabled=True, commands=["-info"])
        assert doctor(specs_of(service, redis={})).ok  # who may not ask is not told


def test_a_redis_that_falls_silent_costs_one_deadline(
    doctor: Doctor, aws: SkewedAws, redis_server: RedisServer, service: str, user: str
) -> None:
    """Its driver gives up just before the step does; the connection is gone then, and not used again."""
    look = RedisExamination.authorisation
    with FaultyProxy("127.0.0.1", redis_server.port) as proxy, pytest.MonkeyPatch.context() as patch:

        def fall_silent(self: RedisExamination, session: Session) -> Iterable[Finding]:
            proxy.blackhole()
            return look(self, session)

        patch.setattr(RedisExamination, "authorisation", fall_silent)
        payload = {"username": user, "password": CANARY, "endpoint": "127.0.0.1", "port": proxy.port}
        aws.put_secret(ACCOUNT, f"dev/redis/{service}", payload)
        report = doctor(specs_of(service, redis={}), timeout=1.0)
    assert blamed(report).step == "authorisation"
    skipped = [one for one in only(report).findings if one.status is Status.SKIPPED]
    assert [(one.step, one.reason) for one in skipped] == [("clock", "authorisation"), ("pool", "authorisation")]
    assert all(one.summary.startswith("not looked at, since authorisation ") for one in skipped)


def test_a_redis_that_is_silent_from_the_start_is_looked_for_at_no_other_port(
    doctor: Doctor, aws: SkewedAws, redis_server: RedisServer, service: str
) -> None:
    """The step before has found host and port good: what is advised is to look at the server."""
    with FaultyProxy("127.0.0.1", redis_server.port) as proxy:
        proxy.mode = "blackhole"
        aws.put_secret(ACCOUNT, f"dev/redis/{service}", {"password": "p", "endpoint": "127.0.0.1", "port": proxy.port})
        found = blamed(doctor(specs_of(service, redis={}), timeout=1.0))
    assert found.step == "authentication"
    assert found.hint.startswith("the server is there and does not answer")


def mongo_secret(server: MongoServer, **changes: object) -> dict[str, Any]:
    """What dev's secret holds, with something changed."""
    right: dict[str, object] = {"hosts": f"127.0.0.1:{server.port}", "password": CANARY}
    return {name: value for name, value in {**right, **changes}.items() if value is not None}


def test_a_mongo_secret_of_the_wrong_shape_is_named_with_its_field(
    doctor: Doctor, aws: SkewedAws, mongo_server: MongoServer, service: str
) -> None:
    """In dev it says the hosts; elsewhere it needs user and password."""
    name = names.mongo_secret_name("dev", service)
    aws.put_secret(ACCOUNT, name, mongo_secret(mongo_server, hosts=None))
    found = blamed(doctor(specs_of(service, mongo={})))
    assert (found.step, found.subject) == ("secret", name)
    assert "'hosts' is missing" in found.summary
    parameters = {
        names.mongo_endpoint_ssm_path(): "127.0.0.1",
        names.mongo_port_ssm_path(): str(mongo_server.port),
        names.mongo_replica_set_ssm_path("mirror"): "saga-rs",
        names.mongo_ca_secret_ssm_path("mirror"): f"{service}-ca",
    }
    aws.put_parameters(ACCOUNT, parameters)
    aws.put_secret(ACCOUNT, names.mongo_secret_name("mirror", service), {"password": CANARY})
    (absent,) = [
        one for one in only(doctor(specs_of(service, mongo={}), env="mirror")).findings if "-ca" in one.subject
    ]
    assert absent.status is Status.FAILED
    assert "whoever runs the server" in absent.hint
    assert "soa-db provision" not in absent.hint
    aws.put_secret(ACCOUNT, f"{service}-ca", {"ca_cert": CANARY})
    report = doctor(specs_of(service, mongo={}), env="mirror")
    failed = [one.summary for one in only(report).findings if one.status is Status.FAILED]
    assert len(failed) == 2
    assert "'username' is missing" in failed[0]
    assert "'ca_cert' is not a certificate in PEM" in failed[1]
    assert statuses(report)["tcp"] is Status.OK
    assert CANARY not in str(report)


def test_mongo_parameters_that_cannot_be_used_are_named(doctor: Doctor, aws: SkewedAws, service: str) -> None:
    """Hosts, endpoint, port: each by its own rule, none quoted."""
    aws.put_parameters(
        ACCOUNT,
        {
            names.mongo_hosts_ssm_path("prod"): f"{CANARY}:x",
            names.mongo_endpoint_ssm_path(): f"h:1{CANARY}",
            names.mongo_port_ssm_path(): CANARY,
        },
    )
    for env, wrong in (
        ("prod", [names.mongo_hosts_ssm_path("prod")]),
        ("mirror", [names.mongo_endpoint_ssm_path(), names.mongo_port_ssm_path()]),
    ):
        report = doctor(specs_of(service, mongo={}), env=env)
        failed = [one for one in only(report).findings if one.step == "parameters" and one.subject in wrong]
        assert [one.status for one in failed] == [Status.FAILED] * len(wrong)
        assert CANARY not in str(report)
        assert statuses(report)["dns"] is Status.SKIPPED


def test_a_mongo_user_beside_the_contract_is_a_warning_and_none_at_all_a_failure(
    doctor: Doctor, aws: SkewedAws, mongo_server: MongoServer, service: str
) -> None:
    """In dev the secret decides; without user and password the server must want none."""
    name, database = names.mongo_secret_name("dev", service), names.mongo_database(service)
    mongo_server.create_user("somebody", CANARY, database=database)
    aws.put_secret(ACCOUNT, name, mongo_secret(mongo_server, username="somebody"))
    found = warned(doctor(specs_of(service, mongo={})))
    assert found.step == "secret"
    assert f"the field 'username' is not '{names.mongo_user(service)}'" in found.summary
    aws.put_secret(ACCOUNT, name, mongo_secret(mongo_server, password=None))
    report = doctor(specs_of(service, mongo={}))
    failed = [one for one in only(report).findings if one.status is Status.FAILED]
    assert failed[0].step == "authorisation"
    assert f"the server wants a login, and the secret {name} holds none" in failed[0].summary
    assert "provision" in failed[0].hint
