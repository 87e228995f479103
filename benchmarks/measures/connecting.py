"""One connection for one call: connect, call, close."""

from __future__ import annotations

import time
from typing import Any

from ..child import Figures, Turn
from ..clients import BARE, OURS, TUNED, WEBSOCKETS, Address, connect
from ..echo_servers import EchoServers
from ..result import Result
from ..scale import Scale
from .compare import compare
from .latency import PAYLOAD

COLUMNS = {"p50": "p50, µs", "p99": "p99, µs", "cpu": "CPU, µs", "refused": "failed, of 100"}
NAMES = (BARE, TUNED, OURS, WEBSOCKETS)
WARM_UP = 5
MOST_FAILED = 0.05


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure over TCP."""
    title = "Connect, one call, close"
    return compare(servers, NAMES, "connecting:prepare", scale.rounds, title, COLUMNS, times=scale.connects)


def measure_tls(servers: EchoServers, scale: Scale) -> Result:
    """Measure over TLS."""
    title = "Connect, one call, close, over TLS"
    return compare(
        servers, NAMES, "connecting:prepare", scale.rounds, title, COLUMNS, secure=True, times=scale.connects
    )


def prepare(name: str, where: dict[str, Any], times: int) -> Turn:
    """Warm up."""
    address = Address(**where)
    _time(name, address, WARM_UP)
    return lambda: _time(name, address, times)


def _time(name: str, address: Address, count: int) -> Figures:
    times: list[float] = []
    failed, began = 0, time.process_time()
    while len(times) < count:
        start = time.perf_counter()
        try:
            client = connect(name, address)
        except Exception:
            # A server under load may drop a handshake; that is counted, and must not end a run of minutes.
            failed += 1
            if failed > max(1, count * MOST_FAILED):
                raise
            continue
        client.call("echo", PAYLOAD)
        client.close()
        times.append(time.perf_counter() - start)
    cpu = time.process_time() - began
    times.sort()
    p50, p99 = times[count // 2] * 1e6, times[count * 99 // 100] * 1e6
    return {"p50": p50, "p99": p99, "cpu": cpu / count * 1e6, "refused": failed / count * 100}
