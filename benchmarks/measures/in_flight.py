"""A thousand calls in flight: all are submitted before the first result is awaited."""

from __future__ import annotations

import time
from typing import Any

from ..child import Figures, Turn
from ..clients import (
    BY_HAND,
    BY_HAND_BATCH,
    GRPC,
    OURS,
    OURS_BATCH,
    PICOWS,
    READER,
    READER_TUNED,
    RPYC,
    TUNED,
    WEBSOCKETS,
    Address,
    connect,
)
from ..echo_servers import EchoServers
from ..result import Result
from ..scale import Scale
from .compare import compare
from .latency import PAYLOAD

COLUMNS = {"rate": "calls/s", "cpu": "CPU per call, µs"}
REPEATS = 5


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure clients with several calls in flight; those without futures receive the answers in order."""
    names = (
        READER,
        READER_TUNED,
        OURS,
        OURS_BATCH,
        TUNED,
        WEBSOCKETS,
        PICOWS,
        BY_HAND,
        BY_HAND_BATCH,
        RPYC,
        GRPC,
    )
    count = f"{scale.in_flight:,}".replace(",", " ")
    title = f"{count} calls in flight (without futures, in order: {TUNED}, {WEBSOCKETS}, {PICOWS}, {BY_HAND})"
    return compare(servers, names, "in_flight:prepare", scale.rounds, title, COLUMNS, calls=scale.in_flight)


def prepare(name: str, where: dict[str, Any], calls: int) -> Turn:
    """Connect and warm up."""
    client = connect(name, Address(**where))
    _all(client, calls)
    return lambda: _time(client, calls)


def _all(client: Any, calls: int) -> None:
    for future in client.submit_all(calls, PAYLOAD):
        future.result()


def _time(client: Any, calls: int) -> Figures:
    began, start = time.process_time(), time.perf_counter()
    # Several times in a turn: one is over in some milliseconds.
    for _ in range(REPEATS):
        _all(client, calls)
    seconds, cpu = time.perf_counter() - start, time.process_time() - began
    return {"rate": REPEATS * calls / seconds, "cpu": cpu / REPEATS / calls * 1e6}
