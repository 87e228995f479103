"""Events and queued messages as pandas data frames: a row for each message, a column for each key of the payloads.

Columns have nullable types (``Int64``, ``Float64``, ``boolean``, ``string``), or ``object`` for mixed values; times are
``datetime64[us, UTC]``. The types do not depend on missing values, so frames of one event can be concatenated, empty
frames included.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from ...connection import Connection
from ...errors import SocketTimeout
from ...protocol.delivery import Consumed
from ...protocol.messages import EventMessage, Message
from .libraries import library

PAYLOAD = "payload"
# JSON has integers of any size; a column that fits neither type keeps Python's.
INT64, UINT64 = range(-(2**63), 2**63), range(2**64)


def events_frame(
    conn: Connection,
    event: str,
    *,
    limit: int | None = None,
    timeout: float | None = None,
    start: Callable[[], object] | None = None,
) -> Any:
    """Wait for events of a name, on the calling thread, and return them as a `pandas.DataFrame`.

    Args:
        conn: connection to use.
        event: name of the events, ``"*"`` for all.
        limit: number of events to wait for.
        timeout: seconds to wait for all events; the frame contains the events received by then, possibly none.
        start: called after the subscription, to request the events: no event is missed.

    Returns:
        A frame with the columns ``time`` (received, by the clock of this machine), ``sent`` (sent, if the peer provides
        a time), ``event``, and a column for each key of the payloads, as in `to_frame`.

    Raises:
        ValueError: neither a limit nor a timeout is set.
    """
    if limit is None and timeout is None:
        raise ValueError("limit or timeout must be set: without them, waiting for events never ends")
    received: list[tuple[float, Any]] = []
    with conn.events(event, limit) as incoming, conn.deadline(math.inf if timeout is None else timeout):
        if start is not None:
            start()
        with suppress(SocketTimeout):
            for message in incoming:
                received.append((time.time(), message))
    return _frame(received, "event")


def queue_frame(
    conn: Connection,
    *,
    limit: int | None = None,
    timeout: float = 0.0,
    filter: Callable[[Any], Any] | None = None,
) -> Any:
    """Take messages from the queue and return them as a `pandas.DataFrame`.

    All or nothing: if anything fails before the frame is complete, an interrupt of the kernel included, all messages
    return to the queue.

    Args:
        conn: connection of the queue.
        limit: maximum number of messages.
        timeout: seconds to wait for each message that is not queued yet; 0 takes only queued messages.
        filter: leaves messages in the queue for whose payload it returns false.

    Returns:
        A frame with the columns ``time`` (received), ``id``, and a column for each key of the payloads, as in
        `to_frame`.
    """
    iterators: list[Iterator[Consumed]] = []
    received: list[tuple[float, Any]] = []
    try:
        # An iterator for each message: an iterator acknowledges its message when it is advanced, and one iterator for
        # all would acknowledge every message but the last before the frame exists.
        while limit is None or len(received) < limit:
            iterators.append(iterator := conn.messages(filter, timeout, 1))
            message = next(iterator, None)
            if message is None:
                break
            received.append((time.time(), message))
        frame = _frame(received, "id")
        for iterator in iterators:
            next(iterator, None)
    except BaseException:
        # In reverse: each message returns to the front of the queue, so the order is restored.
        for iterator in reversed(iterators):
            iterator.close()
        raise
    return frame


def to_frame(messages: Iterable[Message | Consumed]) -> Any:
    """Return messages as a `pandas.DataFrame`; the columns depend on their kind.

    The keys of object payloads become columns, keys of nested objects with a dot (``"size.width"``); other payloads are
    in the column ``payload``. A key with the name of a fixed column becomes ``"payload.<key>"``.
    """
    rows = list(messages)
    has_events = any(isinstance(message, EventMessage) for message in rows)
    timed = [(message.dt if isinstance(message, Message) else None, message) for message in rows]
    return _frame(timed, "event" if has_events else "id")


def _frame(timed: list[tuple[Any, Any]], name: str) -> Any:
    """Build a frame of messages with their times; ``name`` is the attribute for the second fixed column."""
    pandas = library("pandas")
    fixed = {"time": _times([seconds for seconds, _ in timed])}
    if name == "event":
        fixed["sent"] = _times([getattr(message, "dt", None) for _, message in timed])
    names = [getattr(message, name, None) for _, message in timed]
    fixed[name] = pandas.array([None if value is None else str(value) for value in names], dtype="string")
    columns: dict[str, list[Any]] = {}
    for row, (_, message) in enumerate(timed):
        for key, value in flattened(message.payload):
            column = f"{PAYLOAD}.{key}" if key in fixed else key
            columns.setdefault(column, [None] * len(timed))[row] = value
    typed = {key: pandas.array(values, dtype=dtype_of(values)) for key, values in columns.items()}
    return pandas.DataFrame({**fixed, **typed})


def _times(seconds: list[float | None]) -> Any:
    pandas = library("pandas")
    # By integers: a float of seconds since the epoch has no exact microseconds for pandas to convert.
    micros = pandas.array([None if value is None else round(value * 1e6) for value in seconds], dtype="Int64")
    return pandas.Series(micros.astype("datetime64[us]"), dtype="datetime64[us]").dt.tz_localize("UTC")


def flattened(payload: Any) -> Iterator[tuple[str, Any]]:
    """Yield the columns of a payload with their values, in the order of the payload."""
    if not isinstance(payload, dict) or not payload:
        yield PAYLOAD, payload
        return
    # A stack, not recursion: the depth of a payload is the peer's choice.
    stack = [iter([(str(key), value) for key, value in payload.items()])]
    while stack:
        pair = next(stack[-1], None)
        if pair is None:
            stack.pop()
        elif isinstance(pair[1], dict) and pair[1]:
            key, nested = pair
            stack.append(iter([(f"{key}.{inner}", value) for inner, value in nested.items()]))
        else:
            yield pair


def dtype_of(values: Iterable[Any]) -> str:
    """Return the dtype of a column for these values; ``None`` is a missing value."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {bool}:
        return "boolean"
    if kinds == {str}:
        return "string"
    if kinds == {int}:
        bounds = min(present), max(present)
        return (
            "Int64"
            if all(bound in INT64 for bound in bounds)
            else "UInt64"
            if all(bound in UINT64 for bound in bounds)
            else "object"
        )
    return "Float64" if kinds and kinds <= {int, float} else "object"
