"""Which trusted roots verify which host of Amazon RDS. Pure.

Every RDS region has certificate authorities of its own, which no public trust store holds
(https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html). RDS Proxy and Aurora Serverless v1
show certificates of Amazon Trust Services, which certifi has, under the same host names. libpq reads and parses its
roots at every connect, 30 ms for both bundles together, so for an RDS host only those that can matter are kept.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from soa_db.errors import TlsVerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BUNDLED_REGIONS", "amazon_trust_roots", "rds_region", "select_roots"]

# What data/rds-ca-bundle.pem holds; tests/unit/test_rds_roots.py compares the two.
BUNDLED_REGIONS = frozenset(
    {
        "af-south-1",
        "ap-east-1",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-southeast-3",
        "ap-southeast-4",
        "ca-central-1",
        "eu-central-1",
        "eu-central-2",
        "eu-north-1",
        "eu-south-1",
        "eu-south-2",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "il-central-1",
        "me-central-1",
        "me-south-1",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
    }
)
# db.abc.us-west-2.rds.amazonaws.com; in China db.abc.rds.cn-north-1.amazonaws.com.cn
_HOST = re.compile(
    r"(?P<name>.+)\.(?:(?P<region>[a-z]{2}(?:-[a-z]+)+-\d+)\.rds|rds\.(?P<china>cn-[a-z]+-\d+))\.amazonaws\.com(?:\.cn)?\.?",
    re.IGNORECASE,
)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")
# "Starfield Services Root Certificate Authority - G2" is Amazon Trust Services' oldest.
_AMAZON_TRUST = (b"Amazon Root CA", b"Starfield Services Root")


def rds_region(host: str) -> str | None:
    """Return the region in the host name of an RDS instance, cluster or proxy; None for any other host."""
    match = _HOST.fullmatch(host)
    return (match["region"] or match["china"]).lower() if match else None


def select_roots(host: str, *, rds_bundle: str, public_bundle: str) -> str:
    """Return the roots, as PEM, that ``host`` is verified against.

    Args:
        host: the name that will be verified.
        rds_bundle: the bundled RDS roots.
        public_bundle: the roots of certifi.

    Raises:
        TlsVerificationFailed: the bundle has no roots for the region ``host`` is in.
    """
    region = rds_region(host)
    if region is None:
        return f"{rds_bundle}\n{public_bundle}"
    amazon_trust = amazon_trust_roots(public_bundle)
    if ".proxy-" in host.lower():
        return amazon_trust
    if region not in BUNDLED_REGIONS:
        raise TlsVerificationFailed(
            f"the bundled RDS certificate authorities do not cover the region {region}",
            hint=f"download https://truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem and name it in "
            "SOA_DB_CA_FILE or tls.ca_file",
            host=host,
        )
    return _with_any(rds_bundle, (f"Amazon RDS {region} Root CA".encode(),)) + amazon_trust


def amazon_trust_roots(public_bundle: str) -> str:
    """Return those roots of Amazon Trust Services that stand among the public ones, as PEM."""
    return _with_any(public_bundle, _AMAZON_TRUST)


def _with_any(bundle: str, names: Iterable[bytes]) -> str:
    """Keep the certificates that hold one of ``names``: in DER a common name stands as plain bytes."""
    kept = (
        block.group(0)
        for block in _CERTIFICATE.finditer(bundle)
        if any(name in base64.b64decode(block[1]) for name in names)
    )
    return "".join(f"{pem}\n" for pem in kept)
