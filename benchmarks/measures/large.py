"""Large payloads there and back: megabytes in a second, both directions together."""

from __future__ import annotations

import time
from typing import Any

from ..arena import Arena
from ..child import Turn
from ..clients import BARE, GRPC, OURS, TCP, TUNED, WEBSOCKETS, Address, connect
from ..result import Result
from ..scale import MIB, Scale
from .entry import compete

MOST_ROUNDS = 3
LEAST_SECONDS = 0.2


def measure(arena: Arena, scale: Scale) -> Result:
    """One text of each size as the only argument, and as the result."""
    columns = {str(size): f"{_shown(size)}, MB/s" for size in scale.sizes}
    names = (TCP, BARE, TUNED, OURS, WEBSOCKETS, GRPC)
    rounds = min(scale.rounds, MOST_ROUNDS)
    return compete(arena, names, "large:prepare", rounds, "Large payloads, there and back", columns, sizes=scale.sizes)


def prepare(name: str, where: dict[str, Any], sizes: list[int]) -> Turn:
    """Connect, with room for the largest."""
    client = connect(name, Address(**where), **({"largest": 2 * max(sizes)} if name == OURS else {}))
    client.call("echo", "x")
    return lambda: {str(size): _rate(client, "x" * size) for size in sizes}


def _rate(client: Any, text: str) -> float:
    times, start = 0, time.perf_counter()
    while True:
        if len(client.call("echo", text)) != len(text):
            raise RuntimeError("it came back in another size")
        times += 1
        seconds = time.perf_counter() - start
        if seconds >= LEAST_SECONDS:
            return 2 * times * len(text) / seconds / 1e6


def _shown(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // 1024} KiB"
