"""The process that counts: ``python -m benchmarks.guard.count METER``, prints the counts of each path as JSON."""

from __future__ import annotations

import gc
import importlib
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Protocol

from .callgrind import CallgrindMeter
from .interpreter import InterpreterMeter
from .peer import PeerProcess

INTERPRETER, CALLGRIND = "interpreter", "callgrind"
KINDS = {INTERPRETER: ("instructions", "system calls"), CALLGRIND: ("machine instructions",)}
WARM_UP = 2
REPEATS = {INTERPRETER: 9, CALLGRIND: 6}
SUMMARY: dict[str, Callable[[Iterable[int]], float]] = {INTERPRETER: median, CALLGRIND: min}
"""Counts of the interpreter are equal but for a few runs. A thread that happens to wake adds machine instructions."""

ADDED = "for _ in range(count): pass"
ADDED_EACH = 3
"""Instructions of each round of that loop."""


class Meter(Protocol):
    """Counts what a run takes."""

    def install(self) -> None:
        """Prepare, before the library is imported."""

    def start(self) -> None:
        """Begin, once everything has run for the first time."""

    def count(self, run: Callable[[], object]) -> tuple[int, ...]:
        """Return the counts of one run."""


def count_paths(meter: Meter, name: str, url: str, added: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return the counts for each passage of each path, by path and kind.

    Args:
        meter: installed and started here.
        name: of the meter.
        url: of the peer.
        added: instructions to add to each passage, by path; to see that the guard notices them.
    """
    meter.install()
    # Used before: what happens once in a process is not counted.
    hot_paths = importlib.import_module("benchmarks.guard.hot_paths")
    with ExitStack() as stack:
        for path in hot_paths.open_paths(url, stack):
            path.prepare()
            path.run()
    counts = {}
    meter.start()
    gc.disable()  # when it runs depends on all that ran before
    # A thread keeps the interpreter until it waits: otherwise it is a matter of time which thread does what.
    sys.setswitchinterval(60.0)
    with ExitStack() as stack:
        for path in hot_paths.open_paths(url, stack):
            more = _waste(added.get(path.name, 0.0) * path.pieces)
            runs = []
            for number in range(WARM_UP + REPEATS[name]):
                path.prepare()
                row = meter.count(lambda: (path.run(), more()))  # noqa: B023
                if number >= WARM_UP:
                    runs.append(row)
            columns = zip(*runs, strict=True)
            counts[path.name] = {
                kind: round(SUMMARY[name](column) / path.pieces, 2)
                for kind, column in zip(KINDS[name], columns, strict=True)
            }
            gc.collect()
    return counts


def _waste(instructions: float) -> Callable[[], object]:
    """Return a function that executes so many instructions, which count: its code is outside of the benchmarks."""
    code = compile(ADDED, "<added>", "exec")
    return (lambda: exec(code, {"count": round(instructions / ADDED_EACH)})) if instructions else (lambda: None)


def main() -> None:
    """Count, and print."""
    name, added, *output = sys.argv[1:]
    meter: Meter = InterpreterMeter() if name == INTERPRETER else CallgrindMeter(Path(output[0]))
    with PeerProcess() as peer:
        print(json.dumps(count_paths(meter, name, peer.url, json.loads(added))))


if __name__ == "__main__":
    main()
