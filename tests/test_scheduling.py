"""The order of the tests: each runs once, groups stay together, and the tests of the clock run alone at the end."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.scheduling import ALONE, GroupFiles, TimingLast, rotated, workers_for


class Worker:
    """A worker process as xdist has them: it holds its last test back until it knows the next, or is shut down."""

    def __init__(self, tests: list[str]) -> None:
        self.shutting_down = False
        self.tests = tests
        self.queue: deque[int] = deque()
        self.running: int | None = None
        self.gateway = SimpleNamespace(id="worker")

    def send_runtest_some(self, indices: list[int]) -> None:
        """Get more tests."""
        self.queue.extend(indices)

    def shutdown(self) -> None:
        """End after what is queued."""
        self.shutting_down = True

    def begin(self) -> bool:
        """Begin the next test, if one can begin."""
        if self.running is None and (len(self.queue) > 1 or (self.queue and self.shutting_down)):
            self.running = self.queue.popleft()
            return True
        return False


def play(tests: dict[str, str | None], count: int, folder: Path, dice: random.Random) -> list[tuple[str, int, int]]:
    """Run tests, with their groups, on so many workers; return each with its worker, and how many ran beside it."""
    names = list(tests)
    groups = GroupFiles(folder)
    items = [
        SimpleNamespace(nodeid=name, get_closest_marker=lambda kind, group=group: marker(kind, group))
        for name, group in tests.items()
    ]
    groups.write("gw0", items)  # type: ignore[arg-type]
    option = SimpleNamespace(loadscopereorder=True)
    config: Any = SimpleNamespace(getvalue=lambda name: ["popen"] * count, option=option, rootpath=folder)
    scheduler = TimingLast(config, None, groups)
    workers: list[Any] = [Worker(names) for _ in range(count)]
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, names)
    scheduler.schedule()
    log: list[tuple[str, int, int]] = []
    alive = list(workers)
    while alive:
        for worker in alive:
            if worker.begin():
                beside = sum(other.running is not None for other in workers) - 1
                log.append((names[worker.running], workers.index(worker), beside))
        busy = [worker for worker in alive if worker.running is not None]
        if busy:
            worker = dice.choice(busy)
            ended, worker.running = worker.running, None
            scheduler.mark_test_complete(worker, ended)
        else:
            ending = [worker for worker in alive if worker.shutting_down and not worker.queue]
            assert ending, "every worker waits, and none is shut down"
            alive.remove(ending[0])
            if ending[0] in scheduler.nodes:
                scheduler.remove_node(ending[0])
        if scheduler.tests_finished:
            for worker in alive:
                worker.shutdown()
    return log


def marker(kind: str, group: str | None) -> SimpleNamespace | None:
    """Return the mark of a test."""
    if kind == "timing":
        return SimpleNamespace() if group == ALONE else None
    return SimpleNamespace(args=(group,)) if group not in (None, ALONE) else None


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(10))
def test_each_test_runs_once_and_those_of_the_clock_alone(tmp_path: Path, workers: int, seed: int) -> None:
    """Whatever ends first, and also where there are fewer tests than workers."""
    dice = random.Random(seed)
    groups: list[str | None] = [None] * 5 + [ALONE, ALONE, "browser"]
    tests = {f"test_{number}": dice.choice(groups) for number in range(dice.choice([1, 3, 40]))}
    log = play(tests, workers, tmp_path, dice)
    assert sorted(name for name, _, _ in log) == sorted(tests)
    alone = [(worker, beside) for name, worker, beside in log if tests[name] == ALONE]
    assert all(beside == 0 for _, beside in alone)
    assert len({worker for worker, _ in alone}) <= 1
    assert [name for name, _, _ in log if tests[name] == ALONE] == [name for name, _, _ in log][len(log) - len(alone) :]
    assert len({worker for name, worker, _ in log if tests[name] == "browser"}) <= 1


def test_each_worker_collects_all_files_from_another_one_on(tmp_path: Path) -> None:
    """So that they compile different ones; other paths than one folder are left as they are."""
    for name in "abcdef":
        (tmp_path / f"test_{name}.py").touch()
    orders = [rotated([str(tmp_path)], f"gw{number}", 3) for number in range(3)]
    assert [Path(order[0]).name for order in orders] == ["test_a.py", "test_c.py", "test_e.py"]
    assert all(len(order) == 6 and sorted(order) == orders[0] for order in orders)
    assert rotated(["tests/core", "tests/auth"], "gw1", 3) == ["tests/core", "tests/auth"]


def test_files_and_single_tests_run_in_this_process() -> None:
    """So that a debugger works, and nothing has to be started; stress tests measure, and run there too."""
    assert workers_for(["tests/test_client.py", "tests/test_close.py::test_in_any_state"], "") == 0
    assert workers_for(["tests"], "stress") == 0
    assert workers_for(["tests"], "not slow") >= 2
