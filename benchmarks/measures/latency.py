"""The latency of a blocking call, and its CPU time in the calling process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..child import Figures, Turn
from ..clients import (
    BARE,
    BY_HAND,
    GRPC,
    OURS,
    PICOWS,
    READER,
    READER_TUNED,
    RPYC,
    SOCKETIO,
    TCP,
    TUNED,
    WEBSOCKETS,
    Address,
    connect,
)
from ..echo_servers import EchoServers
from ..result import Result
from ..scale import Scale
from .compare import compare

COLUMNS = {"p50": "p50, µs", "p99": "p99, µs", "cpu": "CPU per call, µs"}
PAYLOAD = "x" * 32
WARM_UP = 200


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure all contestants over TCP."""
    names = (TCP, BY_HAND, BARE, TUNED, OURS, READER, READER_TUNED, WEBSOCKETS, PICOWS, SOCKETIO, RPYC, GRPC)
    title = "One blocking call after another"
    return compare(servers, names, "latency:prepare", scale.rounds, title, COLUMNS, calls=scale.calls)


def measure_tls(servers: EchoServers, scale: Scale) -> Result:
    """Measure the WebSocket clients over TLS."""
    names = (BARE, TUNED, OURS, READER, WEBSOCKETS)
    title = "One blocking call after another, over TLS"
    return compare(servers, names, "latency:prepare", scale.rounds, title, COLUMNS, secure=True, calls=scale.calls)


def prepare(name: str, where: dict[str, Any], calls: int) -> Turn:
    """Connect and warm up."""
    client = connect(name, Address(**where))
    time_calls(client.call, WARM_UP)
    return lambda: time_calls(client.call, calls)


def time_calls(call: Callable[..., Any], calls: int, payload: Any = PAYLOAD) -> Figures:
    """Return percentiles and the CPU time of sequential calls."""
    # Nothing but the call between two readings of the clock; sorting comes after the CPU time was read.
    clock = time.perf_counter
    times = []
    began = time.process_time()
    for _ in range(calls):
        start = clock()
        call("echo", payload)
        times.append(clock() - start)
    cpu = time.process_time() - began
    times.sort()
    return {
        "p50": times[calls // 2] * 1e6,
        "p99": times[calls * 99 // 100] * 1e6,
        "cpu": cpu / calls * 1e6,
    }
