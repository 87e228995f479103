"""The memory of an idle connection and of a pending call: resident, known to Python, and stacks of threads.

Stacks are recognized by their size among the mappings of the process, and counted separately. Of the other two figures
the larger counts: resident memory does not grow where freed memory is reused, and Python does not know what libraries
in C allocate. The memory of the kernel for a socket is not counted, for any client.
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

from ..child import Figures, Turn
from ..clients import BARE, OURS, READER, WEBSOCKETS, Address, connect
from ..echo_servers import EchoServers
from ..result import Result, result_of
from ..rounds import run_rounds
from ..scale import Scale
from .compare import tasks_for
from .latency import PAYLOAD

STACK_KIB = 1036  # a size that no other mapping has
REST = 2.5
WARM_UP = 3
HELD = "held, the larger of the two, KiB"
IDLE_COLUMNS = {
    "resident": "resident besides stacks, KiB",
    "traced": "known to Python, KiB",
    "held": HELD,
    "stacks": "stacks, KiB",
    "threads": "threads",
    "descriptors": "descriptors",
}
PENDING_COLUMNS = {"resident": "resident, KiB", "traced": "known to Python, KiB", "held": HELD}
_MAPPING = re.compile(r"^Size: +(\d+) kB\n(?:\w+: .*\n)*?Rss: +(\d+) kB$", re.MULTILINE)


class Held(NamedTuple):
    """The memory of the process in KiB, its threads and its descriptors."""

    resident: float
    stacks: float
    traced: float
    threads: int
    descriptors: int


def measure_idle(servers: EchoServers, scale: Scale) -> Result:
    """Measure the memory per idle connection."""
    title = f"An idle connection (of {scale.connections})"
    return _measure(
        servers, (BARE, OURS, READER, WEBSOCKETS), "memory:prepare_idle", title, IDLE_COLUMNS, scale.connections
    )


def measure_pending(servers: EchoServers, scale: Scale) -> Result:
    """Measure the memory per pending call, with its future."""
    title = f"A pending call (of {scale.pending:,})".replace(",", " ")
    return _measure(servers, (OURS, READER), "memory:prepare_pending", title, PENDING_COLUMNS, scale.pending)


def _measure(
    servers: EchoServers, names: Iterable[str], function: str, title: str, columns: dict[str, str], count: int
) -> Result:
    """Measure all contestants at once, each in two processes."""
    # Twice, with and without tracemalloc: its own tables are resident memory, too.
    tasks, absent = tasks_for(servers, names, function, count=count, trace=False)
    traced_tasks, _ = tasks_for(servers, names, function, count=count, trace=True)
    measurements, traced = run_rounds(tasks, 1, together=True), run_rounds(traced_tasks, 1, together=True)
    for name in traced.failures:
        measurements.rounds.pop(name, None)
    measurements.failures.update(traced.failures)
    for name, (figures,) in measurements.rounds.items():
        figures["traced"] = traced.rounds[name][0]["traced"]
        figures["held"] = max(figures["resident"], figures["traced"])
    return result_of(title, columns, measurements, absent)


def prepare_idle(name: str, where: dict[str, Any], count: int, trace: bool) -> Turn:
    """Open a few connections, so that shared parts are loaded; a turn opens the rest."""
    # An odd size, by which the mappings of stacks are recognized.
    threading.stack_size(STACK_KIB * 1024)
    clients = [connect(name, Address(**where)) for _ in range(WARM_UP)]

    def fill() -> None:
        clients.extend(connect(name, Address(**where)) for _ in range(count))
        time.sleep(REST)  # until idle threads have ended

    return lambda: _per_piece(fill, count, trace)


def prepare_pending(name: str, where: dict[str, Any], count: int, trace: bool) -> Turn:
    """Connect; a turn submits calls that are never answered."""
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
        "descriptors": (after.descriptors - before.descriptors) / count,
    }


def _held() -> Held:
    # Garbage is not held: without this, the figure depends on when the collector ran last.
    gc.collect()
    mappings = [(int(size), int(rss)) for size, rss in _MAPPING.findall(Path("/proc/self/smaps").read_text())]
    return Held(
        resident=sum(rss for _, rss in mappings),
        # Without its guard page where the system lists that as a mapping of its own.
        stacks=sum(rss for size, rss in mappings if size in (STACK_KIB, STACK_KIB - 4)),
        traced=tracemalloc.get_traced_memory()[0] / 1024,
        threads=len(os.listdir("/proc/self/task")),
        descriptors=len(os.listdir("/proc/self/fd")),
    )
