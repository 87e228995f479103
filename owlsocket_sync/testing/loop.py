"""The thread of a proxy: one selector over all its sockets, and commands from other threads.

Threads: ``_commands_lock`` guards the commands that wait and whether more may come, and is a leaf. All else belongs to
the loop's thread. Who gives a command waits for it under a deadline.
"""

from __future__ import annotations

import math
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from .door import Door
from .flow import Direction, Faults
from .pipe import READ, Address, Farewell, Pipe, Watch

COMMAND_SECONDS = 5.0
LONGEST_WAIT = 3600.0

Result = TypeVar("Result")


class ProxyClosed(RuntimeError):
    """Nothing can be asked of a proxy that is closed."""


class Dweller(Protocol):
    """What lives in a loop: has its turn when its socket is ready, or the time comes that it named last."""

    over: bool

    def turn(self, now: float, sock: socket.socket | None = None, events: int = 0) -> float:
        """Do what can be done; when to come back unasked."""

    def close(self, *, reset: bool = False) -> None:
        """Give up all sockets."""


class Bell:
    """Wakes the loop from other threads."""

    over = False

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._ringer, rung = socket.socketpair()
        self._ringer.setblocking(False)
        rung.setblocking(False)
        self._watch = Watch(selector, rung, self)
        self._watch.ask(READ)

    def ring(self) -> None:
        """Wake the loop; from any thread."""
        with suppress(BlockingIOError):  # then it is about to wake
            self._ringer.send(b"\0")

    def turn(self, now: float, sock: socket.socket | None = None, events: int = 0) -> float:
        """Be ready to be rung again."""
        with suppress(BlockingIOError):
            self._watch.sock.recv(4096)
        return math.inf

    def close(self, *, reset: bool = False) -> None:
        """Give up both ends."""
        self._watch.close(reset=reset)
        self._ringer.close()


class Loop:
    """Serves a port until `stop`.

    Args:
        targets: addresses of the target, tried in this order.
    """

    def __init__(self, targets: Sequence[Address]) -> None:
        self.accepted = 0
        self.faults = dict.fromkeys(Direction, Faults())
        self._targets = targets
        self._commands_lock = threading.Lock()
        self._commands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._bell = Bell(self._selector)
        self.door = Door(self._selector, self._welcome)
        self._dwellers: dict[Dweller, float] = {self._bell: math.inf, self.door: math.inf}
        name = f"owlsocket-fault-proxy-{self.door.port}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        _loops.add(self)
        self._thread.start()

    def do(self, action: Callable[[], Result]) -> Result:
        """Have something done on the loop's thread, and wait for it; from any other thread.

        Raises:
            ProxyClosed: as it says.
            TimeoutError: the thread did not come to it.
        """
        future: Future[Result] = Future()
        with self._commands_lock:
            if self._stopping:
                raise ProxyClosed("the proxy is closed")
            self._commands.append((action, future))
            self._bell.ring()
        try:
            return future.result(COMMAND_SECONDS)
        except FutureTimeout:
            future.cancel()
            raise TimeoutError(f"the proxy did not obey within {COMMAND_SECONDS:g} s") from None

    def stop(self) -> bool:
        """End everything; whether the thread has ended; from any other thread, any number of times."""
        with self._commands_lock:
            if not self._stopping:
                self._stopping = True
                self._bell.ring()
        self._thread.join(COMMAND_SECONDS)
        return not self._thread.is_alive()

    def pipes(self) -> list[Pipe]:
        """The connections that are proxied now; on the loop's thread."""
        return [dweller for dweller in self._dwellers if isinstance(dweller, Pipe)]

    def change(self, directions: Sequence[Direction], changes: dict[str, Any]) -> None:
        """Let other faults befall all connections, live and future; on the loop's thread."""
        now = time.monotonic()
        for direction in directions:
            self.faults[direction] = replace(self.faults[direction], **changes)
        for pipe in self.pipes():
            for direction in directions:
                pipe.flows[direction].change(self.faults[direction], now)
            self._give_turn(pipe, now)

    def end_all(self, *, reset: bool) -> None:
        """End what is live now; on the loop's thread."""
        now = time.monotonic()
        for pipe in self.pipes():
            if reset:
                pipe.close(reset=True)
            else:
                pipe.over = True
            self._settle(pipe, now)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._go_round()
        finally:
            self._give_up()

    def _go_round(self) -> None:
        soonest = min(self._dwellers.values())
        wait = None if soonest == math.inf else min(max(0.0, soonest - time.monotonic()), LONGEST_WAIT)
        ready = self._selector.select(wait)
        now = time.monotonic()
        for key, events in ready:
            if key.data in self._dwellers:
                self._give_turn(key.data, now, key.fileobj, events)
        for dweller in [one for one, at in self._dwellers.items() if at <= now]:
            self._give_turn(dweller, now)
        if self._commands:
            self._obey(now)

    def _give_turn(self, dweller: Dweller, now: float, sock: Any = None, events: int = 0) -> None:
        self._dwellers[dweller] = dweller.turn(now, sock, events)
        self._settle(dweller, now)

    def _settle(self, dweller: Dweller, now: float) -> None:
        """Forget what is over; a connection that ended politely is still listened to for a while."""
        if not dweller.over:
            return
        del self._dwellers[dweller]
        for sock in dweller.part() if isinstance(dweller, Pipe) else ():
            farewell = Farewell(self._selector, sock, now)
            self._dwellers[farewell] = farewell.turn(now)

    def _welcome(self, client: socket.socket, address: tuple[str, int]) -> None:
        self.accepted += 1
        now = time.monotonic()
        self._give_turn(Pipe(self.accepted, client, address, self._targets, self._selector, self.faults, now), now)

    def _obey(self, now: float) -> None:
        """Carry the commands out, over all who have come until now, those not yet accepted included."""
        self._give_turn(self.door, now)
        with self._commands_lock:
            given, self._commands = self._commands, deque()
        for action, future in given:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(action())
            except Exception as error:
                future.set_exception(error)

    def _give_up(self) -> None:
        with self._commands_lock:
            self._stopping = True
            left, self._commands = self._commands, deque()
        for dweller in list(self._dwellers):
            dweller.close()
        self._selector.close()
        for _, future in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(ProxyClosed("the proxy is closed"))

    def _forget(self) -> None:
        """In a forked child: give up its copies, and leave the connections of the parent alone."""
        self._commands_lock = threading.Lock()
        self._stopping = True
        self._selector.close()
        for dweller in list(self._dwellers):
            dweller.close()


_loops: WeakSet[Loop] = WeakSet()


def _forget_all() -> None:
    for loop in list(_loops):
        loop._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
