"""What verify expects of each user, from the specs alone; and the names it makes up for its probes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soa_db.access.attempt import Attempt, judge
from soa_db.access.redis.acl import parse, same_access, takes_away
from soa_db.access.redis.expect import expected_access, is_exact, sample
from soa_db.access.report import Outcome, Probe
from soa_db.access.spec import RedisSpec, Spec, SpecSet
from soa_db.access.spec.redis import patterns_overlap

MARK = "soa-db-probe-0"


def spec(service: str, **redis: Any) -> Spec:
    """A service with a ``redis`` part."""
    return Spec(version=1, service=service, redis=RedisSpec(**redis))


def test_foreign_keys_are_those_of_others_and_one_of_nobodys() -> None:
    """Those one may read are left out, whoever owns them."""
    specs = SpecSet((spec("a"), spec("b", keys=["b:*", "b"], read_only_keys=["a:*"]), Spec(version=1, service="c")))
    access = expected_access(specs, "prod")
    assert [user.user for user in access.users] == ["a-prod", "b-prod"]
    a, b = access.users
    assert access.foreign_keys(a, MARK) == (f"b:{MARK}", "b", f"soa-db-nobody:{MARK}")
    assert access.foreign_keys(b, MARK) == (f"soa-db-nobody:{MARK}",)
    assert b.may_read("a:1")
    assert not b.may_write("a:1")
    assert access.foreign_patterns(a) == ("b:*", "*")
    assert access.foreign_channels(a, MARK) == (f"b:{MARK}", f"soa-db-nobody:{MARK}")


@given(st.text(alphabet="ab:*?[]^\\-", min_size=1, max_size=8).map(lambda text: f"x:{text}"))
def test_a_sample_matches_its_pattern(pattern: str) -> None:
    """Whatever wildcards and escapes it has."""
    literal = "".join(f"\\{char}" if char in "*?[]\\" else char for char in sample(pattern, "m"))
    assert patterns_overlap(literal, pattern)


@pytest.mark.parametrize(
    ("pattern", "exact"), [("a:b", True), ("a:\\*", True), ("a:*", False), ("a:?", False), ("a:[bc]", False)]
)
def test_an_exact_pattern_is_somebodys_real_key(pattern: str, exact: bool) -> None:
    """It is never written by a probe."""
    assert is_exact(pattern) is exact


def test_only_a_refusal_by_right_proves_a_refusal() -> None:
    """Anything else leaves the question open; what the server does not have has no meaning."""
    cannot = Probe("u", "redis", "rights", "X", "cannot", "attempt")
    can = Probe("u", "redis", "rights", "X", "can", "attempt")
    denied, permitted = Attempt(permitted=False, seen="NOPERM"), Attempt(permitted=True, seen="yes")
    unclear, absent = Attempt(None, "ERR what"), Attempt(None, "ERR unknown command", absent=True)
    for probe, results, outcome in (
        (cannot, {"": denied}, Outcome.OK),
        (cannot, {"a": denied, "b": permitted}, Outcome.VIOLATED),
        (cannot, {"a": denied, "b": unclear}, Outcome.INCONCLUSIVE),
        (cannot, {"": absent}, Outcome.NOT_APPLICABLE),
        (cannot, {"a": absent, "b": denied}, Outcome.OK),
        (can, {"": permitted}, Outcome.OK),
        (can, {"a": permitted, "b": denied}, Outcome.VIOLATED),
        (can, {"": unclear}, Outcome.INCONCLUSIVE),
    ):
        assert judge(probe, results, mend="mend").outcome is outcome


def test_strings_as_elasticache_and_as_valkey_give_them_back() -> None:
    """Compared by rules where nobody tells what commands there are: order between signs is meaning."""
    given = parse("on resetchannels ~a:* %R~f:* &a:* -@all +@read +@write -@dangerous +info -client|kill")
    assert same_access(
        given, parse("on ~a:* %R~f:* resetchannels &a:* -@all +@write +@read -@dangerous +info -client|kill")
    )
    assert same_access(given, parse("on %R~f:* ~a:* resetchannels &a:* +@read +@write -@dangerous +info -client|kill"))
    assert not same_access(given, parse("on ~a:* %R~f:* &a:* -@all +info +@read +@write -@dangerous -client|kill"))
    assert not same_access(given, parse("on ~a:* ~f:* &a:* -@all +@read +@write -@dangerous +info -client|kill"))
    assert not same_access(given, parse("off ~a:* %R~f:* &a:* -@all +@read +@write -@dangerous +info -client|kill"))
    assert same_access(parse("on +@all -get"), parse("on +get +@all +config|get +config -get"))
    assert same_access(parse("on allkeys allchannels allcommands"), parse("on ~* &* +@all"))
    assert same_access(parse("on (~a +get) (~b +set)"), parse("on (~b +set) (~a -@all +get)"))
    assert not same_access(parse("on (~a +get)"), parse("on"))
    assert takes_away(parse("on ~* +@all"), given)
    assert takes_away(parse("on (~b +get)"), parse("on"))
    assert not takes_away(parse("off ~* +@all"), given)


def test_passwords_of_a_line_of_acl_list() -> None:
    """Hashes only, and never in a repr."""
    acl = parse("on #ABCDEF >secret ~a +get")
    assert "abcdef" in acl.passwords
    assert len(acl.passwords) == 2
    assert "abcdef" not in repr(acl)
    assert parse("on >secret <secret").passwords == frozenset()
    assert parse("on >secret nopass").nopass
    assert not parse("on nopass >secret").nopass
