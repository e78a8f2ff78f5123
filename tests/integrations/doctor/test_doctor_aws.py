"""``doctor`` and AWS: credentials, identity, clock, parameters."""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.integrations.doctor.kit import Doctor, SkewedAws, blamed, only, specs_of, statuses
from tests.servers.aws_kit import ACCOUNT, OTHER_ACCOUNT, allow

from soa_db import names
from soa_db.access.settings import EnvironmentSettings, Settings
from soa_db.aws import AwsClients
from soa_db.doctor import Finding, Report, Status

if TYPE_CHECKING:
    from soa_db.access.spec import SpecSet

HOST, PORT = names.iam_host_ssm_path("mirror"), names.iam_port_ssm_path("mirror")


@pytest.fixture
def specs(service: str) -> SpecSet:
    """A service that nobody has provisioned."""
    return specs_of(service, postgres={})


@pytest.fixture
def coordinates(aws: SkewedAws) -> SkewedAws:
    """Mirror's parameters, of a host that does not exist."""
    aws.put_parameters(ACCOUNT, {HOST: "db.invalid", PORT: "5432"})
    return aws


def of(report: Report, step: str) -> Finding:
    """The finding of a step that all targets share."""
    return next(finding for finding in report.aws if finding.step == step)


def expecting(account: str) -> Settings:
    """A soa-db.toml that names an account."""
    return Settings(None, {"dev": EnvironmentSettings(account=account)})


def test_the_source_of_the_credentials_and_the_caller_are_named(doctor: Doctor, specs: SpecSet, service: str) -> None:
    """Where they are from, which region, who that is; never the key."""
    report = doctor(specs, settings=expecting(ACCOUNT))
    assert of(report, "credentials").summary.startswith("from the environment variables")
    assert "us-west-2" in of(report, "credentials").summary
    assert of(report, "identity").summary.endswith(f"user/{service}, account {ACCOUNT}, as soa-db.toml expects")


@pytest.mark.parametrize(("minutes", "status"), [(13, Status.WARNING), (120, Status.OK)])
def test_the_end_of_temporary_credentials_is_told(
    *,
    doctor: Doctor,
    specs: SpecSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    status: Status,
) -> None:
    """From a profile's credential_process; a quarter of an hour before their end it is a warning."""
    end = datetime.now(UTC) + timedelta(minutes=minutes)
    given = {
        "Version": 1,
        "AccessKeyId": os.environ["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
        "Expiration": end.isoformat(),
    }
    (tmp_path / "given.json").write_text(json.dumps(given))
    (tmp_path / "config").write_text(f"[profile p]\ncredential_process = cat {tmp_path / 'given.json'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "p")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = of(doctor(specs), "credentials")
    assert found.status is status
    assert "from the profile's credential_process" in found.summary
    assert f"{end:%Y-%m-%d %H:%M} UTC" in found.summary


def test_without_credentials_nothing_of_aws_is_tried(
    doctor: Doctor, specs: SpecSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cause, and everything that depends on it names it."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    report = doctor(specs)
    found = blamed(report)
    assert found.step == "credentials"
    assert "AWS_PROFILE" in found.hint
    assert of(report, "identity").status is Status.SKIPPED
    assert {finding.reason for finding in only(report).findings} == {"credentials"}


def test_credentials_that_aws_does_not_know_fail_at_the_identity(
    doctor: Doctor, specs: SpecSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are there, but nobody's."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    found = blamed(doctor(specs))
    assert found.step == "identity"
    assert "does not accept these credentials" in found.summary
    assert "AWS_ACCESS_KEY_ID" in found.hint


def test_the_wrong_account_stops_everything(doctor: Doctor, specs: SpecSet) -> None:
    """soa-db.toml expects another one: nothing of that account is read."""
    report = doctor(specs, settings=expecting(OTHER_ACCOUNT))
    found = blamed(report)
    assert found.step == "identity"
    assert f"AWS account {OTHER_ACCOUNT}, but the caller is in account {ACCOUNT}" in found.summary
    assert "[environments.dev]" in found.hint
    assert {finding.reason for finding in only(report).findings} == {"identity"}


def test_no_way_to_sts_is_a_warning_unless_the_account_matters(
    doctor: Doctor, specs: SpecSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network without an endpoint for STS may still read secrets; but not as nobody knows whom."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    report = doctor(specs)
    assert of(report, "identity").status is Status.WARNING
    assert "not reached" in of(report, "identity").summary
    assert of(report, "clock").status is Status.NOT_APPLICABLE
    assert blamed(report).step == "secret"  # it was tried: there is none
    strict = doctor(specs, settings=expecting(ACCOUNT))
    assert blamed(strict).step == "identity"
    assert f"it must be {ACCOUNT}" in blamed(strict).summary


@pytest.mark.parametrize(("skew", "status"), [(0, Status.OK), (-130, Status.WARNING), (700, Status.FAILED)])
def test_a_clock_that_differs_from_awss_is_found(
    doctor: Doctor, specs: SpecSet, aws: SkewedAws, skew: float, status: Status
) -> None:
    """By the date of AWS's own answers: above a minute is a warning, above five AWS refuses signatures."""
    aws.skew = skew
    found = of(doctor(specs), "clock")
    assert found.status is status
    if skew:
        assert ("ahead of" if skew < 0 else "behind") in found.summary
        assert "NTP" in found.hint


def test_a_clock_is_found_wrong_also_where_aws_refuses_the_signature(
    doctor: Doctor, specs: SpecSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal itself carries the date."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    report = doctor(specs, wall=lambda: time.time() - 3600)
    assert of(report, "identity").status is Status.FAILED
    assert of(report, "clock").status is Status.FAILED
    assert "3600 s behind" in of(report, "clock").summary


def test_what_is_asked_of_aws_for_many_targets_is_asked_once(
    doctor: Doctor, specs: SpecSet, coordinates: SkewedAws
) -> None:
    """Three roles, one identity, each parameter once; the loader then reads both in one call a role, at most."""
    report = doctor(specs, env="mirror", roles=None)
    assert len(report.targets) == 3
    assert coordinates.seen["query"] == 1
    assert coordinates.seen["GetParameters"] <= 2 + 3


def test_a_host_that_does_not_resolve_is_blamed_on_dns(doctor: Doctor, specs: SpecSet, coordinates: SkewedAws) -> None:
    """The parameters are good, as far as they go."""
    report = doctor(specs, env="mirror")
    found = blamed(report)
    assert (found.step, found.subject) == ("dns", "db.invalid:5432")
    assert found.hint
    assert statuses(report)["parameters"] is Status.OK
    assert statuses(report)["tcp"] is Status.SKIPPED


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (PORT, "c4nary-Password", "does not hold a port from 1 to 65535"),
        (HOST, "a c4nary-Password", "does not hold one host name"),
        (HOST, " ", "is empty"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named_and_not_quoted(
    *, doctor: Doctor, specs: SpecSet, coordinates: SkewedAws, name: str, value: str, says: str
) -> None:
    """With the command that mends it; the other parameter is told too."""
    coordinates.put_parameters(ACCOUNT, {name: value})
    report = doctor(specs, env="mirror")
    found = blamed(report)
    assert (found.step, found.subject) == ("parameters", name)
    assert says in found.summary
    assert f"aws ssm put-parameter --overwrite --name {name}" in found.hint
    assert [one.status for one in only(report).findings if one.step == "parameters"].count(Status.OK) == 1


def test_a_missing_parameter_and_a_denied_one_are_told_apart(
    *, doctor: Doctor, specs: SpecSet, coordinates: SkewedAws, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prod has none in this account; mirror's host may be read, its port may not."""
    report = doctor(specs, env="prod")
    missing = [one for one in only(report).findings if one.status is Status.FAILED]
    assert [one.subject for one in missing] == [names.iam_host_ssm_path("prod"), names.iam_port_ssm_path("prod")]
    assert {"there is no SSM parameter" in one.summary for one in missing} == {True}
    keys = coordinates.create_user(
        ACCOUNT,
        f"{service}-poor",
        allow(
            ("sts:GetCallerIdentity", "*"),
            ("ssm:GetParameter*", names.ssm_parameter_arn(HOST, region="us-west-2", account=ACCOUNT)),
        ),
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    found = blamed(doctor(specs, env="mirror"))
    assert (found.step, found.subject) == ("parameters", PORT)
    assert "AWS denies ssm:GetParameter" in found.summary
    assert "`soa-db policy --apply`" in found.hint


def test_aws_that_does_not_answer_holds_nothing_up(
    doctor: Doctor, specs: SpecSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that takes connections and is silent."""
    # What it takes to load botocore is not AWS's.
    with AwsClients() as clients:
        clients.client("sts")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        report = doctor(specs, timeout=0.6)
        assert time.monotonic() - begun < 30  # a hang, not a measure of speed
        assert of(report, "identity").status is Status.WARNING
        found = blamed(report)
        assert found.step == "secret"
        assert "no answer within 0.6 s" in found.summary
        assert "VPC endpoints" in found.hint
        strict = blamed(doctor(specs, timeout=0.6, settings=expecting(ACCOUNT)))
    assert strict.step == "identity"
    assert "does not answer, so that the account is not known" in strict.summary
