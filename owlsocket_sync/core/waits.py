"""Waits of user threads for something that the peer sends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..deadline import Deadline
from ..errors import SocketError, SocketTimeout
from ..locks import StepAside
from ..protocol.carrier import Carrier, Workers
from ..states import CloseInfo
from .sender import Sender


class Waits:
    """Lets threads wait, and knows whether any does.

    Args:
        carrier: reads what is waited for.
        sender: sends an open batch before a wait: what is waited for may be the answer to it.
        workers: another handler may run in place of one that waits.
        step_aside: context manager around a wait: other threads read and use the locks of this one.
        name: the name of the connection in errors.
    """

    __slots__ = ("_awaiting", "_carrier", "_name", "_sender", "_workers", "step_aside")

    def __init__(
        self,
        carrier: Carrier,
        sender: Sender,
        workers: Workers,
        step_aside: StepAside,
        name: str,
    ) -> None:
        self._carrier = carrier
        self._sender = sender
        self._workers = workers
        self.step_aside = step_aside
        self._name = name
        self._awaiting: dict[object, None] = {}

    @contextmanager
    def blocking_wait(self, deadline: Deadline | None = None) -> Iterator[None]:
        """Context manager around a wait for the peer; see `owlsocket_sync.protocol.services.Services`."""
        token = object()
        self._carrier.current_link_id()  # where connecting was postponed to the first use, this is it
        with self.worker_released(deadline):
            # While something is awaited, reading goes on beyond the limits: it may be behind what fills them.
            self._awaiting[token] = None
            try:
                yield
            finally:
                self._awaiting.pop(token, None)

    @contextmanager
    def worker_released(self, deadline: Deadline | None) -> Iterator[None]:
        """Context manager around a wait that does not let reading go on beyond the limits."""
        with self.step_aside():
            self._sender.send_gathered(deadline)
            with self._workers.managed_block():
                yield

    def is_awaiting(self) -> bool:
        """Return whether a thread is inside of `blocking_wait`."""
        return bool(self._awaiting)

    def help_reader(self, is_done: Callable[[], bool], deadline: Deadline) -> None:
        """Send what was gathered, then read in place of the reader for a while."""
        if is_done():
            return
        self._sender.send_gathered(deadline)
        with self._workers.managed_block():
            self._carrier.read_for(is_done, deadline)

    def wait_open(self, timeout: float | None) -> None:
        """Wait until the connection is open; see `owlsocket_sync.Connection.wait_open`."""
        deadline = self._sender.deadline_for(timeout)
        with self.worker_released(deadline):
            self._carrier.wait_open(deadline)

    def wait_closed(self, timeout: float | None) -> CloseInfo:
        """Wait until the connection is closed; see `owlsocket_sync.Connection.wait_closed`."""
        deadline = self._sender.deadline_for(timeout, math.inf)
        with self.step_aside():
            try:
                self._sender.send_gathered(deadline)
            except SocketError as error:
                if error.sent is not False:  # else the end of the batch raises
                    raise
            with self._workers.managed_block():
                info = self._carrier.wait_closed(deadline)
        if info is None:
            raise SocketTimeout(f"{self._name} was not closed within {deadline.seconds:g} s")
        return info

    def ping(self, timeout: float | None) -> float:
        """Return the seconds of one round trip; see `owlsocket_sync.Connection.ping`."""
        deadline = self._sender.deadline_for(timeout)
        with self.blocking_wait(deadline):
            self._carrier.await_link(deadline)
            return self._carrier.ping(deadline)
