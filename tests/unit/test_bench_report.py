"""The rows and the table of the benchmarks."""

from __future__ import annotations

import json

import pytest
from bench.report import Row, as_json, table
from bench.timing import alternate, lower_decile, median, median_ratio, order


@pytest.mark.parametrize(
    ("row", "passed"),
    [
        (Row("ratio kept", 2.0, "s", theirs=2.0, bar=1.05), True),
        (Row("ratio missed", 2.2, "s", theirs=2.0, bar=1.05), False),
        (Row("ratio of pairs kept", 2.2, "s", theirs=2.0, bar=1.05, of_pairs=1.0), True),
        (Row("ratio of pairs missed", 2.0, "s", theirs=2.0, bar=1.05, of_pairs=1.06), False),
        (Row("difference kept", 30.0, "ms", theirs=15.0, bar=20, bar_is="difference"), True),
        (Row("difference missed", 40.0, "ms", theirs=15.0, bar=20, bar_is="difference"), False),
        (Row("value kept", 0.0, "writes", bar=0, bar_is="value"), True),
        (Row("value missed", 1.0, "writes", bar=0, bar_is="value"), False),
        (Row("no bar", 1.0, "s", theirs=2.0), None),
        (Row("a ratio to nothing", 1.0, "s", bar=1.05), False),
    ],
)
def test_a_bar_is_kept_or_missed_in_its_own_terms(row: Row, passed: bool | None) -> None:
    """A bar limits the ratio, the difference or the value; a figure without a bar neither keeps nor misses."""
    assert row.passed is passed


def test_the_table_names_what_was_missed() -> None:
    """Each row has its name, unit, both figures, the ratio and the verdict."""
    text = table(
        [Row("SELECT 1", 3.0, "us", 2.0, "psycopg_pool", 1.05), Row("lost", 0, "writes", bar=0, bar_is="value")]
    )
    missed, kept = text.splitlines()[1:]
    assert "SELECT 1 [us] vs psycopg_pool" in missed
    assert "1.50x" in missed
    assert missed.endswith("<= 1.05 ratio MISSED")
    assert kept.endswith("<= 0 value kept")


def test_json_carries_what_was_worked_out() -> None:
    """Machines get the ratio and the verdict along with the figures."""
    (row,) = json.loads(as_json([Row("SELECT 1", 3.0, "us", 2.0, "psycopg_pool", 1.05)]))
    assert (row["ours"], row["ratio"], row["passed"]) == (3.0, 1.5, False)


def test_every_contender_comes_first_equally_often() -> None:
    """The rounds of all contenders are interleaved, and the order turns."""
    seen: list[str] = []

    def contender(name: str) -> float:
        seen.append(name)
        return 1.0

    found = alternate({name: lambda name=name: contender(name) for name in ("a", "b", "c")}, rounds=3)  # type: ignore[misc]  # mypy has no type for a lambda with a default
    assert "".join(seen) == "abcbcacab"
    assert {name: len(values) for name, values in found.items()} == {"a": 3, "b": 3, "c": 3}
    assert order(("a", "b"), 3) == ["b", "a"]


def test_one_disturbed_round_does_not_change_the_figure() -> None:
    """Median and lower decile are untouched by an outlier."""
    figures = {"ours": [1.0] * 19 + [100.0]}
    assert median(figures, scale=1000) == {"ours": 1000.0}
    assert lower_decile(figures) == {"ours": 1.0}


def test_a_ratio_of_pairs_is_untouched_by_a_change_of_pace() -> None:
    """Both contenders are slower from one round on: what they are to each other stays."""
    theirs = [1.0, 1.0, 1.0, 3.0, 3.0]
    found = {"ours": [1.25 * value for value in theirs], "theirs": theirs}
    assert median_ratio(found, "ours", "theirs") == 1.25
