"""Events and queued messages as data frames of pandas: a row for each message, a column for each key of its payload.

Types do not depend on what is missing: columns have the nullable types of pandas (``Int64``, ``Float64``, ``boolean``,
``string``), chosen by what the values are, and ``object`` where they differ; times are ``datetime64[us, UTC]``. So two
frames of the same event fit together, empty ones included.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from ...connection import Connection
from ...errors import SocketTimeout
from ...protocol.messages import EventMessage, Message
from ...protocol.queue import Consumed
from .libraries import library

PAYLOAD = "payload"
INT64, UINT64 = range(-(2**63), 2**63), range(2**64)


def events_frame(
    conn: Connection,
    event: str,
    *,
    limit: int | None = None,
    timeout: float | None = None,
    start: Callable[[], object] | None = None,
) -> Any:
    """Wait for events of this name, in the caller's thread, and put them into a `pandas.DataFrame`.

    Args:
        conn: where they come from.
        event: their name, ``"*"`` for all.
        limit: how many to wait for.
        timeout: seconds to wait for all of them; what came until then is in the frame, which may be empty.
        start: called once events are taken, to ask the peer for them: none is missed.

    Returns:
        The columns ``time`` (when it was taken, by the clock of this machine), ``sent`` (when it was sent, where the
        peer says so), ``event``, and one for each key of the payloads, as `to_frame` has them.

    Raises:
        ValueError: neither a limit nor a timeout says when there are enough.
    """
    if limit is None and timeout is None:
        raise ValueError("limit or timeout must say when there are enough events")
    taken: list[tuple[float, Any]] = []
    with conn.events(event, limit) as incoming, conn.deadline(math.inf if timeout is None else timeout):
        if start is not None:
            start()
        with suppress(SocketTimeout):
            for message in incoming:
                taken.append((time.time(), message))
    return _frame(taken, "event")


def queue_frame(
    conn: Connection,
    *,
    limit: int | None = None,
    timeout: float = 0.0,
    filter: Callable[[Any], Any] | None = None,
) -> Any:
    """Take the messages that are queued, and put them into a `pandas.DataFrame`.

    They are taken together: when anything goes wrong before the frame is made, an interrupt of the kernel included, all
    of them go back to where they were.

    Args:
        conn: whose queue.
        limit: how many at most.
        timeout: seconds to wait for each one that is not there yet; 0 takes what is there.
        filter: leave those in the queue for whose payload it is false.

    Returns:
        The columns ``time`` (when it was taken), ``id``, and one for each key of the payloads, as `to_frame` has them.
    """
    held: list[Iterator[Consumed]] = []
    taken: list[tuple[float, Any]] = []
    try:
        while limit is None or len(taken) < limit:
            held.append(one := conn.messages(filter, timeout, 1))
            message = next(one, None)
            if message is None:
                break
            taken.append((time.time(), message))
        frame = _frame(taken, "id")
        for one in held:
            next(one, None)  # coming round again is what makes it done
    except BaseException:
        for one in reversed(held):
            one.close()
        raise
    return frame


def to_frame(messages: Iterable[Message | Consumed]) -> Any:
    """Put messages that you have already into a `pandas.DataFrame`; what is kept of each depends on its kind.

    The keys of payloads that are objects become columns, those of objects within them with a dot (``"size.width"``);
    other payloads are in the column ``payload``. A key that has the name of a column of ours is ``"payload.<key>"``.
    """
    have = list(messages)
    events = any(isinstance(one, EventMessage) for one in have)
    taken = [(one.dt if isinstance(one, Message) else None, one) for one in have]
    return _frame(taken, "event" if events else "id")


def _frame(taken: list[tuple[Any, Any]], name: str) -> Any:
    pandas = library("pandas")
    lead = {"time": _times([at for at, _ in taken])}
    if name == "event":
        lead["sent"] = _times([getattr(one, "dt", None) for _, one in taken])
    names = [getattr(one, name, None) for _, one in taken]
    lead[name] = pandas.array([None if one is None else str(one) for one in names], dtype="string")
    columns: dict[str, list[Any]] = {}
    for row, (_, one) in enumerate(taken):
        for key, value in flattened(one.payload):
            shown = f"{PAYLOAD}.{key}" if key in lead else key
            columns.setdefault(shown, [None] * len(taken))[row] = value
    typed = {key: pandas.array(values, dtype=dtype_of(values)) for key, values in columns.items()}
    return pandas.DataFrame({**lead, **typed})


def _times(seconds: list[float | None]) -> Any:
    pandas = library("pandas")
    micros = pandas.array([None if one is None else round(one * 1e6) for one in seconds], dtype="Int64")
    return pandas.Series(micros.astype("datetime64[us]"), dtype="datetime64[us]").dt.tz_localize("UTC")


def flattened(payload: Any) -> Iterator[tuple[str, Any]]:
    """The columns of one payload, in its order, and what they hold."""
    if not isinstance(payload, dict) or not payload:
        yield PAYLOAD, payload
        return
    left = [iter([(str(key), value) for key, value in payload.items()])]
    while left:
        pair = next(left[-1], None)
        if pair is None:
            left.pop()
        elif isinstance(pair[1], dict) and pair[1]:
            key, value = pair
            left.append(iter([(f"{key}.{inner}", one) for inner, one in value.items()]))
        else:
            yield pair


def dtype_of(values: Iterable[Any]) -> str:
    """The type of a column that holds these values; ``None`` is a missing one."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {bool}:
        return "boolean"
    if kinds == {str}:
        return "string"
    if kinds == {int}:
        span = min(present), max(present)
        return (
            "Int64"
            if all(one in INT64 for one in span)
            else "UInt64"
            if all(one in UINT64 for one in span)
            else "object"
        )
    return "Float64" if kinds and kinds <= {int, float} else "object"
