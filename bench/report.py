"""What a benchmark gives: rows with a figure of ours, the figure it is held against, and the bar."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison, both sides measured in this run.

    Attributes:
        what: what was measured.
        ours: our figure.
        theirs: the figure of the thing itself, or of a peer; None when the figure stands alone.
        unit: of both figures.
        against: what ``theirs`` is.
        bar: the most that ``ours`` may be, in the terms of ``bar_is``; None when there is none.
        bar_is: what the bar limits.
        of_pairs: the median of the ratios of single rounds, where it is taken as the ratio: it is steadier than a
            quotient of two figures where the machine changes its pace from one second to the next.
    """

    what: str
    ours: float
    unit: str
    theirs: float | None = None
    against: str = ""
    bar: float | None = None
    bar_is: str = "ratio"
    of_pairs: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over theirs."""
        if self.of_pairs is not None:
            return self.of_pairs
        return self.ours / self.theirs if self.theirs else None

    @property
    def passed(self) -> bool | None:
        """Whether the bar is kept; None without a bar."""
        if self.bar is None:
            return None
        match self.bar_is:
            case "ratio":
                return self.ratio is not None and self.ratio <= self.bar
            case "difference":
                return self.theirs is not None and self.ours - self.theirs <= self.bar
            case _:
                return self.ours <= self.bar


def table(rows: Iterable[Row]) -> str:
    """A table for the terminal."""
    lines = [f"{'':52} {'ours':>10} {'against':>10} {'ratio':>7}  bar"]
    for row in rows:
        theirs = "" if row.theirs is None else f"{row.theirs:10.3f}"
        ratio = "" if row.ratio is None else f"{row.ratio:6.2f}x"
        verdict = {None: "", True: "kept", False: "MISSED"}[row.passed]
        limit = "" if row.bar is None else f"<= {row.bar:g} {row.bar_is}"
        name = f"{row.what} [{row.unit}]" + (f" vs {row.against}" if row.against else "")
        lines.append(f"{name:52} {row.ours:10.3f} {theirs:>10} {ratio:>7}  {limit} {verdict}".rstrip())
    return "\n".join(lines)


def as_json(rows: Iterable[Row]) -> str:
    """The same for machines."""
    return json.dumps([{**asdict(row), "ratio": row.ratio, "passed": row.passed} for row in rows], indent=2)


Benchmark = Callable[[], list[Row]]
