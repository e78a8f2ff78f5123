"""Where a service answers and for which region a request to it is signed: as botocore's own clients decide it.

The rules are botocore's, read from the small rule set it ships for each service; its older table of all endpoints, a
megabyte parsed in one call that lets no other thread run, is not touched. What the configuration says comes first:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import InvalidSTSRegionalEndpointsConfigError

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from botocore.session import Session

__all__ = ["Endpoint", "find_endpoint"]

# What the configuration calls a service.
_CONFIG_NAMES = {"secretsmanager": "secrets_manager"}
# The name of STS's one endpoint for all regions, and the region that it is in.
_STS_GLOBAL, _STS_REGION = "aws-global", "us-east-1"


class Endpoint(NamedTuple):
    """A URL, and the region that requests to it are signed for."""

    url: str
    region: str


def find_endpoint(session: Session, service: str, region: str, *, given: str | None) -> Endpoint:
    """Return where a service answers; raises botocore's errors.

    Args:
        session: whose configuration counts.
        service: ``ssm``, ``secretsmanager`` or ``sts``.
        region: the region in use.
        given: a URL that goes before all configuration.
    """
    url = given or _configured(session, _CONFIG_NAMES.get(service, service))
    if url:
        return Endpoint(url, region)
    parameters: dict[str, Any] = {
        "Region": region,
        "UseFIPS": bool(session.get_config_variable("use_fips_endpoint")),
        "UseDualStack": bool(session.get_config_variable("use_dualstack_endpoint")),
    }
    if service == "sts":
        parameters["UseGlobalEndpoint"] = _sts_is_global(session)
    found = _rules(session.get_component("data_loader"), service).resolve_endpoint(**parameters)
    schemes = found.properties.get("authSchemes", [])
    if schemes:
        return Endpoint(str(found.url), str(schemes[0]["signingRegion"]))
    return Endpoint(str(found.url), _STS_REGION if (service, region) == ("sts", _STS_GLOBAL) else region)


@cache
def _rules(loader: Loader, service: str) -> EndpointProvider:
    version = loader.determine_latest_version(service, "endpoint-rule-set-1")
    rules: Any = loader.load_data(f"{service}/{version}/endpoint-rule-set-1")
    partitions: Any = loader.load_data("partitions")
    return EndpointProvider(rules, partitions)


def _configured(session: Session, name: str) -> str | None:
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    scoped = session.get_scoped_config()
    section = session.full_config.get("services", {}).get(scoped.get("services"), {}).get(name, {})
    found = (
        os.environ.get(f"AWS_ENDPOINT_URL_{name.upper()}"),
        os.environ.get("AWS_ENDPOINT_URL"),
        section.get("endpoint_url"),
        scoped.get("endpoint_url"),
    )
    return next((str(url) for url in found if url), None)


def _sts_is_global(session: Session) -> bool:
    """Whether the old regions share one endpoint: https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html"""
    choice = session.get_config_variable("sts_regional_endpoints") or "regional"
    if choice not in {"legacy", "regional"}:
        raise InvalidSTSRegionalEndpointsConfigError(sts_regional_endpoints_config=choice)
    return bool(choice == "legacy")
