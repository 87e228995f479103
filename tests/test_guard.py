"""The hot paths stay within their budgets, counted in instructions instead of seconds; and the guard can fail."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.guard.__main__ import count_within
from benchmarks.guard.budgets import Budgets, environment
from benchmarks.guard.count import CALLGRIND, INTERPRETER

ROOT = Path(__file__).parent.parent
CALL = "a blocking call"
OTHER = {"python": "CPython 2.7"}


def guard(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the guard from the root of the checkout."""
    command = [sys.executable, "-m", "benchmarks.guard", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def budgets(path: Path, budget: float, *, here: bool = True) -> Budgets:
    """Return the budgets of a file with one path, for this environment or for another one."""
    entry: dict[str, Any] = {"environment": environment(INTERPRETER) if here else OTHER}
    entry["budgets"] = {CALL: {"instructions": budget, "system calls": 5}}
    data = {"tolerance, per cent": {"instructions": 1, "system calls": 0}, INTERPRETER: [entry], CALLGRIND: []}
    (path / "budgets.json").write_text(json.dumps(data), encoding="utf-8")
    return Budgets(path / "budgets.json")


@pytest.mark.slow
@pytest.mark.target
def test_each_hot_path_is_within_its_budget() -> None:
    """By the instructions of the interpreter and the system calls; `make guard` counts machine instructions as well."""
    reason = Budgets().not_checked(INTERPRETER)
    if reason is not None:
        pytest.skip(f"the hot paths are not guarded: {reason}")
    done = guard("--meters", INTERPRETER)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.target
def test_the_guard_fails_for_each_path_that_takes_five_per_cent_more() -> None:
    """The instructions are added to the runs that are counted."""
    found = Budgets().find(INTERPRETER)
    if found is None:
        pytest.skip(f"there is no budget for Python {platform.python_version()}")
    done = guard("--meters", INTERPRETER, "--add", "5")
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    # Once each: beside other load a path may take a system call more as well.
    assert list(dict.fromkeys(line.removeprefix("FAILED ").partition(": ")[0] for line in failed)) == list(found)


def test_a_failure_names_the_path_the_budget_the_count_and_how_to_renew(tmp_path: Path) -> None:
    """One sentence for whoever reads the log of CI."""
    verdict = budgets(tmp_path, 1000).compare(INTERPRETER, {CALL: {"instructions": 1050, "system calls": 5}})
    (sentence,) = verdict.failures
    assert sentence.startswith("a blocking call: 1050 instructions, the budget is 1000: +5.0 % (allowed: +1 %). ")
    assert "`python -m benchmarks.guard --renew`" in sentence


def test_one_more_system_call_fails(tmp_path: Path) -> None:
    """It is a few instructions, and costs more than hundreds of others."""
    verdict = budgets(tmp_path, 1000).compare(INTERPRETER, {CALL: {"instructions": 1000, "system calls": 6}})
    assert len(verdict.failures) == 1
    assert "6 system calls, the budget is 5" in verdict.failures[0]


def test_a_gain_is_noted_so_that_it_is_kept(tmp_path: Path) -> None:
    """A budget that is too high would hide the next loss."""
    verdict = budgets(tmp_path, 1000).compare(INTERPRETER, {CALL: {"instructions": 900, "system calls": 5}})
    assert verdict.failures == []
    assert len(verdict.notes) == 1


@pytest.mark.parametrize(("again", "least"), [([1005, 2000], 1005), ([1400, 1300, 0], 1300)], ids=["load", "loss"])
def test_a_count_that_exceeds_its_budget_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: list[int], least: int
) -> None:
    """Three times at most, and the lowest is the verdict: other load only adds."""
    counts = iter([1432, *again])
    monkeypatch.setattr(
        "benchmarks.guard.__main__.count", lambda *_: {CALL: {"instructions": next(counts), "system calls": 5}}
    )
    assert count_within(budgets(tmp_path, 1000), INTERPRETER, {})[CALL]["instructions"] == least
    assert len(list(counts)) == 1


def test_paths_and_budgets_are_the_same(tmp_path: Path) -> None:
    """A path without a budget, and a budget without its path, fail."""
    verdict = budgets(tmp_path, 1000).compare(INTERPRETER, {"another": {"instructions": 1}})
    assert [line.partition(": ")[0] for line in verdict.failures] == ["another", CALL]


def test_another_version_of_python_is_told_not_passed(tmp_path: Path) -> None:
    """The counts of one version say nothing about another one."""
    reason = budgets(tmp_path, 1000, here=False).not_checked(INTERPRETER)
    assert reason is not None
    assert environment(INTERPRETER)["python"] in reason
    assert OTHER["python"] in reason


def test_renewed_budgets_leave_those_of_other_versions(tmp_path: Path) -> None:
    """Each environment has its own entry."""
    file = budgets(tmp_path, 1000, here=False)
    file.renew(INTERPRETER, {CALL: {"instructions": 7, "system calls": 1}})
    again = Budgets(tmp_path / "budgets.json")
    assert again.find(INTERPRETER) == {CALL: {"instructions": 7, "system calls": 1}}
    entries = json.loads((tmp_path / "budgets.json").read_text(encoding="utf-8"))[INTERPRETER]
    assert [entry["environment"] for entry in entries] == [OTHER, environment(INTERPRETER)]
