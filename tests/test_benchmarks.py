"""The benchmarks run and write their results; the figures themselves are not checked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.affinity import TWO_CORES
from benchmarks.clients import OURS
from benchmarks.report import table
from benchmarks.result import Result
from benchmarks.rounds import Task, run_rounds
from benchmarks.targets import Verdict, judge

ROOT = Path(__file__).parent.parent
NEEDED = ("picows", "uvloop", "matplotlib")
MEASURES = ["latency", "path", "typed", "queue", "broadcast", "server_idle", "wake"]
IN_BOTH = ["latency", "path", "broadcast", "wake"]
MOST_FILES = {"blocking call": 11, "event": 12, "lost link": 12}
"""How many files each path enters at most: a change that enters one more has to leave another."""


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the command from the root of the checkout."""
    return subprocess.run([sys.executable, "-m", "benchmarks", *options], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.target
def test_a_short_run_writes_figures_tables_and_plots(tmp_path: Path) -> None:
    """One round of a few measures: each has rows, the goals have verdicts, and the plots are drawn."""
    for package in NEEDED:
        pytest.importorskip(package)
    done = run("--short", "--rounds", "1", "--out", str(tmp_path), "--only", *MEASURES)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    keys = [key for name in MEASURES for key in (name, f"{name}, one core") if key == name or name in IN_BOTH]
    assert list(figures["measures"]) == keys
    for measure in figures["measures"].values():
        assert measure["rows"]
    assert {"p50", "p99", "cpu"} == set(figures["measures"]["latency"]["rows"]["owlsocket_sync"])
    assert all(goal["met"] in (True, False) for goal in figures["goals"])
    assert len(figures["goals"]) >= 4
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "owlsocket_sync" in table
    assert "| Goal" in table
    assert "(one core)" in table
    assert {"calls.png", "path.png", "growth.png"} == {path.name for path in tmp_path.glob("*.png")}


def test_a_partial_run_does_not_replace_the_published_figures() -> None:
    """It needs ``--out``."""
    done = run("--short")
    assert done.returncode == 2
    assert "--out" in done.stderr


@pytest.mark.timing  # load on the cores decides which thread comes first, and with it what is on the way
def test_the_files_of_each_path_are_counted_and_do_not_grow() -> None:
    """A call, an event and a lost link: each names files of the package, from the socket on, and no more than today."""
    command = [sys.executable, "-m", "benchmarks.paths"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    paths: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("    "):
            list(paths.values())[-1].append(line.strip())
        elif not line.startswith("  in some records: "):
            name, _, figures = line.partition(": ")
            paths[name] = []
            assert "goal: at most" in figures
    assert list(paths) == list(MOST_FILES)
    for files in paths.values():
        if sys.version_info[:2] == (3, 14):  # whose locks have a method of ours
            files.remove("reentrant.py")
        assert "transport/stream.py" in files
        assert all((ROOT / "owlsocket_sync" / file).exists() for file in files)
    assert {name: files for name, files in paths.items() if len(files) > MOST_FILES[name]} == {}


def test_the_page_shows_the_published_figures_and_no_others() -> None:
    """Its generated parts are what the generator makes of the published figures."""
    text = page.PAGE.read_text(encoding="utf-8")
    for name, body in page.parts(page.FOLDER).items():
        found = text.partition(f"<!-- {name} -->")[2].partition(f"<!-- end of {name} -->")[0]
        assert found.strip() == body.strip(), f"python -m benchmarks.page writes the part {name!r}"


def test_the_readme_shows_published_figures_also_those_that_miss_their_goal() -> None:
    """Its part about speed is what the generator makes of them."""
    text = page.README.read_text(encoding="utf-8")
    for name, body in page.readme_parts(page.FOLDER).items():
        found = text.partition(f"<!-- {name} -->")[2].partition(f"<!-- end of {name} -->")[0]
        assert found.strip() == body.strip(), f"python -m benchmarks.page writes the part {name!r} of README.md"
        assert all(words in body for words, _ in page.COMPARED)
        assert "websocket-client, tuned" in body


def test_a_missed_goal_says_by_how_much() -> None:
    """In per cent of its bound; of a bound of nothing, by the figure."""
    assert Verdict("calls", 1.1, 1.0).outcome == "missed by 10 %"
    assert Verdict("calls", 0.9, 1.2, at_most=False).outcome == "missed by 25 %"
    assert Verdict("threads", 1.0, 0.0, unit="").outcome == "missed by 1"
    assert Verdict("calls", 0.9, 1.0).outcome == "met"


def test_a_contestant_that_fails_is_named_and_leaves_the_others_their_figures() -> None:
    """A whole run takes minutes; one failure must neither end it nor be hidden."""
    options = {"contestant": "manual", "conversions": 1}
    tasks = {
        "works": Task("typed:prepare", options),
        "fails": Task("typed:prepare", {**options, "contestant": "nothing"}),
    }
    measurements = run_rounds(tasks, 2)
    assert [len(figures) for figures in measurements.rounds.values()] == [2]
    assert list(measurements.failures) == ["fails"]
    result = Result("typed", {"cpu": "CPU"}, measurements.rounds, failures=measurements.failures)
    assert "Failed: fails (KeyError: '_by_nothing')." in table(result)


def test_a_goal_whose_peer_was_left_out_is_shown_as_not_measured() -> None:
    """It would look like a goal that is met if it disappeared."""
    result = Result("calls", {"p50": "p50"}, {OURS: [{"p50": 1.0}]}, regime=TWO_CORES)
    verdicts = judge({"latency": result})
    assert {verdict.outcome for verdict in verdicts} == {"not measured"}
    assert not any(verdict.met for verdict in verdicts)
