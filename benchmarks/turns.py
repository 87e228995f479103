"""Contestants take turns, each in its own process, so that whatever drifts on the machine hits all alike."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .arena import ROOT
from .child import Figures
from .place import PLACES

PATIENCE = 120.0


@dataclass(frozen=True)
class Task:
    """What one process does: a function of `benchmarks.measures`, as ``module:function``, and its options."""

    function: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Child:
    """The process of one task."""

    def __init__(self, name: str, task: Task) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.child", task.function, json.dumps(task.options)]
        pipe = subprocess.PIPE
        with PLACES.for_contestant():
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)

    def answer(self) -> dict[str, Any]:
        """What it says next."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise RuntimeError(f"{self.name} did not answer within {PATIENCE:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended without a word")
        said: dict[str, Any] = json.loads(line)
        if "failed" in said:
            raise RuntimeError(f"{self.name} failed:\n{said['failed']}")
        return said

    def begin(self) -> None:
        """Let it take a turn."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@dataclass
class Taken:
    """What came of it: the figures of each round, by name; and who could not take part, and why."""

    rounds: dict[str, list[Figures]]
    skipped: dict[str, str]


def take_turns(tasks: Mapping[str, Task], rounds: int, *, together: bool = False) -> Taken:
    """Let all take a turn, round after round, every other round in the opposite order.

    Args:
        together: let them take their turns of a round at the same time.
    """
    children = [Child(name, task) for name, task in tasks.items()]
    taken = Taken({}, {})
    try:
        ready = [child for child in children if _is_ready(child, taken)]
        for number in range(rounds):
            order = ready[:: -1 if number % 2 else 1]
            if together:
                for child in order:
                    child.begin()
            for child in order:
                if not together:
                    child.begin()
                taken.rounds[child.name].append(child.answer())
    finally:
        for child in children:
            child.end()
    return taken


def _is_ready(child: Child, taken: Taken) -> bool:
    said = child.answer()
    if "missing" in said:
        taken.skipped[child.name] = said["missing"]
        return False
    taken.rounds[child.name] = []
    return True
