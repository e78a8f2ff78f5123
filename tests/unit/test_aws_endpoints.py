"""The calls we sign ourselves go where botocore's own clients send theirs, signed for the same region."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.session import Session

from soa_db._aws.endpoints import Endpoint, find_endpoint
from soa_db._aws.session import AwsSession
from soa_db._runtime.clock import Clock
from soa_db.errors import CredentialError

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "ssm": ("get_parameters", {"Names": ["n"]}),
    "secretsmanager": ("get_secret_value", {"SecretId": "s"}),
    "sts": ("get_caller_identity", {}),
}
CONFIGURED: list[tuple[str, dict[str, str], str]] = [
    ("us-west-2", {}, ""),
    ("us-west-99", {}, ""),
    ("us-west-2", {"AWS_ENDPOINT_URL": "https://all.example"}, ""),
    ("us-west-2", {"AWS_ENDPOINT_URL": "https://all.example", "AWS_ENDPOINT_URL_SSM": "https://ssm.example"}, ""),
    ("us-west-2", {"AWS_ENDPOINT_URL_SECRETS_MANAGER": "https://secrets.example"}, ""),
    ("us-west-2", {"AWS_ENDPOINT_URL_STS": "https://sts.example", "AWS_USE_FIPS_ENDPOINT": "true"}, ""),
    ("us-west-2", {"AWS_ENDPOINT_URL": "https://x", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, ""),
    ("us-west-2", {}, "[default]\nendpoint_url = https://file.example\n"),
    ("us-west-2", {}, "[default]\nservices = s\n[services s]\nssm =\n  endpoint_url = https://section.example\n"),
    ("us-west-2", {}, "[default]\nservices = s\n[services s]\nsts =\n  endpoint_url = https://section.example\n"),
    ("us-east-1", {"AWS_USE_FIPS_ENDPOINT": "true"}, ""),
    ("us-gov-west-1", {"AWS_USE_FIPS_ENDPOINT": "true"}, ""),
    ("us-east-1", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, ""),
    ("us-west-2", {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"}, ""),
    ("aws-global", {"AWS_ENDPOINT_URL": "https://all.example"}, ""),
    ("us-west-2", {}, "[default]\nsts_regional_endpoints = legacy\n"),
    ("ap-east-1", {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"}, ""),
    ("us-west-2", {"AWS_STS_REGIONAL_ENDPOINTS": "legacy", "AWS_USE_FIPS_ENDPOINT": "true"}, ""),
]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys to sign with, and nothing of the machine's own configuration."""
    import os

    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")


def where_botocore_goes(session: Session, service: str, region: str, **options: Any) -> Endpoint:
    """Ask botocore's own client, and take the request from it before it is sent."""
    sent: list[AWSPreparedRequest] = []

    def take(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 500, HTTPHeaders(), _Nothing())

    client = session.create_client(
        service, region_name=region, config=Config(retries={"total_max_attempts": 1}, **options)
    )
    client.meta.events.register("before-send", take)  # type: ignore[arg-type]  # the stubs forget that an answer may be given
    operation, arguments = CALLS[service]
    with pytest.raises(botocore.exceptions.ClientError):
        getattr(client, operation)(**arguments)
    client.close()
    parts = urlsplit(str(sent[0].url))
    authorization: Any = sent[0].headers["Authorization"]
    scope = authorization.decode().partition("Credential=")[2].split("/")
    return Endpoint(f"{parts.scheme}://{parts.netloc}", scope[2])


class _Nothing:
    """An empty body."""

    def stream(self) -> list[bytes]:
        return []


def regions() -> list[str]:
    """Every region botocore knows, in every partition, and what stands for no region."""
    path = Path(botocore.__file__).parent / "data" / "partitions.json"
    return sorted(name for one in json.loads(path.read_text())["partitions"] for name in one["regions"])


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize("fips", [False, True])
@pytest.mark.parametrize("dualstack", [False, True])
def test_in_every_region_with_and_without_fips_and_dual_stack(service: str, fips: bool, dualstack: bool) -> None:
    """GovCloud has hosts of its own for FIPS, and Secrets Manager for dual-stack."""
    session = Session()
    session.set_config_variable("use_fips_endpoint", fips)
    session.set_config_variable("use_dualstack_endpoint", dualstack)
    names = regions()
    assert {"us-west-2", "us-gov-west-1", "cn-north-1", "aws-global"} <= set(names)
    compared = 0
    for name in names:
        try:
            theirs = where_botocore_goes(session, service, name)
        except botocore.exceptions.EndpointVariantError:
            # Its older table, which it asks as well, has no dual-stack hosts there.
            assert "iso" in name or name.startswith("eusc")
            continue
        assert find_endpoint(session, service, name, given=None) == theirs
        compared += 1
    assert compared > 30


@pytest.mark.parametrize(("service", "case"), list(itertools.product(CALLS, CONFIGURED)))
def test_with_the_same_configuration(
    service: str, case: tuple[str, dict[str, str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Environment, configuration file, and which goes before which."""
    region, environment, config = case
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    session = AwsSession(region=region, profile=None, role_arn=None, external_id=None, endpoint_url=None, clock=Clock())
    assert session.endpoint(service) == where_botocore_goes(session.botocore(), service, region)
    session.close()


def test_a_configuration_that_botocore_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than read as one of the two values there are."""
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "global")
    session = AwsSession(
        region="us-west-2", profile=None, role_arn=None, external_id=None, endpoint_url=None, clock=Clock()
    )
    with pytest.raises(CredentialError, match="STS regional endpoints"):
        session.endpoint("sts")
