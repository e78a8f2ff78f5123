"""The vendored RDS roots: unchanged, unexpired, and chosen by the region in a host name."""

import hashlib
import re
import ssl
import time
from pathlib import Path
from typing import Any

import certifi
import pytest

import soa_db
from soa_db._core.rds import BUNDLED_REGIONS, rds_region, select_roots
from soa_db.errors import TlsVerificationFailed

DATA = Path(soa_db.__file__).parent / "data"
BUNDLE = DATA / "rds-ca-bundle.pem"


def certificates(pem: str) -> list[dict[str, str]]:
    """Subject common (or organisational) names and end dates, as OpenSSL reads them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    found = []
    certificates: list[dict[str, Any]] = context.get_ca_certs()
    for certificate in certificates:
        subject = {key: value for pairs in certificate["subject"] for key, value in pairs}
        found.append({"name": subject.get("commonName", ""), "end": str(certificate["notAfter"])})
    return found


def test_the_bundle_is_the_one_whose_provenance_is_written_down() -> None:
    """A changed bundle needs a changed README."""
    digest = hashlib.sha256(BUNDLE.read_bytes()).hexdigest()
    assert digest in (DATA / "README.md").read_text("utf-8")


def test_no_root_expires_within_two_years() -> None:
    """Time enough to notice and to release."""
    soon = time.time() + 2 * 365 * 86400
    late = [root for root in certificates(BUNDLE.read_text()) if ssl.cert_time_to_seconds(root["end"]) < soon]
    assert late == []


def test_the_regions_in_the_code_are_those_in_the_bundle() -> None:
    """Each with its three roots."""
    names = [root["name"] for root in certificates(BUNDLE.read_text())]
    regions = [match[1] for name in names if (match := re.fullmatch(r"Amazon RDS ([a-z0-9-]+) Root CA \S+ G1", name))]
    assert set(regions) == BUNDLED_REGIONS
    assert {regions.count(region) for region in BUNDLED_REGIONS} == {3}


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("db1.abc123.us-west-2.rds.amazonaws.com", "us-west-2"),
        ("db1.cluster-ro-abc123.EU-Central-1.rds.amazonaws.com.", "eu-central-1"),
        ("p.proxy-abc.ap-southeast-5.rds.amazonaws.com", "ap-southeast-5"),
        ("db1.abc123.rds.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("localhost", None),
        ("us-west-2.rds.amazonaws.com.evil.example", None),
        ("db.internal", None),
    ],
)
def test_the_region_is_read_from_the_host_name(host: str, region: str | None) -> None:
    """Only Amazon's own names say a region."""
    assert rds_region(host) == region


def select(host: str) -> list[str]:
    """The names of the roots chosen for a host."""
    chosen = select_roots(host, rds_bundle=BUNDLE.read_text(), public_bundle=certifi.contents())
    return [root["name"] for root in certificates(chosen)]


def test_an_rds_host_is_verified_against_its_region_and_amazon_trust() -> None:
    """Not against 200 others: libpq parses them at every connect, and another region's authority has no say here."""
    names = select("db1.abc123.us-west-2.rds.amazonaws.com")
    assert {name for name in names if name.startswith("Amazon RDS")} == {
        f"Amazon RDS us-west-2 Root CA {kind} G1" for kind in ("RSA2048", "RSA4096", "ECC384")
    }
    rest = {name for name in names if not name.startswith("Amazon RDS")}
    assert {"Amazon Root CA 1", "Amazon Root CA 2", "Amazon Root CA 3", "Amazon Root CA 4"} <= rest
    assert len(rest) == 5


@pytest.mark.parametrize("region", ["ca-west-1", "mx-central-1", "ap-southeast-5", "ap-southeast-7", "ap-east-2"])
def test_a_region_the_bundle_lacks_is_refused_with_the_way_out(region: str) -> None:
    """Rather than with "certificate verify failed"."""
    with pytest.raises(TlsVerificationFailed, match=region) as caught:
        select(f"db1.abc123.{region}.rds.amazonaws.com")
    assert f"truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem" in caught.value.hint
    assert "SOA_DB_CA_FILE" in caught.value.hint


def test_a_proxy_needs_amazon_trust_only_in_any_region() -> None:
    """RDS Proxy does not use the RDS authorities."""
    names = select("p.proxy-abc.ap-east-2.rds.amazonaws.com")
    assert names
    assert not any(name.startswith("Amazon RDS") for name in names)


def test_any_other_host_gets_everything() -> None:
    """A name of the team's own may stand for anything."""
    assert len(select("db.example.org")) >= 90 + 100
