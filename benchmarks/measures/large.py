"""The throughput of large payloads, both directions together."""

from __future__ import annotations

import time
from typing import Any

from ..child import Turn
from ..clients import GRPC, OURS, TCP, TUNED, WEBSOCKETS, Address, connect
from ..echo_servers import EchoServers
from ..result import Result
from ..scale import MIB, Scale
from .compare import compare

MAX_ROUNDS = 3
MIN_SECONDS = 0.2


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure a text of each size as the argument and the result of one call."""
    columns = {str(size): f"{_size_text(size)}, MB/s" for size in scale.sizes}
    names = (TCP, TUNED, OURS, WEBSOCKETS, GRPC)
    rounds = min(scale.rounds, MAX_ROUNDS)
    return compare(
        servers, names, "large:prepare", rounds, "Large payloads, there and back", columns, sizes=scale.sizes
    )


def prepare(name: str, where: dict[str, Any], sizes: list[int]) -> Turn:
    """Connect, with limits for the largest payload."""
    client = connect(name, Address(**where), **({"largest": 2 * max(sizes)} if name == OURS else {}))
    client.call("echo", "x")
    return lambda: {str(size): _rate(client, "x" * size) for size in sizes}


def _rate(client: Any, text: str) -> float:
    times, start = 0, time.perf_counter()
    while True:
        # Only the length: comparing megabytes would be measured, too.
        if len(client.call("echo", text)) != len(text):
            raise RuntimeError("the result has another size")
        times += 1
        seconds = time.perf_counter() - start
        if seconds >= MIN_SECONDS:
            # Twice: each byte is sent and received.
            return 2 * times * len(text) / seconds / 1e6


def _size_text(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // 1024} KiB"
