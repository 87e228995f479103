"""The result of a measure: a table with a row per contestant, and the figures of each round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from .affinity import FREE
from .child import Figures
from .rounds import Measurements


@dataclass
class Result:
    """The result of one measure.

    Attributes:
        title: the title of the table.
        columns: the label of each figure, with its unit, by key.
        rounds: the figures of each round, by row.
        skipped: why a contestant did not take part, by name.
        failures: how a contestant failed, by name.
        regime: of `benchmarks.affinity`, in which it was taken.
        seconds: that it took.
    """

    title: str
    columns: Mapping[str, str]
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    regime: str = FREE
    seconds: float = 0.0

    @property
    def rows(self) -> dict[str, Figures]:
        """Return the median of each figure over the rounds, by row."""
        return {name: _medians(figures) for name, figures in self.rounds.items() if figures}

    def figure(self, row: str, key: str) -> float | None:
        """Return a median, ``None`` if there is none."""
        return self.rows.get(row, {}).get(key)

    def ratio(self, row: str, other: str, key: str) -> float | None:
        """Return the ratio of a figure between two rows: the median of the ratios of the rounds."""
        # Round by round, not of the medians: what slows down the machine for a while slows down both.
        pairs = zip(self.rounds.get(row, []), self.rounds.get(other, []), strict=False)
        ratios = [figures[key] / base[key] for figures, base in pairs if base.get(key)]
        return median(ratios) if ratios else None

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON."""
        return {**asdict(self), "rows": self.rows}


def result_of(
    title: str, columns: Mapping[str, str], measurements: Measurements, absent: Mapping[str, str] | None = None
) -> Result:
    """Return the result of the rounds of a measure."""
    skipped = {**(absent or {}), **measurements.skipped}
    return Result(title, dict(columns), measurements.rounds, skipped, measurements.failures)


def _medians(rounds: list[Figures]) -> Figures:
    keys = dict.fromkeys(key for figures in rounds for key in figures)
    return {key: median([figures[key] for figures in rounds if key in figures]) for key in keys}
