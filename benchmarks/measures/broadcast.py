"""A broadcast of a server to many clients: the time until all have it, and the CPU of the server."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from ..affinity import AFFINITY
from ..audience import Audience
from ..broadcasters import Broadcaster, start
from ..child import Figures, Turn
from ..clients import OURS, PICOWS, WEBSOCKETS
from ..echo_servers import EchoServers
from ..result import Result, result_of
from ..rounds import Task, run_rounds
from ..scale import Scale
from .compressed import DEFLATE, PAYLOAD, label
from .crowd import raise_descriptors

SMALL = "x" * 200
LARGE = PAYLOAD
REPEATS = 10
WARM_UP = 3
COLUMNS = {"ms": "until all have it, ms", "cpu": "CPU per client, µs", "threads": "threads more"}


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure ours, a loop over the clients of websockets.sync, and picows."""
    options = {"clients": scale.audience, "cores": AFFINITY.server_cores()}
    names = (OURS, WEBSOCKETS, PICOWS)
    tasks = {name: Task("broadcast:prepare", {"name": name, **options}) for name in names}
    title = f"A broadcast of {len(SMALL)} bytes to {scale.audience:,} clients".replace(",", " ")
    return result_of(title, COLUMNS, run_rounds(tasks, scale.rounds))


def measure_compressed(servers: EchoServers, scale: Scale) -> Result:
    """Measure a broadcast of 3 KiB of JSON, with and without compression, to a tenth of the clients."""
    options = {"clients": scale.audience // 10, "cores": AFFINITY.server_cores()}
    tasks = {
        label(name, compression): Task("broadcast:prepare", {"name": name, "compression": compression, **options})
        for name in (OURS, WEBSOCKETS)
        for compression in (None, DEFLATE)
    }
    title = f"A broadcast of 3 KiB of JSON to {options['clients']} clients, with compression"
    return result_of(title, COLUMNS, run_rounds(tasks, scale.rounds))


def prepare(name: str, clients: int, cores: Sequence[int] | None, compression: str | None = "") -> Turn:
    """Start the server here, and its clients in a process of their own."""
    raise_descriptors()
    server = start(name, compression or None)
    audience = Audience(server.port, clients, cores, deflate=bool(compression))
    while server.connected() < clients:
        time.sleep(0.001)
    payload: Any = SMALL if compression == "" else LARGE
    before = _count_threads()
    for _ in range(WARM_UP):
        _broadcast(server, audience, payload)
    return lambda: _turn(server, audience, payload, clients, before)


def _turn(server: Broadcaster, audience: Audience, payload: Any, clients: int, threads: int) -> Figures:
    rows = [_broadcast(server, audience, payload) for _ in range(REPEATS)]
    return {
        "ms": median(seconds for seconds, _ in rows) * 1e3,
        "cpu": sum(cpu for _, cpu in rows) / REPEATS / clients * 1e6,
        "threads": _count_threads() - threads,
    }


def _broadcast(server: Broadcaster, audience: Audience, payload: Any) -> tuple[float, float]:
    """Return the seconds until all clients have it, and the CPU seconds of this process until then."""
    audience.expect()
    began, start = time.process_time(), time.perf_counter()
    server.broadcast(payload)
    arrived = audience.arrived()
    return arrived - start, time.process_time() - began


def _count_threads() -> int:
    return len(os.listdir("/proc/self/task"))
