"""Measure all clients side by side in one run: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from . import page, report
from .affinity import AFFINITY, FREE, ONE_CORE, TWO_CORES
from .echo_servers import ROOT, EchoServers
from .measures import (
    broadcast,
    compressed,
    connecting,
    crowd,
    durable,
    durable_links,
    events,
    growth,
    hub,
    idle,
    imports,
    in_flight,
    large,
    latency,
    memory,
    one_way,
    path,
    server,
    threads,
    typed,
    wake,
)
from .result import Result
from .scale import SHORT, WHOLE, Scale

BOTH = (TWO_CORES, ONE_CORE)


class Measure(NamedTuple):
    """A measure.

    Attributes:
        take: measures in the regime of `AFFINITY`.
        regimes: in which it is taken; all but the first add their name to that of the result.
    """

    take: Callable[[EchoServers, Scale], Result]
    regimes: tuple[str, ...] = (TWO_CORES,)


MEASURES: dict[str, Measure] = {
    "latency": Measure(latency.measure, BOTH),
    "in_flight": Measure(in_flight.measure, BOTH),
    "events_in": Measure(events.measure_in, BOTH),
    "events_out": Measure(events.measure_out, BOTH),
    "wake": Measure(wake.measure, BOTH),
    "connecting": Measure(connecting.measure, BOTH),
    "tls": Measure(latency.measure_tls, BOTH),
    "connecting_tls": Measure(connecting.measure_tls, BOTH),
    "compressed": Measure(compressed.measure, BOTH),
    "server": Measure(server.measure_calls, BOTH),
    "server_sleeping": Measure(server.measure_sleeping),
    "server_idle": Measure(server.measure_idle),
    "server_limit": Measure(server.measure_limit),
    "broadcast": Measure(broadcast.measure, BOTH),
    "broadcast_compressed": Measure(broadcast.measure_compressed),
    "one_way": Measure(one_way.measure, BOTH),
    "large": Measure(large.measure),
    "threads": Measure(threads.measure),
    "path": Measure(path.measure, BOTH),
    "typed": Measure(typed.measure),
    "idle_memory": Measure(memory.measure_idle),
    "pending_memory": Measure(memory.measure_pending),
    "imports": Measure(imports.measure),
    "pending": Measure(growth.measure_pending),
    "observed": Measure(growth.measure_observed),
    "queue": Measure(growth.measure_queue),
    "crowd": Measure(crowd.measure),
    "durable": Measure(durable.measure),
    "durable_waits": Measure(durable.measure_waits),
    "hub": Measure(hub.measure),
    "durable_links": Measure(durable_links.measure),
    "wait": Measure(idle.measure_wait),
    "idle": Measure(idle.measure_idle),
}


def main() -> int:
    """Run the measures, print their tables, and write figures, tables and plots; return 1 if a contestant failed."""
    options = _options()
    scale = SHORT if options.short else WHOLE
    if options.rounds:
        scale = dataclasses.replace(scale, rounds=options.rounds)
    load = report.system_load()
    results: dict[str, Result] = {}
    with EchoServers() as servers:
        for name in options.only or MEASURES:
            for key, regime in _keys(name, free=options.free):
                AFFINITY.regime = regime
                start = time.monotonic()
                results[key] = MEASURES[name].take(servers, scale)
                results[key].regime, results[key].seconds = regime, round(time.monotonic() - start, 1)
                report.show(results[key])
    report.write(options.out, results, scale, load)
    _draw(options.out, results)
    if options.page:
        page.write(options.page, options.out)
    return int(any(result.failures for result in results.values()))


def _keys(name: str, *, free: bool) -> Iterator[tuple[str, str]]:
    """Yield the keys of the results of a measure, each with its regime."""
    if free:
        yield name, FREE
        return
    for number, regime in enumerate(MEASURES[name].regimes):
        yield name if not number else f"{name}, {regime}", regime


def _draw(folder: Path, results: dict[str, Result]) -> None:
    try:
        from . import plots
    except ImportError as missing:
        print(f"no plots: {missing}")
        return
    plots.draw(folder, results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="check that everything runs, within two minutes")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, help="how many rounds are measured")
    parser.add_argument("--free", action="store_true", help="let the system place the processes, in one regime")
    parser.add_argument("--out", type=Path, help="the output folder; default: docs/performance, and its page")
    options = parser.parse_args()
    options.page = None
    if options.out is None:
        if options.short or options.only or options.free:
            # docs/performance is published, and is only true for a whole run.
            parser.error("--short, --only and --free need --out: they must not replace the figures of a whole run")
        options.out, options.page = ROOT / "docs" / "performance", ROOT / "docs" / "performance.md"
    return options


if __name__ == "__main__":
    sys.exit(main())
