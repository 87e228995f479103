"""Many threads that call at once on one connection: how many calls in a second, all together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..arena import Arena
from ..child import Turn
from ..clients import OURS, READER, Address, connect
from ..result import Result
from ..scale import Scale
from .entry import compete
from .latency import PAYLOAD, WARM_UP, time_calls


def measure(arena: Arena, scale: Scale) -> Result:
    """Those who may be called from several threads."""
    columns = {str(count): f"{count} thread{'s' if count > 1 else ''}, calls/s" for count in scale.threads}
    options: dict[str, Any] = {"threads": scale.threads, "seconds": scale.threads_seconds}
    title = "Threads that call at once on one connection"
    return compete(arena, (READER, OURS), "threads:prepare", scale.rounds, title, columns, **options)


def prepare(name: str, where: dict[str, Any], threads: list[int], seconds: float) -> Turn:
    """Connect and warm up."""
    client = connect(name, Address(**where))
    time_calls(client.call, WARM_UP)
    return lambda: {str(count): _rate(client.call, count, seconds) for count in threads}


def _rate(call: Callable[..., Any], count: int, seconds: float) -> float:
    done = [0] * count
    together = threading.Barrier(count + 1)
    over = threading.Event()

    def work(number: int) -> None:
        together.wait()
        while not over.is_set():
            call("echo", PAYLOAD)
            done[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for worker in workers:
        worker.start()
    together.wait()
    start = time.perf_counter()
    time.sleep(seconds)
    over.set()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - start)
