"""The cost of a call beside idle connections in the same process."""

from __future__ import annotations

import resource
from functools import partial
from typing import Any

from owlsocket_sync import Connection, Limits
from owlsocket_sync.core.core import Core, CoreOptions
from owlsocket_sync.inherited import closed_core
from owlsocket_sync.protocol.settings import Settings
from owlsocket_sync.runtime.carrier_state import ClosedCarrier
from owlsocket_sync.runtime.workers import WorkerPool

from ..child import Turn
from ..clients import Address
from ..clients.ours import open_connection
from ..echo_servers import EchoServers
from ..result import Result, result_of
from ..rounds import Task, run_rounds
from ..scale import Scale
from .latency import COLUMNS, WARM_UP, time_calls

DESCRIPTORS_EACH = 4
ALONE = "alone"
OBJECTS = 10_000


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure a call alone, beside many open connections, and beside ten thousand without a socket."""
    where = {"port": servers.port("websocket")}
    tasks = {
        _beside(count): Task("crowd:prepare", {"where": where, "calls": scale.calls, "real": count, "objects": 0})
        for count in scale.crowds
        if count * DESCRIPTORS_EACH < raise_descriptors()
    }
    # Without sockets: this shows whether the tables of the process cost anything, apart from the system.
    tasks[f"beside {OBJECTS:,} objects".replace(",", " ")] = Task(
        "crowd:prepare", {"where": where, "calls": scale.calls, "real": 0, "objects": OBJECTS}
    )
    return result_of("A call beside idle connections", COLUMNS, run_rounds(tasks, scale.rounds))


def prepare(where: dict[str, Any], calls: int, real: int, objects: int) -> Turn:
    """Open all connections, and warm up the one that calls."""
    raise_descriptors()
    crowd = [open_connection(Address(**where)) for _ in range(real)] + [_without_socket() for _ in range(objects)]
    busy = open_connection(Address(**where))
    time_calls(busy.call, WARM_UP)
    return partial(_turn, busy, calls, crowd)


# ``crowd`` keeps the idle connections alive: one that is collected is closed.
def _turn(busy: Connection, calls: int, crowd: list[Connection]) -> dict[str, float]:
    return time_calls(busy.call, calls)


def _without_socket() -> Connection:
    """Return a connection whose carrier has no socket."""
    carrier = ClosedCarrier("nowhere", "ws://nowhere", "it leads nowhere")
    core = Core(carrier, WorkerPool(1, "nowhere"), CoreOptions("nowhere", Limits()), Settings())
    return Connection(core, closed_core)


def _beside(count: int) -> str:
    return f"beside {count:,} connections".replace(",", " ") if count else ALONE


def raise_descriptors() -> int:
    """Raise the limit of file descriptors to the hard limit, and return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
