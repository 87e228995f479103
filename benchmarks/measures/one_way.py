"""The throughput of large payloads in one direction: up to the server, and down from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..child import Figures, Turn
from ..clients import OURS, PICOWS, TUNED, WEBSOCKETS, Address, connect
from ..echo_servers import EchoServers
from ..result import Result
from ..scale import MIB, Scale
from .compare import compare
from .large import MAX_ROUNDS

MIN_SECONDS = 0.2
NAMES = (TUNED, OURS, WEBSOCKETS, PICOWS)


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure each size as the argument of a call, and as its result."""
    columns: dict[str, str] = {}
    for size in scale.one_way_sizes:
        for way in ("up", "down"):
            columns[f"{way}_{size}"] = f"{size // MIB} MiB {way}, MB/s"
            columns[f"cpu_{way}_{size}"] = "CPU, ns/byte"
    title, rounds = "Large payloads, one way", min(scale.rounds, MAX_ROUNDS)
    return compare(servers, NAMES, "one_way:prepare", rounds, title, columns, sizes=scale.one_way_sizes)


def prepare(name: str, where: dict[str, Any], sizes: list[int]) -> Turn:
    """Connect, with limits for the largest payload."""
    largest = {"largest": 2 * max(sizes)} if name == OURS else {}
    client = connect(name, Address(**where), **largest)
    client.call("echo", "x")

    def turn() -> Figures:
        figures: Figures = {}
        for size in sizes:
            figures.update(_rate(f"up_{size}", size, partial(_send, client, "x" * size)))
            figures.update(_rate(f"down_{size}", size, partial(_receive, client, size)))
        return figures

    return turn


def _send(client: Any, text: str) -> bool:
    size: int = client.call("sink", text)
    return size > len(text)


def _receive(client: Any, size: int) -> bool:
    return len(client.call("make", size)) == size


def _rate(key: str, size: int, transfer: Callable[[], bool]) -> Figures:
    _check(transfer)
    times, began, start = 0, time.process_time(), time.perf_counter()
    while True:
        _check(transfer)
        times += 1
        seconds = time.perf_counter() - start
        if seconds >= MIN_SECONDS:
            cpu = time.process_time() - began
            return {key: times * size / seconds / 1e6, f"cpu_{key}": cpu / times / size * 1e9}


def _check(transfer: Callable[[], bool]) -> None:
    if not transfer():
        raise RuntimeError("the payload has another size")
