"""`RedisCommands`: the operations of one node, done by Redis in their order, on one connection.

What several threads ask for at the same time is one run of the script: a thread that has the lock does what all
of them wait for. A row of operations has a number, and is kept until Redis has answered: so it may be sent again by any
thread, also by a signal handler that interrupts the first one, and Redis does it once.

Threads: ``_rows_lock`` is held while a row is at Redis, within the timeouts of the socket. It only keeps the others
from sending the same row: nothing is lost where it is let go of.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketError
from ..errors.marshalled import unsent
from ..locks import acquire_until, make_process_lock
from ..redis import link as redis_link
from ..redis.client import ERRORS
from ..redis.link import FIRST_PAUSE, LONGEST_PAUSE, RedisLink
from .redis_script import HUB

MAX_OPERATIONS, MAX_BYTES = 256, 1_000_000
"""Of one row, unless the first operation alone is larger."""


class LogEnd(NamedTuple):
    """The last entry of the log that a node knows of."""

    epoch: str = ""
    number: int = 0
    id: str = "0-0"

    @property
    def order(self) -> tuple[int, ...]:
        """The id, to be compared."""
        return tuple(map(int, self.id.split("-")))


def patience_within(deadline: Deadline | None) -> Deadline:
    """Return until when an operation is tried, which a thread with this deadline waits for."""
    patience = Deadline(redis_link.PATIENCE)
    return patience if deadline is None else patience.sooner(deadline)


class HubLink(RedisLink):
    """The link of a hub to its Redis."""

    what = "the hub"
    error_class = SocketConnectionError

    def closed_error(self) -> SocketError:
        """Return the error of a use after the end."""
        error = unsent(super().closed_error())
        error.retryable = False
        return error


class HubOperation:
    """An operation of the script.

    Args:
        words: its name, and the arguments.
        failed: called with an error; for an operation without a thread that waits.

    Attributes:
        reply: of Redis, once it is `done`.
        error: instead of the reply.
        end: the end of the log at that moment.
    """

    __slots__ = ("done", "end", "error", "failed", "reply", "words")

    def __init__(self, words: Sequence[str | bytes], failed: Callable[[SocketError], object] | None = None) -> None:
        self.words = words
        self.failed = failed
        self.reply: Any = None
        self.error: SocketError | None = None
        self.end = LogEnd()
        self.done = False

    def finish(self, reply: Any, error: SocketError | None, end: LogEnd) -> None:
        """Set the reply or the error, unless there is one."""
        if not self.done:
            self.reply, self.error, self.end = reply, error, end
            self.done = True
            if error is not None and self.failed is not None:
                self.failed(error)


class Row(NamedTuple):
    """Operations that are sent together."""

    number: int
    operations: list[HubOperation]
    tries: list[None]


class RedisCommands:
    """The operations of one node.

    Args:
        link: to Redis.
        prefix: of all keys.
        node: the id of the node.
        settings: entries that the log keeps, and milliseconds of a heartbeat.

    Attributes:
        end: the end of the log, as the last answer of Redis had it.
        seen: returns the end as the reader of the node has seen it.
        closed: no more operations are begun; the node is about to end.
    """

    def __init__(self, link: HubLink, prefix: str, node: str, settings: tuple[int, int]) -> None:
        self._link = link
        self._prefix, self._node, self._settings = prefix, node, settings
        self._rows_lock = make_process_lock()
        self._waiting: deque[HubOperation] = deque()
        self._row: Row | None = None
        self._numbers = count(1)
        self.end = LogEnd()
        self.seen: Callable[[], LogEnd] = LogEnd
        self.closed = False

    # -- use ---------------------------------------------------------------------------------------------------------

    def run(self, *words: str | bytes, deadline: Deadline | None = None) -> Any:
        """Do an operation, and return the reply of Redis; it is tried for `PATIENCE` seconds, or until the deadline.

        Raises:
            SocketConnectionError: Redis did not answer, or refused it; or the hub is closed.
        """
        return self.complete(self.begin(words), patience_within(deadline)).reply

    def begin(
        self, words: Sequence[str | bytes], failed: Callable[[SocketError], object] | None = None
    ) -> HubOperation:
        """Have an operation done, after those that were begun before; by the next thread that completes one."""
        if self.closed:
            raise self._link.closed_error()
        return self.add(words, failed)

    def add(self, words: Sequence[str | bytes], failed: Callable[[SocketError], object] | None = None) -> HubOperation:
        """Do as `begin`, also once no more operations are begun."""
        operation = HubOperation(words, failed)
        self._waiting.append(operation)
        return operation

    def complete(self, operation: HubOperation, deadline: Deadline) -> HubOperation:
        """Have an operation done now, with those that were begun before it."""
        pause = FIRST_PAUSE
        try:
            while not operation.done:
                error = self._attempt(operation, deadline)
                if error is None:
                    continue
                if deadline.remaining() <= pause or self._link.stop.is_set():
                    raise self._link.translated(error) from error
                self._link.report(error)
                self._link.stop.wait(pause)
                # Not much longer: when Redis is back, others would take a node for dead whose heartbeat is late.
                pause = min(2 * pause, LONGEST_PAUSE, self._settings[1] / 4000)
        finally:
            # After an interrupt, too: no thread waits for it any longer.
            operation.finish(None, self._link.closed_error(), self.end)
        if operation.error is not None:
            raise operation.error
        return operation

    def _attempt(self, operation: HubOperation, deadline: Deadline) -> Exception | None:
        """Send the next row, unless the operation is done; return the error of an outage."""
        self._link.check_open()
        try:
            if not acquire_until(self._rows_lock, deadline.at):
                return TimeoutError("another thread of this process waits for Redis")
            if not operation.done:
                self._send_row()
        except ERRORS as error:
            if self._link.passes(error):
                return error
            self._fail_row(self._link.translated(error))
        finally:
            with suppress(RuntimeError):  # not acquired
                self._rows_lock.release()
            self._link.close_if_closed()
        return None

    # -- rows --------------------------------------------------------------------------------------------------------

    def _send_row(self) -> None:
        row = self._take_row()
        epoch, number, id, replies = self._link.evaluate(HUB, *self._parts(row))
        self._link.note_answer()
        end = self.end = LogEnd(epoch.decode(), int(number), id.decode())
        for operation, (is_done, reply) in zip(row.operations, replies, strict=True):
            error = None if is_done else self._link.error_class(f"{self._link.place}: {reply.decode(errors='replace')}")
            operation.finish(reply, error, end)
        self._forget(row)

    def _take_row(self) -> Row:
        """Return the row that was not answered, or the next one."""
        while True:
            row = self._row
            if row is not None and not all(operation.done for operation in row.operations):
                return row
            if row is not None:
                self._forget(row)  # those who waited for it have given up
            row = self._row = Row(next(self._numbers), self._next_operations(), [])
            # A signal handler on this thread may have had them done, by a row with another number.
            if not any(operation.done for operation in row.operations):
                return row
            self._row = None

    def _next_operations(self) -> list[HubOperation]:
        """Return the operations of the next row; they stay where they are until they are done."""
        chosen, size = list[HubOperation](), 0
        for operation in self._waiting.copy():
            if operation.done:
                self._drop(operation)
                continue
            size += sum(map(len, operation.words))
            if chosen and (size > MAX_BYTES or len(chosen) == MAX_OPERATIONS):
                break
            chosen.append(operation)
        return chosen

    def _parts(self, row: Row) -> list[Any]:
        again, seen = int(bool(row.tries)), self.seen()
        row.tries.append(None)
        # Whichever is further: the reader may have seen what other nodes have appended since the last answer.
        known = seen if seen.epoch == self.end.epoch and seen.order > self.end.order else self.end
        # With a name for the next epoch, if one begins: a script makes nothing random.
        head = [1, f"{self._prefix}meta", self._prefix, self._node, row.number, again, secrets.token_hex(4)]
        parts: list[Any] = [*head, *known, *self._settings]
        for operation in row.operations:
            name, *arguments = operation.words
            parts += [name, len(arguments), *arguments]
        return parts

    def _fail_row(self, error: SocketError) -> None:
        row = self._row
        if row is not None:
            for operation in row.operations:
                operation.finish(None, error, self.end)
            self._forget(row)

    def _forget(self, row: Row) -> None:
        for operation in row.operations:
            self._drop(operation)
        if self._row is row:
            self._row = None

    def _drop(self, operation: HubOperation) -> None:
        with suppress(ValueError):  # another thread has done so
            self._waiting.remove(operation)
