"""Requests to other nodes, and the waits for their answers: calls of their connections, and the ends of these.

Threads: an outcome is taken in one step, so the first one holds; the bus, the end of a node and the deadline may bring
different ones. A thread waits on a lock of its own request.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from os import getpid
from threading import get_ident
from typing import Any

from ..clock import perf_counter
from ..deadline import Deadline
from ..errors import ResilientError, SocketConnectionError, SocketError, SocketTimeout
from ..errors.marshalled import unsent
from ..locks import LocksReleased, acquire_until, wait_on_reader
from ..protocol.hooks import OK, Outcome, status_of
from ..protocol.json_values import to_json
from ..runtime.registration import POLLING
from .base import Bus, node_of

ANSWER = "answer"
READERS: set[tuple[int, int]] = set()
"""The process and the identifier of each thread that reads a hub for this process: an answer comes by it."""


@contextmanager
def as_reader() -> Iterator[None]:
    """Refuse waits for other servers on this thread: it reads the hub for this process."""
    me = getpid(), get_ident()
    READERS.add(me)
    try:
        yield
    finally:
        READERS.discard(me)


def check_may_wait() -> None:
    """Raise `SocketError` on a thread that reads the connections, or the hub: it would wait for itself."""
    if get_ident() in POLLING:
        raise wait_on_reader()
    if READERS and (getpid(), get_ident()) in READERS:
        raise SocketError(
            "the thread that reads the hub cannot wait for another server: a hook, an instrument or a finalizer made a "
            "call there; make it on a thread of your own"
        )


def unknown(id: str, error: BaseException | None = None) -> SocketConnectionError:
    """Return the error of what was meant for a connection that the hub does not have."""
    why = "it has ended, or its server has" if "-" in id else "an id is what `Connection.id` and `Member.id` are"
    lost = unsent(SocketConnectionError(f"the hub has no connection {id!r}: {why}"))
    lost.retryable = False
    lost.__cause__ = error
    return lost


class HubRequest:
    """A request to connections of other nodes.

    Args:
        what: it is, for errors.
        ids: of the connections.

    Attributes:
        outcomes: those that have come, by the id of the connection.
    """

    def __init__(self, what: str, ids: Iterable[str]) -> None:
        self._what = what
        self._began = perf_counter()
        self._waiting = dict.fromkeys(ids)
        self.outcomes: dict[str, Outcome] = {}
        self._waiter = threading.Lock()
        self._waiter.acquire()

    def put(self, id: str, result: Any = None, error: BaseException | None = None) -> None:
        """Set the outcome of one connection, unless there is one already."""
        outcome = Outcome(OK if error is None else status_of(error), perf_counter() - self._began, error, result)
        # One step of the interpreter: of two threads one has removed it.
        if self._waiting.pop(id, self) is not self:
            self.outcomes[id] = outcome
        if not self._waiting:
            with suppress(RuntimeError):  # released by another thread
                self._waiter.release()

    def fail_node(self, node: str | None, error: BaseException) -> None:
        """Set this outcome for what is left of a node, ``None`` for all."""
        for id in list(self._waiting.copy()):
            if node is None or node_of(id) == node:
                self.put(id, error=error)

    def wait(self, deadline: Deadline) -> None:
        """Wait until all outcomes have come; at the deadline those that have not are timeouts."""
        if self._waiting:
            with LocksReleased(()):
                acquire_until(self._waiter, deadline.at)
        self.fail_node(None, SocketTimeout(f"{self._what} was not answered within {deadline.seconds:g} s"))


class HubRequests:
    """The requests of one node that are pending.

    Args:
        node: its id.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._pending: dict[str, HubRequest] = {}

    def begin(
        self, bus: Bus, kind: str, ids: Iterable[str], fields: Mapping[str, Any], deadline: Deadline
    ) -> tuple[str, HubRequest]:
        """Send a request to the nodes that have these connections, without waiting; `end` has to follow.

        Args:
            bus: carries it.
            kind: ``"call"`` or ``"disconnect"``.
            ids: of the connections.
            fields: everything else, as JSON values.
            deadline: until when the answers are awaited.
        """
        number, by_node = secrets.token_hex(8), dict[str, list[str]]()
        for id in ids:
            by_node.setdefault(node_of(id), []).append(id)
        what = f"call {fields['method']!r}" if "method" in fields else f"the request to {kind}"
        request = self._pending[number] = HubRequest(what, [id for ids in by_node.values() for id in ids])
        try:
            for node, ids in by_node.items():
                record = {"kind": kind, "request": number, "from": self._node, "to": ids, **fields}
                # Entered before it is sent: the answer may come at once, and so may the end of the node.
                try:
                    is_sent = node != self._node and bus.send(node, to_json(record), deadline)
                except SocketError as error:  # of this node: the others are asked all the same
                    request.fail_node(node, error)
                else:
                    for id in () if is_sent else ids:
                        request.put(id, error=unknown(id))
        except BaseException:
            self.end(number)
            raise
        return number, request

    def end(self, number: str) -> None:
        """Forget a request: answers that still come are dropped."""
        self._pending.pop(number, None)

    def take_answer(self, fields: Mapping[str, Any]) -> None:
        """Take the answer of a node."""
        request = self._pending.get(fields["request"])
        if request is not None:
            error = fields.get("error")
            request.put(fields["id"], fields.get("result"), None if error is None else ResilientError.unmarshal(error))

    def fail(self, node: str | None, error: BaseException) -> None:
        """Fail what a node that is gone was asked, ``None`` for all nodes."""
        for request in list(self._pending.copy().values()):
            request.fail_node(node, error)
