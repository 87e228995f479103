"""Figures that tests see: each is held against its limit, and kept for the page of guarantees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Figure = Callable[[str, float, float, str], None]
"""``figure(what, value, limit, unit)``: assert that the value is within its limit, and keep it."""


class Ledger:
    """What was seen in one run, by test."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, object]] = {}

    def holder(self, test: str) -> Figure:
        """Return the function that a test notes its figures with. The worst of several values of a figure is kept."""

        def figure(what: str, value: float, limit: float, unit: str) -> None:
            key = f"{test}: {what}"
            known = self.entries.get(key)
            if known is None or value > float(str(known["value"])):
                self.entries[key] = {"test": test, "what": what, "value": value, "limit": limit, "unit": unit}
            assert value <= limit, f"{what}: {value:g} {unit}, at most {limit:g} are allowed"

        return figure

    def add(self, entries: dict[str, dict[str, object]]) -> None:
        """Add what another process has seen; each test runs in one process only."""
        self.entries.update(entries)

    def write(self, path: Path) -> None:
        """Add this run to a file of figures."""
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        known.update(self.entries)
        path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")
