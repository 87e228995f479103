"""Measures everything side by side, in turns, in one run: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

from . import report
from .arena import ROOT, Arena
from .measures import crowd, events, growth, idle, imports, in_flight, large, latency, memory, path, threads
from .place import PLACES
from .result import Result
from .scale import SHORT, WHOLE, Scale

MEASURES: dict[str, Callable[[Arena, Scale], Result]] = {
    "latency": latency.measure,
    "in_flight": in_flight.measure,
    "events_in": events.measure_in,
    "events_out": events.measure_out,
    "tls": latency.measure_tls,
    "large": large.measure,
    "threads": threads.measure,
    "path": path.measure,
    "idle_memory": memory.measure_idle,
    "pending_memory": memory.measure_pending,
    "imports": imports.measure,
    "pending": growth.measure_pending,
    "observed": growth.measure_observed,
    "queue": growth.measure_queue,
    "crowd": crowd.measure,
    "wait": idle.measure_wait,
    "idle": idle.measure_idle,
}


def main() -> None:
    """Measure, print and write."""
    options = _options()
    scale = SHORT if options.short else WHOLE
    if options.rounds:
        scale = dataclasses.replace(scale, rounds=options.rounds)
    PLACES.pinned = options.pin
    results: dict[str, Result] = {}
    with Arena() as arena:
        for name in options.only or MEASURES:
            results[name] = MEASURES[name](arena, scale)
            report.show(results[name])
    report.write(options.out, results, scale)
    _draw(options.out, results)


def _draw(folder: Path, results: dict[str, Result]) -> None:
    try:
        from . import plots
    except ImportError as missing:
        print(f"no plots: {missing}")
        return
    plots.draw(folder, results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="see that everything runs, within a minute")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, help="how many turns each contestant takes")
    parser.add_argument("--pin", action="store_true", help="servers on one core, contestants on the others")
    parser.add_argument("--out", type=Path, help="where to write; default: docs/performance")
    options = parser.parse_args()
    if options.out is None:
        if options.short or options.only:
            parser.error("--short and --only need --out: they are not to replace the figures of a whole run")
        options.out = ROOT / "docs" / "performance"
    return options


if __name__ == "__main__":
    main()
