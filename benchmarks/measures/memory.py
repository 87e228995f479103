"""What an idle connection and a pending call hold: resident memory, memory that Python knows of, threads.

Stacks of threads are told apart by their size in the list of mappings of the process, and counted on their own. The
larger of the other two figures counts: memory that was free before is not seen to grow, and what libraries in C take is
not known to Python. What the system keeps for a socket is not counted, for anybody.
"""

from __future__ import annotations

import gc
import os
import re
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..arena import Arena
from ..child import Figures, Turn
from ..clients import BARE, OURS, READER, WEBSOCKETS, Address, connect
from ..result import Result, result_of
from ..scale import Scale
from ..turns import take_turns
from .entry import tasks_for
from .latency import PAYLOAD

STACK_KIB = 1036  # of no other mapping
REST = 2.5
WARM_UP = 3
HELD = "held, the larger of the two, KiB"
IDLE_COLUMNS = {
    "resident": "resident besides stacks, KiB",
    "traced": "known to Python, KiB",
    "held": HELD,
    "stacks": "stacks, KiB",
    "threads": "threads",
}
PENDING_COLUMNS = {"resident": "resident, KiB", "traced": "known to Python, KiB", "held": HELD}
_MAPPING = re.compile(r"^Size: +(\d+) kB\n(?:\w+: .*\n)*?Rss: +(\d+) kB$", re.MULTILINE)


class Held(NamedTuple):
    """What the process holds; memory in KiB."""

    resident: float
    stacks: float
    traced: float
    threads: int


def measure_idle(arena: Arena, scale: Scale) -> Result:
    """For each of many connections that do nothing."""
    title = f"An idle connection (of {scale.connections})"
    return _measure(
        arena, (BARE, OURS, READER, WEBSOCKETS), "memory:prepare_idle", title, IDLE_COLUMNS, scale.connections
    )


def measure_pending(arena: Arena, scale: Scale) -> Result:
    """For each of many calls that wait for an answer, with its future."""
    title = f"A pending call (of {scale.pending:,})".replace(",", " ")
    return _measure(arena, (OURS, READER), "memory:prepare_pending", title, PENDING_COLUMNS, scale.pending)


def _measure(
    arena: Arena, names: Iterable[str], function: str, title: str, columns: dict[str, str], count: int
) -> Result:
    """Once with tracing, once without, since what traces needs memory too; all contestants at once, each for itself."""
    tasks, absent = tasks_for(arena, names, function, count=count, trace=False)
    traced_tasks, _ = tasks_for(arena, names, function, count=count, trace=True)
    taken, traced = take_turns(tasks, 1, together=True), take_turns(traced_tasks, 1, together=True)
    for name, (figures,) in taken.rounds.items():
        figures["traced"] = traced.rounds[name][0]["traced"]
        figures["held"] = max(figures["resident"], figures["traced"])
    return result_of(title, columns, taken, absent)


def prepare_idle(name: str, where: dict[str, Any], count: int, trace: bool) -> Turn:
    """Open a few, so that what all share is there; a turn opens the rest."""
    threading.stack_size(STACK_KIB * 1024)
    clients = [connect(name, Address(**where)) for _ in range(WARM_UP)]

    def fill() -> None:
        clients.extend(connect(name, Address(**where)) for _ in range(count))
        time.sleep(REST)  # threads that have nothing to do may end

    return lambda: _per_piece(fill, count, trace)


def prepare_pending(name: str, where: dict[str, Any], count: int, trace: bool) -> Turn:
    """Connect; a turn leaves calls pending."""
    client = connect(name, Address(**where))
    futures = [client.submit("never", PAYLOAD) for _ in range(WARM_UP)]
    return lambda: _per_piece(
        lambda: futures.extend([client.submit("never", PAYLOAD) for _ in range(count)]), count, trace
    )


def _per_piece(fill: Callable[[], None], count: int, trace: bool) -> Figures:
    if trace:
        tracemalloc.start()
    before = _held()
    fill()
    after = _held()
    return {
        "resident": (after.resident - after.stacks - before.resident + before.stacks) / count,
        "stacks": (after.stacks - before.stacks) / count,
        "traced": (after.traced - before.traced) / count,
        "threads": (after.threads - before.threads) / count,
    }


def _held() -> Held:
    gc.collect()
    mappings = [(int(size), int(rss)) for size, rss in _MAPPING.findall(Path("/proc/self/smaps").read_text())]
    return Held(
        resident=sum(rss for _, rss in mappings),
        stacks=sum(rss for size, rss in mappings if size in (STACK_KIB, STACK_KIB - 4)),
        traced=tracemalloc.get_traced_memory()[0] / 1024,
        threads=len(os.listdir("/proc/self/task")),
    )
