"""The rate of calls from many threads on one connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..child import Turn
from ..clients import OURS, READER, Address, connect
from ..echo_servers import EchoServers
from ..result import Result
from ..scale import Scale
from .compare import compare
from .latency import PAYLOAD, WARM_UP, time_calls


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure the clients that may be called from several threads."""
    columns = {str(count): f"{count} thread{'s' if count > 1 else ''}, calls/s" for count in scale.threads}
    options: dict[str, Any] = {"threads": scale.threads, "seconds": scale.threads_seconds}
    title = "Threads that call at once on one connection"
    return compare(servers, (READER, OURS), "threads:prepare", scale.rounds, title, columns, **options)


def prepare(name: str, where: dict[str, Any], threads: list[int], seconds: float) -> Turn:
    """Connect and warm up."""
    client = connect(name, Address(**where))
    time_calls(client.call, WARM_UP)
    return lambda: {str(count): _rate(client.call, count, seconds) for count in threads}


def _rate(call: Callable[..., Any], count: int, seconds: float) -> float:
    # A counter for each thread: a shared one would need a lock, which would be measured.
    done = [0] * count
    # One more than the workers: this thread starts the clock when all of them are ready.
    start_line = threading.Barrier(count + 1)
    over = threading.Event()

    def work(number: int) -> None:
        start_line.wait()
        while not over.is_set():
            call("echo", PAYLOAD)
            done[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for worker in workers:
        worker.start()
    start_line.wait()
    start = time.perf_counter()
    time.sleep(seconds)
    over.set()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - start)
