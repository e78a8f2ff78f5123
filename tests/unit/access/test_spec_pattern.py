"""Object patterns: what they name, what they cover, and that they read back as written."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from soa_db.access.spec import ObjectPattern
from soa_db.access.spec.redis import patterns_overlap

NAMES = st.text(alphabet='abA_*."()% é', min_size=1, max_size=6)
GLOBS = st.text(alphabet="ab*", min_size=1, max_size=6)


@given(schema=NAMES, pieces=st.lists(st.text(alphabet="ab_", max_size=3), min_size=1, max_size=3), call=st.booleans())
def test_a_pattern_reads_back_as_written(schema: str, pieces: list[str], call: bool) -> None:
    """str() is the syntax parse() reads."""
    if pieces == [""]:
        pieces = ["a"]
    pattern = ObjectPattern(schema, tuple(pieces), "routine" if call else "relation")
    assert ObjectPattern.parse(str(pattern)) == pattern


@given(schema=NAMES, name=NAMES)
def test_any_name_can_be_said_exactly(schema: str, name: str) -> None:
    """In quotes nothing is a wildcard."""
    pattern = ObjectPattern.parse(str(ObjectPattern(schema, (name,))))
    assert pattern.exact == name
    assert pattern.matches(schema, name)
    assert not pattern.matches(schema, name + "x")


@example(glob="a*a", name="a")
@example(glob="a*ba*a", name="abab")
@given(glob=GLOBS, name=st.text(alphabet="ab", max_size=8))
def test_a_wildcard_stands_for_any_characters(glob: str, name: str) -> None:
    """As the regular expression `.*` would."""
    expected = re.fullmatch(glob.replace("*", ".*"), name) is not None
    assert ObjectPattern.parse(f"s.{glob}").matches("s", name) is expected


@given(wide=GLOBS, narrow=GLOBS, name=st.text(alphabet="abc", max_size=8))
def test_what_a_covered_pattern_names_the_covering_one_names(wide: str, narrow: str, name: str) -> None:
    """The law that makes a shared pattern safe to read."""
    one, other = ObjectPattern.parse(f"s.{wide}"), ObjectPattern.parse(f"s.{narrow}")
    if one.covers(other) and other.matches("s", name):
        assert one.matches("s", name)
    filled = narrow.replace("*", "cdc")
    if not one.covers(other):
        # A word no literal of the wide pattern holds stands in for each wildcard: it is a counterexample.
        assert not one.matches("s", filled)


def test_kinds_and_schemas_are_kept_apart() -> None:
    """A routine pattern covers no table, a schema no other."""
    tables, routines = ObjectPattern.parse("a.*"), ObjectPattern.parse("a.*()")
    assert tables.kind == "relation"
    assert routines.kind == "routine"
    assert not tables.covers(routines)
    assert not tables.covers(ObjectPattern.parse("b.x"))
    assert tables.covers(ObjectPattern.parse("a.x"))
    assert tables.exact is None


def test_a_hostile_pattern_is_matched_in_no_time() -> None:
    """Many wildcards over a long name: a backtracking matcher would never end."""
    assert not ObjectPattern.parse("s." + "*a" * 30 + "b").matches("s", "a" * 63)


@pytest.mark.parametrize(
    "text", ["", "x", ".x", "x.", "a.b.c", 'a."b', "a.b(", "a.b()()", "a. b", "a .b", '"".x', 'a.""']
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    """With a sentence."""
    with pytest.raises(ValueError, match=r"write|empty|quotes"):
        ObjectPattern.parse(text)


REDIS = st.text(alphabet="ab*?", min_size=1, max_size=5)


@given(one=REDIS, other=REDIS, key=st.text(alphabet="ab", max_size=7))
def test_two_redis_patterns_that_match_one_key_overlap(one: str, other: str, key: str) -> None:
    """Never a missed overlap; the relation is symmetric."""

    def matches(pattern: str) -> bool:
        return re.fullmatch(pattern.replace("*", ".*").replace("?", "."), key) is not None

    if matches(one) and matches(other):
        assert patterns_overlap(one, other)
    assert patterns_overlap(one, other) == patterns_overlap(other, one)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("a:*", "a:b", True),
        ("a:*", "b:*", False),
        ("a:*:x", "a:*:y", False),
        (r"a:\*", "a:b", False),
        (r"a:\*", "a:*", True),
        ("a:[bc]", "a:d", True),
        ("a:[bc", "a:d", True),
        ("a:?", "a:", False),
        ("a:\\", "a:\\", True),
    ],
)
def test_overlap_of_redis_patterns(one: str, other: str, overlap: bool) -> None:
    """Sets are taken for any character: said too often rather than too seldom."""
    assert patterns_overlap(one, other) is overlap
