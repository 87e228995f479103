"""Draws ``docs/soak.png`` from the samples of the long run of row 33 in ``docs/soak.json``."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """One column of plots over one axis of time."""
    told = json.loads((DOCS / "soak.json").read_text(encoding="utf-8"))
    samples = told["samples"]
    at = [one["at"] for one in samples]
    figure, (memory, calls, slowest) = pyplot.subplots(3, 1, figsize=(9, 7), sharex=True)
    memory.plot(at, [one["rss"] / 2**20 for one in samples])
    memory.set(ylabel="resident memory (MiB)", ylim=(0, 1.2 * max(one["rss"] for one in samples) / 2**20))
    memory.set_title(
        f"{len(told['faults'])} faults, {samples[-1]['confirmed']} confirmed calls, none lost", fontsize=10
    )
    calls.plot(at, [one["confirmed"] for one in samples], label="confirmed calls")
    calls.plot(at, [one["events"] for one in samples], label="events")
    calls.plot(at, [one["reconnects"] * 1000 for one in samples], label="links made anew (times 1000)")
    calls.legend(loc="upper left", fontsize=8)
    slowest.plot(at, [one["slowest"] for one in samples])
    slowest.set(ylabel="slowest call of a second (s)", xlabel="seconds")
    for axes in (memory, calls, slowest):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(DOCS / "soak.png", dpi=80)


if __name__ == "__main__":
    main()
