"""Shows results to people: tables on the terminal and in Markdown, figures as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from . import targets
from .place import PLACES
from .result import Result
from .scale import Scale
from .targets import Verdict

PACKAGES = (
    "websocket-client orjson websockets python-socketio rpyc grpcio picows uvloop aiohttp requests dataclasses-json"
).split()


def show(result: Result) -> None:
    """Print the table of one measure."""
    print("\n".join(table(result)) + "\n", flush=True)


def table(result: Result) -> list[str]:
    """A measure as a table that reads well as text, and as Markdown."""
    cells = [["", *result.columns.values()]]
    cells += [[name, *(number(row.get(key)) for key in result.columns)] for name, row in result.rows.items()]
    lines = [f"**{result.title}**", "", *aligned(cells)]
    if result.skipped:
        lines += ["", *(f"Left out: {name} ({why})." for name, why in result.skipped.items())]
    return lines


def aligned(cells: list[list[str]]) -> list[str]:
    """Rows as a Markdown table with even columns, all but the first to the right."""
    widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(cells[0]))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in cells]
    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    return [lines[0], rule, *lines[1:]]


def number(value: float | None) -> str:
    """A figure with three digits that count."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def verdict_table(verdicts: list[Verdict]) -> list[str]:
    """What was to be reached, and what was."""
    cells = [["Goal", "wanted", "measured", "met"]]
    cells += [
        [one.what, f"{'≤' if one.at_most else '≥'} {one.bound:g}{one.unit}", _measured(one), "yes" if one.met else "no"]
        for one in verdicts
    ]
    return aligned(cells)


def _measured(verdict: Verdict) -> str:
    return f"{verdict.value:.2f}{verdict.unit}"


def write(folder: Path, results: Mapping[str, Result], scale: Scale) -> None:
    """Print the verdicts; write figures and tables."""
    verdicts = targets.judge(results)
    lines = verdict_table(verdicts)
    print("\n".join(lines))
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "machine": machine(),
        "scale": asdict(scale),
        "goals": [{**asdict(one), "met": one.met} for one in verdicts],
        "measures": {name: result.as_json() for name, result in results.items()},
    }
    (folder / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    body = [*lines, ""]
    for result in results.values():
        body += [*table(result), ""]
    (folder / "table.md").write_text("\n".join(body), encoding="utf-8")


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    return {
        "taken": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "pinned": PLACES.pinned,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


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
