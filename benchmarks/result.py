"""What a measure found: a table with a row per contestant, and the figures of each round behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from .child import Figures
from .turns import Taken


@dataclass
class Result:
    """One measure.

    Attributes:
        title: what was measured, for people.
        columns: what each figure is called, with its unit, by its key.
        rounds: the figures of each round, by row.
        skipped: who could not take part, and why.
    """

    title: str
    columns: Mapping[str, str]
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> dict[str, Figures]:
        """The median of each figure over the rounds, by row."""
        return {name: _medians(figures) for name, figures in self.rounds.items() if figures}

    def figure(self, row: str, key: str) -> float | None:
        """A median, ``None`` where there is none."""
        return self.rows.get(row, {}).get(key)

    def ratio(self, row: str, other: str, key: str) -> float | None:
        """The median over the rounds of one row's figure to another's of the same round."""
        pairs = zip(self.rounds.get(row, []), self.rounds.get(other, []), strict=False)
        ratios = [one[key] / two[key] for one, two in pairs if two.get(key)]
        return median(ratios) if ratios else None

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {**asdict(self), "rows": self.rows}


def result_of(title: str, columns: Mapping[str, str], taken: Taken, absent: Mapping[str, str] | None = None) -> Result:
    """The result of turns that were taken."""
    return Result(title, dict(columns), taken.rounds, {**(absent or {}), **taken.skipped})


def _medians(rounds: list[Figures]) -> Figures:
    keys = dict.fromkeys(key for figures in rounds for key in figures)
    return {key: median([figures[key] for figures in rounds if key in figures]) for key in keys}
