"""The cost of an idle connection, and the delay of an event that arrives between two calls."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable
from typing import Any

from ..child import Figures, Turn
from ..clients import OURS, READER, SOCKETIO, WEBSOCKETS, Address, connect
from ..echo_servers import EchoServers
from ..result import Result, result_of
from ..rounds import run_rounds
from ..scale import Scale
from .compare import compare, tasks_for
from .latency import WARM_UP, time_calls

EVENT_AFTER = 0.005
PAUSE = 0.012
WAIT_COLUMNS = {
    "asleep": "the program sleeps: p50, µs",
    "asleep_p99": "p99, µs",
    "busy": "the program computes: p50, µs",
    "busy_p99": "p99, µs",
}


def measure_idle(servers: EchoServers, scale: Scale) -> Result:
    """Measure all contestants at the same time."""
    seconds = scale.idle_seconds
    tasks, absent = tasks_for(servers, (OURS, READER, WEBSOCKETS, SOCKETIO), "idle:prepare_idle", seconds=seconds)
    columns = {"cpu": f"CPU in {seconds:g} s, ms", "wakes": f"wake-ups in {seconds:g} s"}
    return result_of("A connection that does nothing", columns, run_rounds(tasks, 1, together=True), absent)


def measure_wait(servers: EchoServers, scale: Scale) -> Result:
    """Measure the time from the send of the server to the handler."""
    title = "An event that comes between two calls"
    return compare(servers, (OURS, READER), "idle:prepare_wait", scale.rounds, title, WAIT_COLUMNS, waits=scale.waits)


def prepare_idle(name: str, where: dict[str, Any], seconds: float) -> Turn:
    """Connect and warm up."""
    client = connect(name, Address(**where))
    time_calls(client.call, WARM_UP)
    return lambda: _idle(seconds)


def _idle(seconds: float) -> Figures:
    # Voluntary context switches: each is a wake-up of a thread that was waiting.
    used, began = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
    time.sleep(seconds)
    cpu, now = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF)
    # One switch is that of the sleep itself.
    return {"cpu": cpu * 1e3, "wakes": now.ru_nvcsw - used.ru_nvcsw - 1}


def prepare_wait(name: str, where: dict[str, Any], waits: int) -> Turn:
    """Connect, and observe the event."""
    client = connect(name, Address(**where))
    came: list[float] = []
    arrived = threading.Event()

    def take(sent: float) -> None:
        came.append(time.perf_counter() - sent)
        arrived.set()

    if name == OURS:
        client.connection.observe("tick", lambda message: take(message.payload))
    else:
        client.on_event = take

    def wait_in(pause: Callable[[float], None]) -> list[float]:
        came.clear()
        for _ in range(waits):
            arrived.clear()
            # The event arrives when the client has just become idle, the worst moment for leader and followers.
            client.call("later", EVENT_AFTER)
            pause(PAUSE)
            arrived.wait()
        return sorted(came)

    def turn() -> Figures:
        asleep, busy = wait_in(time.sleep), wait_in(_compute)
        return {**_percentiles("asleep", asleep), **_percentiles("busy", busy)}

    return turn


def _percentiles(key: str, waits: list[float]) -> Figures:
    return {key: waits[len(waits) // 2] * 1e6, f"{key}_p99": waits[len(waits) * 99 // 100] * 1e6}


def _compute(seconds: float) -> None:
    until = time.perf_counter() + seconds
    # Holds the GIL, as a program that computes does.
    while time.perf_counter() < until:
        pass
