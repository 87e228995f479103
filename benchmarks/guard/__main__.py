"""Hold the hot paths against their budgets: ``python -m benchmarks.guard``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from ..echo_servers import ROOT
from .budgets import METERS, Budgets, Counts
from .callgrind import missing, run_under_callgrind
from .count import CALLGRIND, INTERPRETER

COUNT = "benchmarks.guard.count"
TIMEOUT = 100.0
ATTEMPTS = 3
"""Counts before a budget counts as exceeded: where the machine is busy, a thread may find another one at its work."""


def main() -> int:
    """Count with each meter; return 1 if a budget is exceeded."""
    options = _options()
    budgets, failed = Budgets(), False
    for meter in options.meters or METERS:
        reason = missing() if meter == CALLGRIND else None
        if reason is None and not options.renew:
            reason = budgets.not_checked(meter)
        if reason is not None:
            print(f"NOT CHECKED by {meter}: {reason}")
            continue
        added = _added(budgets, meter, options.add)
        once = options.renew or options.add
        counts = count(meter, added) if once else count_within(budgets, meter, added)
        print(f"{meter}:")
        for path, kinds in counts.items():
            print(f"  {path}: " + ", ".join(f"{value:g} {kind}" for kind, value in kinds.items()))
        if options.renew:
            budgets.renew(meter, counts)
            continue
        verdict = budgets.compare(meter, counts)
        lines = [*(f"FAILED {line}" for line in verdict.failures), *(f"NOTE {line}" for line in verdict.notes)]
        print("\n".join(lines or ["  all are within their budgets"]))
        failed = failed or bool(verdict.failures)
    return int(failed)


def count(meter: str, added: dict[str, float] | None = None) -> Counts:
    """Return the counts of a meter, made in a process of their own."""
    options = [meter, json.dumps(added or {})]
    if meter == INTERPRETER:
        command = [sys.executable, "-m", COUNT, *options]
        text = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT).stdout
    else:
        text = run_under_callgrind(COUNT, *options)
    counts: Counts = json.loads(text)
    return counts


def count_within(budgets: Budgets, meter: str, added: dict[str, float]) -> Counts:
    """Return the counts of a meter, the lowest of several where one exceeds its budget.

    Other load adds to a count, and never takes from it.
    """
    counts = count(meter, added)
    for _ in range(ATTEMPTS - 1):
        if not budgets.compare(meter, counts).failures:
            break
        others = count(meter, added)
        counts = {
            path: {kind: min(value, others[path][kind]) for kind, value in kinds.items()}
            for path, kinds in counts.items()
        }
    return counts


def _added(budgets: Budgets, meter: str, percent: float) -> dict[str, float]:
    """Return so many per cent of the budget of each path, in instructions of the interpreter."""
    found = budgets.find(meter) or {}
    return {path: kinds["instructions"] * percent / 100 for path, kinds in found.items() if percent}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--meters", nargs="+", choices=METERS, metavar="METER", help=", ".join(METERS))
    parser.add_argument("--renew", action="store_true", help="write the counts as the new budgets")
    parser.add_argument(
        "--add",
        type=float,
        default=0.0,
        metavar="PERCENT",
        help="add so many per cent to each path, to see that the guard fails; by the meter interpreter",
    )
    options = parser.parse_args()
    if options.add and options.meters != [INTERPRETER]:
        parser.error(f"--add needs --meters {INTERPRETER}")
    return options


if __name__ == "__main__":
    sys.exit(main())
