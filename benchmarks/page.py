"""The generated parts of ``docs/performance.md``: ``python -m benchmarks.page`` writes them from the published figures.

Each part lies between ``<!-- NAME -->`` and ``<!-- end of NAME -->``. All figures of the page are in these parts, so
the page claims what the run has shown, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .echo_servers import ROOT
from .report import table, verdict_table
from .result import Result
from .targets import Verdict

PAGE = ROOT / "docs" / "performance.md"
FOLDER = ROOT / "docs" / "performance"
NO_RUN = "No whole run has been published for this version: `python -m benchmarks` makes one, and fills this part."
PLOTS = {
    "calls": "One blocking call, and the CPU for it",
    "rates": "Calls in flight, events in and out",
    "threads": "Calling threads",
    "large": "Large payloads",
    "path": "Where the time of one call goes",
    "footprint": "Memory and imports",
    "growth": "Growth",
    "crowd": "Beside other connections",
}


def write(page: Path = PAGE, folder: Path = FOLDER) -> None:
    """Write the generated parts of a page from the figures in a folder beside it."""
    text = page.read_text(encoding="utf-8")
    for name, body in parts(folder).items():
        text = _replace(text, name, body)
    page.write_text(text, encoding="utf-8")


def parts(folder: Path) -> dict[str, str]:
    """Return the body of each generated part, by its name."""
    file = folder / "figures.json"
    if not file.exists():
        return dict.fromkeys(("run", "goals", "plots", "tables"), NO_RUN)
    figures = json.loads(file.read_text(encoding="utf-8"))
    results = [_result(data) for data in figures["measures"].values()]
    verdicts = [Verdict(**{key: value for key, value in goal.items() if key != "met"}) for goal in figures["goals"]]
    return {
        "run": "\n".join(_describe_run(figures, results)),
        "goals": "\n".join(_describe_goals(verdicts)),
        "plots": "\n\n".join(
            f"![{text}]({folder.name}/{name}.png)" for name, text in PLOTS.items() if (folder / f"{name}.png").exists()
        ),
        "tables": "\n\n".join("\n".join(table(result)) for result in results),
    }


def _describe_run(figures: Mapping[str, Any], results: list[Result]) -> list[str]:
    machine = figures["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    minutes = sum(result.seconds for result in results) / 60
    skipped = sorted({f"{name} ({why})" for result in results for name, why in result.skipped.items()})
    failed = sorted(f"{name} ({why})" for result in results for name, why in result.failures.items())
    taken = f"Taken {machine['taken']}, at commit {machine['commit']}, within {minutes:.0f} minutes"
    system = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    return [
        f"- {taken}, {figures['scale']['rounds']} rounds.",
        f"- {system}; load before the run: {machine['load']}.",
        f"- Python {machine['python']}, {packages}.",
        f"- Left out: {'; '.join(skipped) or 'nothing'}. Failed: {'; '.join(failed) or 'nothing'}.",
    ]


def _describe_goals(verdicts: list[Verdict]) -> list[str]:
    met = sum(verdict.met for verdict in verdicts)
    unknown = sum(verdict.value is None for verdict in verdicts)
    left = f", {unknown} were not measured" if unknown else ""
    return [f"{met} of {len(verdicts)} goals are met{left}.", "", *verdict_table(verdicts)]


def _result(data: Mapping[str, Any]) -> Result:
    return Result(**{key: value for key, value in data.items() if key != "rows"})


def _replace(text: str, name: str, body: str) -> str:
    """Return the text with another body of one part.

    Raises:
        ValueError: the page has no such part.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no part {name!r}")
    return f"{before}{begin}\n{body}\n\n{end}{after}"


if __name__ == "__main__":
    write()
