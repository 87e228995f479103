"""Costs that could grow: a call beside pending calls, an event beside observed names, a message of a long queue."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from owlsocket_sync import Connection, Limits

from ..child import Figures, Turn
from ..clients import Address
from ..clients.ours import Ours, open_connection
from ..echo_servers import EchoServers
from ..result import Result, result_of
from ..rounds import Task, run_rounds
from ..scale import Scale
from . import latency
from .events import COLUMNS as EVENT_COLUMNS
from .events import time_events
from .latency import PAYLOAD, WARM_UP, time_calls

MOST_PENDING = 200_000
LONG = 3600.0
REPEATS = 15
MARK = "last"
QUEUE_COLUMNS = {
    "first": "consume(), µs",
    "match": "consume(filter), the first fits, µs",
    "skip": "consume(filter), only the last fits, µs",
    "each": "for each that it skips, ns",
}


def measure_pending(servers: EchoServers, scale: Scale) -> Result:
    """Measure a call at each number of pending calls."""
    options = {"where": {"port": servers.port("websocket")}, "calls": scale.calls}
    return _at_each(scale.pending_levels, "pending", options, scale, "A call beside pending calls", latency.COLUMNS)


def measure_observed(servers: EchoServers, scale: Scale) -> Result:
    """Measure an event at each number of observed names."""
    options = {"where": {"port": servers.port("websocket")}, "events": scale.events}
    return _at_each(
        scale.observed_levels, "observed", options, scale, "An event where many are observed", EVENT_COLUMNS
    )


def measure_queue(servers: EchoServers, scale: Scale) -> Result:
    """Measure `consume` at each length of the queue."""
    options = {"where": {"port": servers.port("websocket")}}
    return _at_each(scale.queue_levels, "queue", options, scale, "A message from the queue", QUEUE_COLUMNS)


def _at_each(
    levels: tuple[int, ...], what: str, options: dict[str, Any], scale: Scale, title: str, columns: dict[str, str]
) -> Result:
    tasks = {str(level): Task(f"growth:prepare_{what}", {**options, "level": level}) for level in levels}
    return result_of(title, columns, run_rounds(tasks, scale.rounds))


def prepare_pending(where: dict[str, Any], calls: int, level: int) -> Turn:
    """Submit calls that are never answered."""
    connection = open_connection(Address(**where), Limits(pending_calls=MOST_PENDING))
    left = [connection.submit("never", PAYLOAD, timeout=LONG) for _ in range(level)]
    time_calls(connection.call, WARM_UP)

    def turn() -> Figures:
        figures = time_calls(connection.call, calls)
        # A future that is done would mean that fewer calls were pending than the level says.
        if any(future.done() for future in left):
            raise RuntimeError("a call is not pending anymore")
        return figures

    return turn


def prepare_observed(where: dict[str, Any], events: int, level: int) -> Turn:
    """Observe many names, one of which is sent."""
    client = Ours(Address(**where))
    for number in range(level - 1):
        client.connection.observe(f"another {number}", print)
    return lambda: time_events(lambda: client.take_events(events, len(PAYLOAD)), events)


def prepare_queue(where: dict[str, Any], level: int) -> Turn:
    """Queue messages, the last of which is marked."""
    connection = open_connection(Address(**where), Limits(inbox_messages=2 * level, inbox_bytes=level * 4096))
    numbers = itertools.count()

    def put(payload: str) -> None:
        connection.receive(f'{{"type":"message","payload":"{payload}","id":"{next(numbers)}"}}')

    for _ in range(level - 1):
        put(PAYLOAD)
    put(MARK)
    return lambda: _time_queue(connection, put, level)


def _time_queue(connection: Connection, put: Callable[[str], None], level: int) -> Figures:
    """Time `consume`; each message taken is replaced, so that the queue keeps its length and its last message."""
    # The order matters: the scans for the last message come first, while the mark is the only one.
    skips = [_take(connection, lambda payload: payload == MARK) for _ in _each(put, MARK, REPEATS)]
    if connection.consume(lambda payload: payload == MARK) is None:
        raise RuntimeError("the queue is empty")
    firsts = [_take(connection) for _ in _each(put, PAYLOAD, REPEATS)]
    matches = [_take(connection, lambda payload: payload == PAYLOAD) for _ in _each(put, PAYLOAD, REPEATS)]
    put(MARK)
    skip = median(skips)
    return {"first": median(firsts), "match": median(matches), "skip": skip, "each": skip / (level - 1) * 1e3}


def _each(put: Callable[[str], None], payload: str, count: int) -> Any:
    for number in range(count):
        yield number
        put(payload)


def _take(connection: Connection, filter: Callable[[Any], Any] | None = None) -> float:
    start = time.perf_counter()
    taken = connection.consume(filter)
    micros = (time.perf_counter() - start) * 1e6
    if taken is None or taken.id is None:
        raise RuntimeError("consume() returned no message")
    return micros
