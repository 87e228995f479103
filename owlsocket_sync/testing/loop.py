"""The event loop of a proxy: a thread with one selector over all its sockets, and commands from other threads.

Threads: ``_commands_lock`` guards the queue of commands and whether more are accepted, and is a leaf. Everything else
belongs to the thread of the loop. A thread that gives a command waits for it under a deadline.
"""

from __future__ import annotations

import math
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from .. import fork
from ..clock import monotonic
from ..reentrant import make_lock
from .flow import Direction, Faults
from .listener import Listener
from .pipe import READ, Address, LingeringSocket, Pipe, SocketRegistration

COMMAND_TIMEOUT = 5.0
MAX_WAIT = 3600.0

Result = TypeVar("Result")


class ProxyClosed(RuntimeError):
    """A method was called on a proxy that is closed."""


class LoopMember(Protocol):
    """A part of a loop; called when its socket is ready, and at the time that it returned last.

    Attributes:
        finished: whether the loop may drop it.
    """

    finished: bool

    def on_ready(self, now: float, sock: socket.socket | None = None, events: int = 0) -> float:
        """Do whatever needs no waiting; return when to be called next."""

    def close(self, *, reset: bool = False) -> None:
        """Close all sockets."""


class LoopWaker:
    """Wakes the loop from other threads, through a socket pair."""

    finished = False

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._write, read = socket.socketpair()
        self._write.setblocking(False)
        read.setblocking(False)
        self._registration = SocketRegistration(selector, read, self)
        self._registration.set_events(READ)

    def wake(self) -> None:
        """Wake the loop; from any thread."""
        with suppress(BlockingIOError):  # the pair is full of wakeups: the loop is about to run anyway
            self._write.send(b"\0")

    def on_ready(self, now: float, sock: socket.socket | None = None, events: int = 0) -> float:
        """Consume the wakeups; return when to be called next, which is never."""
        with suppress(BlockingIOError):
            self._registration.sock.recv(4096)
        return math.inf

    def close(self, *, reset: bool = False) -> None:
        """Close both sockets."""
        self._registration.close(reset=reset)
        self._write.close()


class Loop:
    """Serves a port until `stop`.

    Args:
        targets: addresses of the target, tried in this order.

    Attributes:
        accepted: the number of clients accepted so far.
        faults: those of each direction, for connections to come.
        listener: the port.
    """

    def __init__(self, targets: Sequence[Address]) -> None:
        self.accepted = 0
        self.faults = dict.fromkeys(Direction, Faults())
        self._targets = targets
        self._commands_lock = make_lock()
        self._commands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = False
        self._abandoned = False
        self._selector = selectors.DefaultSelector()
        self._waker = LoopWaker(self._selector)
        self.listener = Listener(self._selector, self._on_accept)
        self._wakeups: dict[LoopMember, float] = {self._waker: math.inf, self.listener: math.inf}
        name = f"owlsocket-fault-proxy-{self.listener.port}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        fork.register(self)
        try:
            self._thread.start()
        except BaseException:
            self._close()  # an error that is kept would keep the port
            raise

    def run_in_loop(self, action: Callable[[], Result]) -> Result:
        """Call a function on the thread of the loop and return its result; from any other thread.

        Raises:
            ProxyClosed: the loop has stopped.
            TimeoutError: the function did not return in time; if it has not begun, it never will.
        """
        fork.ensure_process()
        future: Future[Result] = Future()
        # One lock over both: a command that is in the queue was accepted before the loop stopped, and is answered.
        with self._commands_lock:
            if self._stopping:
                raise ProxyClosed("the proxy is closed")
            self._commands.append((action, future))
            self._waker.wake()
        try:
            return future.result(COMMAND_TIMEOUT)
        except FutureTimeout:
            future.cancel()
            raise TimeoutError(f"the thread of the proxy did not respond within {COMMAND_TIMEOUT:g} s") from None

    def stop(self) -> bool:
        """End everything, and return whether the thread has ended; from any other thread, any number of times."""
        fork.ensure_process()
        with self._commands_lock:
            if not self._stopping:
                self._stopping = True
                self._waker.wake()
        if self._abandoned:
            return True
        self._thread.join(COMMAND_TIMEOUT)
        return not self._thread.is_alive()

    def pipes(self) -> list[Pipe]:
        """Return the live connections; on the thread of the loop."""
        # A dict keeps the order of insertion, which is the order of acceptance.
        return [member for member in self._wakeups if isinstance(member, Pipe)]

    def change(self, directions: Sequence[Direction], changes: dict[str, Any]) -> None:
        """Change the faults of all connections, live and future; on the thread of the loop."""
        now = monotonic()
        for direction in directions:
            self.faults[direction] = replace(self.faults[direction], **changes)
        for pipe in self.pipes():
            for direction in directions:
                pipe.flows[direction].change(self.faults[direction], now)
            # At once: bytes that were held may be due now, and no socket event would announce them.
            self._dispatch(pipe, now)

    def end_all(self, *, reset: bool) -> None:
        """End the live connections; on the thread of the loop."""
        now = monotonic()
        for pipe in self.pipes():
            if reset:
                pipe.close(reset=True)
            else:
                pipe.finished = True
            self._reap(pipe, now)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._run_once()
        finally:
            self._close()

    def _run_once(self) -> None:
        next_at = min(self._wakeups.values())
        # Bounded: the selectors of some systems reject a timeout of more than a few weeks.
        timeout = None if next_at == math.inf else min(max(0.0, next_at - monotonic()), MAX_WAIT)
        ready = self._selector.select(timeout)
        now = monotonic()
        for key, events in ready:
            # A member may have been dropped by the one before it, in this very round.
            if key.data in self._wakeups:
                self._dispatch(key.data, now, key.fileobj, events)
        for member in [member for member, at in self._wakeups.items() if at <= now]:
            self._dispatch(member, now)
        # Without the lock: a command that is appended right now wakes the loop again.
        if self._commands:
            self._run_commands(now)

    def _dispatch(self, member: LoopMember, now: float, sock: Any = None, events: int = 0) -> None:
        self._wakeups[member] = member.on_ready(now, sock, events)
        self._reap(member, now)

    def _reap(self, member: LoopMember, now: float) -> None:
        """Drop a member that has finished; the sockets of a connection that was shut down linger for a while."""
        if not member.finished:
            return
        del self._wakeups[member]
        for sock in member.shutdown() if isinstance(member, Pipe) else ():
            lingering = LingeringSocket(self._selector, sock, now)
            self._wakeups[lingering] = lingering.on_ready(now)

    def _on_accept(self, client: socket.socket, address: tuple[str, int]) -> None:
        self.accepted += 1
        now = monotonic()
        self._dispatch(Pipe(self.accepted, client, address, self._targets, self._selector, self.faults, now), now)

    def _run_commands(self, now: float) -> None:
        # First the backlog: a client that connected before the command was given counts as a live connection.
        self._dispatch(self.listener, now)
        with self._commands_lock:
            commands, self._commands = self._commands, deque()
        for action, future in commands:
            if not future.set_running_or_notify_cancel():
                continue  # its caller gave up waiting
            try:
                future.set_result(action())
            except Exception as error:
                future.set_exception(error)

    def _close(self) -> None:
        with self._commands_lock:
            self._stopping = True
            commands, self._commands = self._commands, deque()
        for member in list(self._wakeups):
            member.close()
        self._selector.close()
        for _, future in commands:
            if future.set_running_or_notify_cancel():
                future.set_exception(ProxyClosed("the proxy is closed"))

    def after_fork(self) -> None:
        """Close the child's copies of all sockets; the connections of the parent go on."""
        self._commands_lock = make_lock()  # the fork may have caught the old one locked
        # After a fork by C code, `threading` takes the thread of the parent for one that runs here.
        self._stopping = self._abandoned = True
        # The selector first: an epoll is shared with the parent, so unregistering here would unregister there.
        self._selector.close()
        for member in list(self._wakeups):
            member.close()
