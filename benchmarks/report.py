"""Reports: tables on the terminal and in Markdown, figures as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from . import targets
from .echo_servers import ROOT
from .result import Result
from .scale import Scale
from .targets import Verdict

PACKAGES = (
    "websocket-client orjson websockets python-socketio rpyc grpcio picows uvloop aiohttp requests dataclasses-json "
    "msgspec cattrs huey litequeue persist-queue"
).split()


def show(result: Result) -> None:
    """Print the table of one measure."""
    print("\n".join(table(result)) + "\n", flush=True)


def table(result: Result) -> list[str]:
    """Return the table of a measure, in Markdown that is readable as text."""
    cells = [["", *result.columns.values()]]
    cells += [[name, *(number(row.get(key)) for key in result.columns)] for name, row in result.rows.items()]
    lines = [f"**{result.title}** ({result.regime})", "", *aligned(cells)]
    if result.skipped:
        lines += ["", *(f"Left out: {name} ({why})." for name, why in result.skipped.items())]
    if result.failures:
        lines += ["", *(f"Failed: {name} ({why})." for name, why in result.failures.items())]
    return lines


def aligned(cells: list[list[str]]) -> list[str]:
    """Return rows as an aligned Markdown table; all columns but the first are aligned to the right."""
    widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(cells[0]))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in cells]
    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    return [lines[0], rule, *lines[1:]]


def number(value: float | None) -> str:
    """Return a figure with three significant digits."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def verdict_table(verdicts: list[Verdict]) -> list[str]:
    """Return the table of the goals."""
    cells = [["Goal", "where", "target", "figure", "outcome"]]
    cells += [
        [
            verdict.what,
            verdict.regime,
            f"{'≤' if verdict.at_most else '≥'} {verdict.bound:g}{verdict.unit}",
            _measured(verdict),
            verdict.outcome,
        ]
        for verdict in verdicts
    ]
    return aligned(cells)


def _measured(verdict: Verdict) -> str:
    return "" if verdict.value is None else f"{verdict.value:.2f}{verdict.unit}"


def write(folder: Path, results: Mapping[str, Result], scale: Scale, load: str) -> None:
    """Print the table of the goals, and write figures and tables into a folder."""
    verdicts = targets.judge(results)
    lines = verdict_table(verdicts)
    print("\n".join(lines))
    # After printing: figures that were measured for an hour must not be lost with a folder that cannot be written.
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "machine": {**machine(), "load": load},
        "scale": asdict(scale),
        "goals": [{**asdict(verdict), "met": verdict.met} for verdict in verdicts],
        "measures": {name: result.as_json() for name, result in results.items()},
    }
    (folder / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    body = [*lines, ""]
    for result in results.values():
        body += [*table(result), ""]
    (folder / "table.md").write_text("\n".join(body), encoding="utf-8")


def machine() -> dict[str, Any]:
    """Return the machine, the versions and the time of a run."""
    return {
        "taken": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "python": platform.python_version(),
        "commit": _commit(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def system_load() -> str:
    """Return the load of the system in the last minute, over which figures of a shared machine are doubtful."""
    return f"{os.getloadavg()[0]:.1f}"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
