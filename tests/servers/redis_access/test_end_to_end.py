"""Provision, then verify by the loader and with each service's own AWS rights: green on both back ends."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.servers.redis_access.conftest import REGION
from tests.servers.redis_access.world import World, spec

from soa_db.access.aws.policy import Place
from soa_db.access.redis.entry import backend_of
from soa_db.access.redis.policy import redis_statements
from soa_db.access.redis.probe import redis_home, redis_parts
from soa_db.access.redis.state import Cache
from soa_db.access.report import Outcome, VerifyReport
from soa_db.access.spec import SpecSet
from soa_db.aws import AwsClients
from soa_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from soa_db.local.aws import EmulatedAws

SPECS = (
    spec("chat-api", read_only_keys=["flags:*"]),
    spec("jobs-api", profile="queue"),
    spec("reports-api", profile="readonly", read_only_keys=["flags:*"]),
    spec("sweep-api", scan=True),
)


def verify(
    world: World,
    clients_of: Callable[[str], AwsClients] | None = None,
    *,
    only: Collection[str] | None = None,
    assumes: bool = False,
) -> VerifyReport:
    """All parts, with the administrator's look."""
    specs = SpecSet(SPECS)
    parts = redis_parts(
        specs,
        world.env,
        clients_of=clients_of or (lambda _: world.aws),
        assumes=assumes,
        only=only,
        administration=lambda: backend_of(world.env, aws=world.aws, settings=world.settings)[0],
    )
    return VerifyReport(
        world.env, tuple(check for _, ask in parts for check in ask()), redis_home(specs, world.env, only)
    )


@pytest.mark.parametrize("kind", ["world", "attached"], ids=["self", "elasticache"])
def test_what_is_provisioned_verifies(kind: str, request: pytest.FixtureRequest) -> None:
    """Nothing violated, nothing undecided; drift on the server is then found without any AWS call about it."""
    world: World = request.getfixturevalue(kind)
    world.apply(*SPECS)
    report = verify(world)
    assert [str(check) for check in (*report.violations, *report.inconclusive)] == []
    assert len(report.checks) > 150
    with world.admin() as client:
        client.execute_command("ACL SETUSER", "chat-api-mirror", "+flushall")
    said = [check.probe.what for check in verify(world, only=["chat-api"]).violations]
    assert "FLUSHALL" in said


def test_a_service_that_is_not_provisioned_is_a_violation_with_a_step(world: World) -> None:
    """Its secret is missing."""
    world.apply(*SPECS[:1])
    report = verify(world, only=["jobs-api"])
    (entry,) = [check for check in report.checks if check.probe.what == "log in"]
    assert entry.outcome is Outcome.VIOLATED
    assert entry.mend


def test_a_services_own_aws_rights_are_enough_and_open_nothing_of_others(
    attached: World, emulator: tuple[EmulatedAws, str]
) -> None:
    """The statements of ``redis_statements``, enforced by the emulator."""
    attached.apply(*SPECS)
    aws, account = emulator
    made: dict[str, AwsClients] = {}
    try:
        for one in SPECS:
            statements = redis_statements(one, "mirror", place=Place(account, REGION))
            document = {"Version": "2012-10-17", "Statement": statements}
            made[one.service] = clients_with(aws, account, one.service, document)
        report = verify(attached, lambda service: made[service], assumes=True)
        assert [str(check) for check in (*report.violations, *report.inconclusive)] == []
        assert sum(check.probe.aspect == "aws" for check in report.checks) == 8
        wide = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
        made["wide"] = clients_with(aws, account, "wide", {"Version": "2012-10-17", "Statement": [*statements, wide]})
        report = verify(attached, lambda _: made["wide"], only=["sweep-api"], assumes=True)
        assert [check.probe.what for check in report.violations] == ["read 3 Redis secrets of other services"]
    finally:
        for clients in made.values():
            clients.close()


def clients_with(aws: EmulatedAws, account: str, name: str, document: Mapping[str, object]) -> AwsClients:
    """Clients of a user with a policy."""
    keys = aws.create_user(account, name, document)
    before = dict(os.environ)
    os.environ |= {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    try:
        clients = AwsClients()
        clients.credentials()
    finally:
        os.environ |= before
    return clients


def test_statements_name_exactly_what_a_service_needs() -> None:
    """By secret or by IAM token; nothing without a ``redis`` part."""
    place = Place("111111111111", REGION)
    with_secret = json.dumps(redis_statements(SPECS[0], "prod", place=place))
    assert "secret:prod/redis/chat-api-??????" in with_secret
    assert "parameter/shared/infra/prod/redis-endpoint" in with_secret
    assert "elasticache" not in with_secret
    caches = (Cache("prod-cache"), Cache("prod-extra", serverless=True))
    by_token = redis_statements(SPECS[0], "prod", place=replace(place, caches=caches), iam=True)
    assert by_token[-1]["Action"] == ["elasticache:Connect"]
    assert by_token[-1]["Resource"] == [
        "arn:aws:elasticache:us-west-2:111111111111:replicationgroup:prod-cache",
        "arn:aws:elasticache:us-west-2:111111111111:serverlesscache:prod-extra",
        "arn:aws:elasticache:us-west-2:111111111111:user:chat-api-prod",
    ]
    assert "secretsmanager" not in json.dumps(by_token)
    assert redis_statements(SPECS[0].model_copy(update={"redis": None}), "prod", place=place) == []
    with pytest.raises(ConfigurationError, match="names the cache"):
        redis_statements(SPECS[0], "prod", place=place, iam=True)
