"""One blocking call after another: how long it takes, and what it costs the calling process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..arena import Arena
from ..child import Figures, Turn
from ..clients import BARE, GRPC, OURS, READER, RPYC, SOCKETIO, TCP, TUNED, WEBSOCKETS, Address, connect
from ..result import Result
from ..scale import Scale
from .entry import compete

COLUMNS = {"p50": "p50, µs", "p99": "p99, µs", "cpu": "CPU per call, µs"}
PAYLOAD = "x" * 32
WARM_UP = 200


def measure(arena: Arena, scale: Scale) -> Result:
    """Over TCP, everybody."""
    names = (TCP, BARE, TUNED, OURS, READER, WEBSOCKETS, SOCKETIO, RPYC, GRPC)
    title = "One blocking call after another"
    return compete(arena, names, "latency:prepare", scale.rounds, title, COLUMNS, calls=scale.calls)


def measure_tls(arena: Arena, scale: Scale) -> Result:
    """Over TLS, those who speak it."""
    names = (BARE, TUNED, OURS, READER, WEBSOCKETS)
    title = "One blocking call after another, over TLS"
    return compete(arena, names, "latency:prepare", scale.rounds, title, COLUMNS, secure=True, calls=scale.calls)


def prepare(name: str, where: dict[str, Any], calls: int) -> Turn:
    """Connect and warm up."""
    client = connect(name, Address(**where))
    time_calls(client.call, WARM_UP)
    return lambda: time_calls(client.call, calls)


def time_calls(call: Callable[..., Any], calls: int) -> Figures:
    """Percentiles and CPU time of so many calls."""
    clock = time.perf_counter
    times = []
    began = time.process_time()
    for _ in range(calls):
        start = clock()
        call("echo", PAYLOAD)
        times.append(clock() - start)
    cpu = time.process_time() - began
    times.sort()
    return {
        "p50": times[calls // 2] * 1e6,
        "p99": times[calls * 99 // 100] * 1e6,
        "cpu": cpu / calls * 1e6,
    }
