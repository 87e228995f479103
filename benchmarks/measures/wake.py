"""The delay of an event, from the send of the server to the handler: on an idle link, and soon after a row of calls."""

from __future__ import annotations

import threading
import time
from typing import Any

from ..child import Figures, Turn
from ..clients import OURS, READER_TUNED, Address, connect
from ..echo_servers import EchoServers
from ..result import Result
from ..scale import Scale
from .compare import compare
from .latency import PAYLOAD

COLUMNS = {
    "idle": "idle link: p50, µs",
    "idle_p95": "p95, µs",
    "row": "1 to 5 ms after a row of calls: p50, µs",
    "row_p95": "p95, µs",
}
IDLE = 0.03
"""Seconds after the last call at which a link counts as idle."""

SOON = (0.001, 0.002, 0.003, 0.004, 0.005)
ROW = 5
TIMEOUT = 10.0


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure ours, and a thread that does nothing but receive."""
    title = "An event on its way to its handler"
    return compare(servers, (READER_TUNED, OURS), "wake:prepare", scale.rounds, title, COLUMNS, events=scale.wakes)


def prepare(name: str, where: dict[str, Any], events: int) -> Turn:
    """Connect, and observe the event."""
    client = connect(name, Address(**where))
    delays: list[float] = []
    arrived = threading.Event()

    def take(sent: float) -> None:
        delays.append(time.perf_counter() - sent)
        arrived.set()

    if name == OURS:
        client.connection.observe("tick", lambda message: take(message.payload))
    else:
        client.on_event = take

    def wait(row: int, delay: float) -> float:
        arrived.clear()
        for _ in range(row):
            client.call("echo", PAYLOAD)
        client.call("later", delay)
        if not arrived.wait(TIMEOUT):
            raise RuntimeError("the event did not arrive")
        return delays.pop()

    def turn() -> Figures:
        idle = sorted(wait(0, IDLE) for _ in range(events))
        row = sorted(wait(ROW, delay) for _ in range(events // len(SOON)) for delay in SOON)
        return {**_percentiles("idle", idle), **_percentiles("row", row)}

    return turn


def _percentiles(key: str, delays: list[float]) -> Figures:
    return {key: delays[len(delays) // 2] * 1e6, f"{key}_p95": delays[len(delays) * 95 // 100] * 1e6}
