"""A call with and without permessage-deflate, with a payload that compresses well and one below the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..affinity import AFFINITY
from ..child import Figures, Turn
from ..clients import OURS, WEBSOCKETS, Address, connect
from ..echo_servers import EchoServers
from ..measured_server import MeasuredServer
from ..result import Result, result_of
from ..rounds import Task, run_rounds
from ..scale import Scale
from .latency import time_calls

DEFLATE = "deflate"
ROWS = 40
PAYLOAD = [{"id": number, "name": f"item {number}", "price": number + 0.5, "tags": ["new"]} for number in range(ROWS)]
COLUMNS = {
    "p50": "a call with 3 KiB: p50, µs",
    "cpu": "CPU, µs",
    "small": "a small call: p50, µs",
    "small_cpu": "CPU, µs",
}


def label(name: str, compression: str | None) -> str:
    """Return the name of a row."""
    return f"{name}, {compression}" if compression else name


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure ours and websockets.sync, each against the threaded server of `websockets`."""
    cores = AFFINITY.server_cores()
    tasks = {
        label(name, compression): Task(
            "compressed:prepare", {"name": name, "compression": compression, "calls": scale.calls // 4, "cores": cores}
        )
        for name in (OURS, WEBSOCKETS)
        for compression in (None, DEFLATE)
    }
    return result_of("A call with compression", COLUMNS, run_rounds(tasks, scale.rounds))


def prepare(name: str, compression: str | None, calls: int, cores: Sequence[int] | None) -> Turn:
    """Start a server that agrees to compress, and connect."""
    server = MeasuredServer("websockets", cores, compression=DEFLATE)
    client: Any = connect(name, Address(server.port), compression=compression)
    time_calls(client.call, calls // 4, PAYLOAD)

    def turn() -> Figures:
        large, small = time_calls(client.call, calls, PAYLOAD), time_calls(client.call, calls)
        return {"p50": large["p50"], "cpu": large["cpu"], "small": small["p50"], "small_cpu": small["cpu"]}

    return turn
