"""The generated parts of ``docs/performance.md`` and ``README.md``, written from the published figures.

``python -m benchmarks.page`` writes them. Each part lies between ``<!-- NAME -->`` and ``<!-- end of NAME -->``. All
figures of the pages are in these parts, so the pages claim what the run has shown, and nothing else.
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
README = ROOT / "README.md"
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
COMPARED = (
    ("one blocking call takes", "blocking call: p50, to that of {}"),
    ("connect, one call and close take", "connect, call, close: p50, to that of {}"),
    ("16 MiB to the server, in MB/s, are", "16 MiB up: MB/s, to those of {}"),
    ("16 MiB from the server, in MB/s, are", "16 MiB down: MB/s, to those of {}"),
)
"""What the README compares: the words, and the names of the goals, better or worse than the others."""

OTHERS = (
    "python-socketio",
    "grpc",
    "rpyc",
    "reader thread + Future, tuned",
    "websockets.sync",
    "websocket-client, tuned",
)
REGIME = "two cores"


def write(page: Path = PAGE, folder: Path = FOLDER, readme: Path = README) -> None:
    """Write the generated parts of a page, and of the README, from the figures in a folder beside the page."""
    for file, bodies in ((page, parts(folder)), (readme, readme_parts(folder))):
        text = file.read_text(encoding="utf-8")
        for name, body in bodies.items():
            text = _replace(text, name, body)
        file.write_text(text, encoding="utf-8")


def readme_parts(folder: Path) -> dict[str, str]:
    """Return the body of each part of the README: the same goals whether they are met or not."""
    file = folder / "figures.json"
    if not file.exists():
        return {"speed": NO_RUN}
    figures = json.loads(file.read_text(encoding="utf-8"))
    ratios = {goal["what"]: goal["value"] for goal in figures["goals"] if goal["regime"] == REGIME}
    rows = ["| measured on two cores | owlsocket-sync, compared with |", "|---|---|"]
    for words, goal in COMPARED:
        compared = [(other, ratios.get(goal.format(other))) for other in OTHERS]
        shown = ", ".join(f"{ratio:.2f} x {other}" for other, ratio in compared if ratio is not None)
        if shown:
            rows.append(f"| {words} | {shown} |")
    met = sum(goal["met"] for goal in figures["goals"])
    taken, goals = figures["machine"]["taken"], len(figures["goals"])
    rows += ["", f"{met} of the {goals} goals of the last whole run are met ({taken})."]
    return {"speed": "\n".join(rows)}


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
