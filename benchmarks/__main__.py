"""Measure all clients side by side in one run: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

from . import report
from .affinity import AFFINITY
from .echo_servers import ROOT, EchoServers
from .measures import (
    broadcast,
    crowd,
    events,
    growth,
    idle,
    imports,
    in_flight,
    large,
    latency,
    memory,
    path,
    threads,
    typed,
)
from .result import Result
from .scale import SHORT, WHOLE, Scale

MEASURES: dict[str, Callable[[EchoServers, Scale], Result]] = {
    "latency": latency.measure,
    "in_flight": in_flight.measure,
    "events_in": events.measure_in,
    "events_out": events.measure_out,
    "tls": latency.measure_tls,
    "large": large.measure,
    "threads": threads.measure,
    "path": path.measure,
    "typed": typed.measure,
    "idle_memory": memory.measure_idle,
    "pending_memory": memory.measure_pending,
    "imports": imports.measure,
    "pending": growth.measure_pending,
    "observed": growth.measure_observed,
    "queue": growth.measure_queue,
    "crowd": crowd.measure,
    "broadcast": broadcast.measure,
    "wait": idle.measure_wait,
    "idle": idle.measure_idle,
}


def main() -> None:
    """Run the measures, print their tables, and write figures, tables and plots."""
    options = _options()
    scale = SHORT if options.short else WHOLE
    if options.rounds:
        scale = dataclasses.replace(scale, rounds=options.rounds)
    AFFINITY.pinned = options.pin
    results: dict[str, Result] = {}
    with EchoServers() as servers:
        for name in options.only or MEASURES:
            results[name] = MEASURES[name](servers, scale)
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
    parser.add_argument("--short", action="store_true", help="check that everything runs, within a minute")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, help="how many rounds are measured")
    parser.add_argument("--pin", action="store_true", help="run servers on one core, contestants on the others")
    parser.add_argument("--out", type=Path, help="the output folder; default: docs/performance")
    options = parser.parse_args()
    if options.out is None:
        if options.short or options.only:
            # docs/performance is published, and is only true for a whole run.
            parser.error("--short and --only need --out: they must not replace the figures of a whole run")
        options.out = ROOT / "docs" / "performance"
    return options


if __name__ == "__main__":
    main()
