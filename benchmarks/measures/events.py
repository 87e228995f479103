"""The rate of events, in and out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..child import Figures, Turn
from ..clients import BARE, BY_HAND, BY_HAND_BATCH, OURS, OURS_BATCH, PICOWS, TUNED, WEBSOCKETS, Address, connect
from ..echo_servers import EchoServers
from ..result import Result
from ..scale import Scale
from .compare import compare
from .latency import PAYLOAD

COLUMNS = {"rate": "events/s", "cpu": "CPU per event, µs"}


def measure_in(servers: EchoServers, scale: Scale) -> Result:
    """Measure events in: ours calls a handler of `observe`; the others receive and decode in a loop."""
    names = (BARE, TUNED, OURS, WEBSOCKETS, PICOWS, BY_HAND)
    return compare(servers, names, "events:prepare_in", scale.rounds, "Events in", COLUMNS, events=scale.events)


def measure_out(servers: EchoServers, scale: Scale) -> Result:
    """Measure events out, until the server has counted them all."""
    names = (BARE, TUNED, OURS, OURS_BATCH, WEBSOCKETS, PICOWS, BY_HAND, BY_HAND_BATCH)
    return compare(servers, names, "events:prepare_out", scale.rounds, "Events out", COLUMNS, events=scale.events)


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
    """Return the events per second, and the CPU time per event."""
    # CPU time of this process only: the server has its own.
    began, start = time.process_time(), time.perf_counter()
    work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - began
    return {"rate": events / seconds, "cpu": cpu / events * 1e6}
