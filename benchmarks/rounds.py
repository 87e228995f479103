"""Rounds of a measure: contestants take turns, each in its own process, so that a drift of the machine affects all."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .affinity import AFFINITY
from .child import Figures
from .echo_servers import ROOT

ANSWER_TIMEOUT = 120.0


@dataclass(frozen=True)
class Task:
    """The work of one process.

    Attributes:
        function: ``module:function`` under `benchmarks.measures`.
        options: the arguments of the function.
    """

    function: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Child:
    """The process of one task."""

    def __init__(self, name: str, task: Task) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.child", task.function, json.dumps(task.options)]
        pipe = subprocess.PIPE
        with AFFINITY.for_contestant():
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)

    def answer(self) -> dict[str, Any]:
        """Return the next line of its output.

        Raises:
            RuntimeError: the process failed, ended, or did not answer in time.
        """
        assert self._process.stdout is not None
        # A client that hangs must end the run with its name, not hang it.
        if not select.select([self._process.stdout], [], [], ANSWER_TIMEOUT)[0]:
            raise RuntimeError(f"{self.name} did not answer within {ANSWER_TIMEOUT:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise RuntimeError(f"{self.name} failed:\n{answer['failed']}")
        return answer

    def begin(self) -> None:
        """Start a turn."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """End the process."""
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
class Measurements:
    """The figures of all rounds.

    Attributes:
        rounds: the figures of each round, by contestant.
        skipped: why a contestant did not take part, by name.
        failures: how a contestant failed, by name; it has no figures then.
    """

    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def run_rounds(tasks: Mapping[str, Task], rounds: int, *, together: bool = False) -> Measurements:
    """Run rounds in which each contestant takes one turn.

    Args:
        tasks: the task of each contestant, by name.
        rounds: the number of rounds.
        together: run the turns of a round at the same time.
    """
    children = [Child(name, task) for name, task in tasks.items()]
    measurements = Measurements()
    try:
        ready = [child for child in children if _is_ready(child, measurements)]
        for number in range(rounds):
            # In the opposite order every other round: none is always the first after a pause.
            order = ready[:: -1 if number % 2 else 1]
            # Together only where nothing is timed: memory, and CPU of idle processes.
            if together:
                for child in order:
                    child.begin()
            for child in order:
                try:
                    if not together:
                        child.begin()
                    measurements.rounds[child.name].append(child.answer())
                except (RuntimeError, BrokenPipeError) as error:
                    _fail(child, error, measurements)
                    ready.remove(child)
    finally:
        for child in children:
            child.end()
    return measurements


def _fail(child: Child, error: Exception, measurements: Measurements) -> None:
    """Note that a contestant failed; the figures of the others are not lost with it, as a run takes long."""
    print(f"FAILED {error}", flush=True)
    measurements.rounds.pop(child.name, None)
    measurements.failures[child.name] = str(error).strip().splitlines()[-1]


def _is_ready(child: Child, measurements: Measurements) -> bool:
    try:
        answer = child.answer()
    except RuntimeError as error:
        _fail(child, error, measurements)
        return False
    if "missing" in answer:
        measurements.skipped[child.name] = answer["missing"]
        return False
    measurements.rounds[child.name] = []
    return True
