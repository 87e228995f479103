"""What grows: calls beside many pending ones, events beside many observed names, a queue that is long."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from owlsocket_sync import Connection, Limits

from ..arena import Arena
from ..child import Figures, Turn
from ..clients import Address
from ..clients.ours import Ours, open_connection
from ..result import Result, result_of
from ..scale import Scale
from ..turns import Task, take_turns
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


def measure_pending(arena: Arena, scale: Scale) -> Result:
    """A call, while so many others wait for their answers."""
    options = {"where": {"port": arena.port("websocket")}, "calls": scale.calls}
    return _at_each(scale.pending_levels, "pending", options, scale, "A call beside pending calls", latency.COLUMNS)


def measure_observed(arena: Arena, scale: Scale) -> Result:
    """An event, where so many names are observed."""
    options = {"where": {"port": arena.port("websocket")}, "events": scale.events}
    return _at_each(
        scale.observed_levels, "observed", options, scale, "An event where many are observed", EVENT_COLUMNS
    )


def measure_queue(arena: Arena, scale: Scale) -> Result:
    """Messages taken from a queue of so many."""
    options = {"where": {"port": arena.port("websocket")}}
    return _at_each(scale.queue_levels, "queue", options, scale, "A message from the queue", QUEUE_COLUMNS)


def _at_each(
    levels: tuple[int, ...], what: str, options: dict[str, Any], scale: Scale, title: str, columns: dict[str, str]
) -> Result:
    tasks = {str(level): Task(f"growth:prepare_{what}", {**options, "level": level}) for level in levels}
    return result_of(title, columns, take_turns(tasks, scale.rounds))


def prepare_pending(where: dict[str, Any], calls: int, level: int) -> Turn:
    """Leave so many calls pending."""
    connection = open_connection(Address(**where), Limits(pending_calls=MOST_PENDING))
    left = [connection.submit("never", PAYLOAD, timeout=LONG) for _ in range(level)]
    time_calls(connection.call, WARM_UP)

    def turn() -> Figures:
        figures = time_calls(connection.call, calls)
        if any(future.done() for future in left):
            raise RuntimeError("a call is pending no more")
        return figures

    return turn


def prepare_observed(where: dict[str, Any], events: int, level: int) -> Turn:
    """Observe so many names, one of which comes."""
    client = Ours(Address(**where))
    for number in range(level - 1):
        client.connection.observe(f"another {number}", print)
    return lambda: time_events(lambda: client.take_events(events, len(PAYLOAD)), events)


def prepare_queue(where: dict[str, Any], level: int) -> Turn:
    """Queue so many messages, the last of which is marked."""
    connection = open_connection(Address(**where), Limits(inbox_messages=2 * level))
    numbers = itertools.count()

    def put(payload: str) -> None:
        connection.receive(f'{{"type":"message","payload":"{payload}","id":"{next(numbers)}"}}')

    for _ in range(level - 1):
        put(PAYLOAD)
    put(MARK)
    return lambda: _time_queue(connection, put, level)


def _time_queue(connection: Connection, put: Callable[[str], None], level: int) -> Figures:
    """Each time as many are put back as were taken, and the marked one is the last again."""
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
        raise RuntimeError("nothing was taken")
    return micros
