"""What a connection costs that does nothing, and how long an event waits that comes while nobody calls."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable
from typing import Any

from ..arena import Arena
from ..child import Figures, Turn
from ..clients import OURS, READER, SOCKETIO, WEBSOCKETS, Address, connect
from ..result import Result, result_of
from ..scale import Scale
from ..turns import take_turns
from .entry import compete, tasks_for
from .latency import WARM_UP, time_calls

EVENT_AFTER = 0.005
PAUSE = 0.012
WAIT_COLUMNS = {
    "asleep": "the program sleeps: p50, µs",
    "asleep_p99": "p99, µs",
    "busy": "the program computes: p50, µs",
    "busy_p99": "p99, µs",
}


def measure_idle(arena: Arena, scale: Scale) -> Result:
    """All at the same time."""
    seconds = scale.idle_seconds
    tasks, absent = tasks_for(arena, (OURS, READER, WEBSOCKETS, SOCKETIO), "idle:prepare_idle", seconds=seconds)
    columns = {"cpu": f"CPU in {seconds:g} s, ms", "wakes": f"wake-ups in {seconds:g} s"}
    return result_of("A connection that does nothing", columns, take_turns(tasks, 1, together=True), absent)


def measure_wait(arena: Arena, scale: Scale) -> Result:
    """From the server's sending to the handler's running, between two calls."""
    title = "An event that comes between two calls"
    return compete(arena, (OURS, READER), "idle:prepare_wait", scale.rounds, title, WAIT_COLUMNS, waits=scale.waits)


def prepare_idle(name: str, where: dict[str, Any], seconds: float) -> Turn:
    """Connect, and call a few times."""
    client = connect(name, Address(**where))
    time_calls(client.call, WARM_UP)
    return lambda: _idle(seconds)


def _idle(seconds: float) -> Figures:
    used, began = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
    time.sleep(seconds)
    cpu, now = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": cpu * 1e3, "wakes": now.ru_nvcsw - used.ru_nvcsw - 1}


def prepare_wait(name: str, where: dict[str, Any], waits: int) -> Turn:
    """Connect, and listen."""
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
    while time.perf_counter() < until:
        pass
