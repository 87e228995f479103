"""The benchmarks run and write what they found; what they found is not looked at here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEEDED = ("picows", "uvloop", "matplotlib")
MEASURES = ["latency", "path", "queue"]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """The command, from the root of what is checked out."""
    return subprocess.run([sys.executable, "-m", "benchmarks", *options], cwd=ROOT, capture_output=True, text=True)


def test_the_short_form_writes_figures_tables_and_plots(tmp_path: Path) -> None:
    """One round of a few measures: each has rows, the goals have verdicts, and the plots are drawn."""
    for package in NEEDED:
        pytest.importorskip(package)
    done = run("--short", "--rounds", "1", "--out", str(tmp_path), "--only", *MEASURES)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert list(figures["measures"]) == MEASURES
    for measure in figures["measures"].values():
        assert measure["rows"]
    assert {"p50", "p99", "cpu"} == set(figures["measures"]["latency"]["rows"]["owlsocket_sync"])
    assert all(goal["met"] in (True, False) for goal in figures["goals"])
    assert len(figures["goals"]) >= 4
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "owlsocket_sync" in table
    assert "| Goal" in table
    assert {"calls.png", "path.png", "growth.png"} == {path.name for path in tmp_path.glob("*.png")}


def test_a_part_does_not_replace_the_figures_of_a_whole_run() -> None:
    """What is measured short, or in part, goes where it is told to."""
    done = run("--short")
    assert done.returncode == 2
    assert "--out" in done.stderr
