"""Spread the tests over worker processes, and run those that measure the clock alone at the end.

A test that is marked ``timing`` asserts how long something took, to a fraction of a second. Another test on the other
core would be measured with it, so these tests form one unit of work, `ALONE`, which one worker begins once every other
worker has ended. Tests of one ``xdist_group`` share what is expensive to start, and run on one worker. Every other test
is a unit of its own. One command, ``python -m pytest``, thus runs everything, and reports it once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

ALONE = "alone"
"""The group of the tests that are marked ``timing``."""


def workers_for(arguments: Sequence[str], mark: str) -> int:
    """Return the number of worker processes for a run; 0 stands for the process of pytest itself.

    Args:
        arguments: the paths and ids that pytest was called with.
        mark: the expression of ``-m``. Stress tests measure, and therefore run alone.
    """
    if mark == "stress" or all("::" in argument or Path(argument).suffix == ".py" for argument in arguments):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 3 * cores  # most tests wait more than they compute


def rotated(arguments: Sequence[str], worker: str, count: int) -> list[str]:
    """Return the paths that one worker collects, if they are one folder: its parts, from another one for each worker.

    In a fresh checkout each worker would compile the same test modules at the same time. So it compiles those that it
    comes to first, and finds the others compiled.
    """
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        return list(arguments)
    parts = sorted(path for path in Path(arguments[0]).rglob("test_*.py") if path.is_file())
    start = len(parts) * int(worker.removeprefix("gw")) // count
    return [str(path) for path in (*parts[start:], *parts[:start])]


def is_timing(item: pytest.Item) -> bool:
    """Return whether a test measures the clock."""
    return item.get_closest_marker("timing") is not None


def group_of(item: pytest.Item) -> str | None:
    """Return the group of a test, if it has one."""
    if is_timing(item):
        return ALONE
    mark = item.get_closest_marker("xdist_group")
    return None if mark is None else str(mark.args[0])


class GroupFiles:
    """Files that tell the controller, which collects nothing itself, which tests belong together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, worker: str, items: list[pytest.Item]) -> None:
        """Write the groups of what a worker collected."""
        groups = {item.nodeid: group for item in items if (group := group_of(item))}
        (self.folder / f"{worker}.json").write_text(json.dumps(groups), encoding="utf-8")

    def read(self) -> dict[str, str]:
        """Return the group of each test that has one; every worker has collected the same tests."""
        # Where a path does not exist no worker collects anything; pytest says so itself.
        return next((dict(json.loads(file.read_text(encoding="utf-8"))) for file in self.folder.glob("*.json")), {})


class TimingLast(LoadScopeScheduling):  # type: ignore[misc,unused-ignore]
    """Hand out single tests and groups; the group `ALONE` begins when everything else has ended.

    Args:
        groups: where the workers have written the groups once they have collected.
    """

    def __init__(self, config: pytest.Config, log: object, groups: GroupFiles) -> None:
        super().__init__(config, log)
        self._files = groups
        self._groups: dict[str, str] = {}
        self._keeper: WorkerController | None = None

    def schedule(self) -> None:
        """Begin to hand out tests."""
        if self.collection is None:
            self._groups = self._files.read()
        super().schedule()

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Note that a test has ended."""
        super().mark_test_complete(node, item_index, duration)
        self._begin_alone()

    def remove_node(self, node: WorkerController) -> str | None:
        """Forget a worker that ended; return the test that it was running, if it crashed."""
        crashed: str | None = super().remove_node(node)
        self._begin_alone()
        return crashed

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if ALONE in self.workqueue:
            self.workqueue.move_to_end(ALONE)
        if next(iter(self.workqueue)) != ALONE:
            super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        if list(self.workqueue) != [ALONE] or node.shutting_down:
            super()._reschedule(node)
            return
        if self._keeper not in self.assigned_work:
            self._keeper = node
        # A worker holds its last test back until it knows the next one. The keeper is left like that, with one test at
        # most, until the others are done; a worker that is told to shut down runs what it holds.
        if node is not self._keeper:
            node.shutdown()
        self._begin_alone()

    def _begin_alone(self) -> None:
        keeper = self._keeper
        if keeper not in self.assigned_work or list(self.workqueue) != [ALONE]:
            return
        if all(self._pending_of(work) <= (node is keeper) for node, work in self.assigned_work.items()):
            super()._assign_work_unit(keeper)
