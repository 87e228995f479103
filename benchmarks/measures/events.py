"""Events, in and out: how many of them in a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..arena import Arena
from ..child import Figures, Turn
from ..clients import BARE, OURS, OURS_BATCH, TUNED, WEBSOCKETS, Address, connect
from ..result import Result
from ..scale import Scale
from .entry import compete
from .latency import PAYLOAD

COLUMNS = {"rate": "events/s", "cpu": "CPU per event, µs"}


def measure_in(arena: Arena, scale: Scale) -> Result:
    """Ours hands them to a handler by `observe`; the others receive and decode in a loop."""
    names = (BARE, TUNED, OURS, WEBSOCKETS)
    return compete(arena, names, "events:prepare_in", scale.rounds, "Events in", COLUMNS, events=scale.events)


def measure_out(arena: Arena, scale: Scale) -> Result:
    """Until the server has counted them all."""
    names = (BARE, TUNED, OURS, OURS_BATCH, WEBSOCKETS)
    return compete(arena, names, "events:prepare_out", scale.rounds, "Events out", COLUMNS, events=scale.events)


def prepare_in(name: str, where: dict[str, Any], events: int) -> Turn:
    """Connect and warm up."""
    client = connect(name, Address(**where))
    client.take_events(events // 10, len(PAYLOAD))
    return lambda: time_events(lambda: client.take_events(events, len(PAYLOAD)), events)


def prepare_out(name: str, where: dict[str, Any], events: int) -> Turn:
    """Connect and warm up."""
    client = connect(name, Address(**where))
    client.notify_all(events // 10, PAYLOAD)
    return lambda: time_events(lambda: client.notify_all(events, PAYLOAD), events)


def time_events(work: Callable[[], None], events: int) -> Figures:
    """Events in a second, and the CPU time of one."""
    began, start = time.process_time(), time.perf_counter()
    work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - began
    return {"rate": events / seconds, "cpu": cpu / events * 1e6}
