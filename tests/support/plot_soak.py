"""Draws ``docs/soak.png`` from the samples of the long run of row 33 in ``docs/soak.json``."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    """One column of plots over one axis of time."""
    run = json.loads((DOCS / "soak.json").read_text(encoding="utf-8"))
    samples = run["samples"]
    at = [sample["at"] for sample in samples]
    figure, (memory, calls, slowest) = pyplot.subplots(3, 1, figsize=(9, 7), sharex=True)
    memory.plot(at, [sample["rss"] / 2**20 for sample in samples])
    memory.set(ylabel="resident memory (MiB)", ylim=(0, 1.2 * max(sample["rss"] for sample in samples) / 2**20))
    memory.set_title(f"{len(run['faults'])} faults, {samples[-1]['confirmed']} confirmed calls, none lost", fontsize=10)
    calls.plot(at, [sample["confirmed"] for sample in samples], label="confirmed calls")
    calls.plot(at, [sample["events"] for sample in samples], label="events")
    calls.plot(at, [sample["reconnects"] * 1000 for sample in samples], label="links made anew (times 1000)")
    calls.legend(loc="upper left", fontsize=8)
    slowest.plot(at, [sample["slowest"] for sample in samples])
    slowest.set(ylabel="slowest call of a second (s)", xlabel="seconds")
    for axes in (memory, calls, slowest):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(DOCS / "soak.png", dpi=80)


if __name__ == "__main__":
    main()
