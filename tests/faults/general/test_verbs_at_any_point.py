"""Every public verb, called by a signal handler or by `__del__`, wherever that interrupts another one.

A handler of a signal runs on the main thread between any two instructions, a finalizer on the thread that dropped the
last reference or ran the collector. Either finds its thread within a verb, perhaps with a lock of the connection.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import owlsocket_sync
from owlsocket_sync import Backoff, Connection, ConnectionState, SocketError, SocketTimeout, connect
from owlsocket_sync.server import Request, Server, serve
from support.helpers import scaled, whole
from support.linked import aside
from support.strikes import struck

pytestmark = [pytest.mark.slow, pytest.mark.stress]

PACKAGE = str(Path(owlsocket_sync.__file__).parent)
TIMEOUT = 4.0
AT_ONCE = 1.5
"""Seconds for a verb that interrupted another one: far less than its own timeout."""
NOW = Backoff(initial=0.01, cap=0.01, jitter="none")


def _handler(conn: Connection, request: Request) -> None:
    conn.perform("echo", lambda value: value)
    conn.observe("tell", lambda message: conn.notify("told", message.payload))
    conn.observe("enqueue", lambda message: conn.enqueue(2))
    conn.acknowledge(lambda id, payload: conn.reply(id, payload) or True)
    conn.authenticate = lambda stage, payload: (stage, payload)


def _ignore(*arguments: object) -> None:
    """Handle anything."""


class Ends:
    """A client, its server, and the verbs of both, each of which checks what it gets."""

    def __init__(self, server: Server, elsewhere: Server) -> None:
        self.server, self.elsewhere = server, elsewhere
        self.conn = connect(server.url, reconnect=NOW)
        self.numbers = itertools.count()
        self.authenticating: set[int] = set()
        self.verbs: dict[str, Callable[[], object]] = {
            name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")
        }

    def holds_lock(self) -> bool:
        """Return whether this thread holds a lock of the connection."""
        core: Any = self.conn._core
        carrier, link = core.carrier, core.carrier._link
        locks = [*core._locks.locks, carrier._state_lock, core._workers.lock]
        if link is not None:
            locks += [link._stream.read_lock, link._writer.lock, *link._stream.locks]
        return any(lock._is_owned() for lock in locks)

    def wait_for(self, event: threading.Event) -> None:
        """Wait for what a worker does, by a verb that waits: an event knows nothing of the connection."""
        end = time.monotonic() + scaled(TIMEOUT)
        while not event.wait(0.001):
            assert time.monotonic() < end
            self.conn.ping(scaled(TIMEOUT))

    def do_call(self) -> None:
        number = next(self.numbers)
        assert self.conn.call("echo", number, timeout=scaled(TIMEOUT)) == number

    def do_submit(self) -> None:
        number, called = next(self.numbers), threading.Event()
        future = self.conn.submit("echo", number, timeout=scaled(TIMEOUT))
        future.add_done_callback(lambda _: called.set())
        assert future.result(scaled(TIMEOUT)) == number
        self.wait_for(called)

    def do_cancel(self) -> None:
        future = self.conn.submit("echo", 0, timeout=scaled(TIMEOUT))
        assert future.cancel() or future.result(scaled(TIMEOUT)) == 0

    def do_map(self) -> None:
        numbers = [next(self.numbers) for _ in range(3)]
        assert list(self.conn.map("echo", numbers, parallel=2, timeout=scaled(TIMEOUT))) == numbers

    def do_notify(self) -> None:
        self.conn.notify("nothing")

    def do_batch(self) -> None:
        with self.conn.batch():
            self.conn.notify("nothing")
            self.conn.notify("nothing")

    def do_deadline(self) -> None:
        with self.conn.deadline(scaled(TIMEOUT)):
            self.do_call()

    def do_observe(self) -> None:
        self.conn.observe("anything", repr)()

    def do_register(self) -> None:
        for subscription in (
            self.conn.perform("method", repr),
            self.conn.listen(repr),
            self.conn.on_state(repr),
            self.conn.on_error(_ignore),
            self.conn.acknowledge(_ignore),
            self.conn.observe_response(repr),
        ):
            subscription()

    def do_events(self) -> None:
        number = next(self.numbers)
        with self.conn.events("told", timeout=scaled(TIMEOUT)) as events:
            self.conn.notify("tell", number)
            assert any(event.payload == number for event in events)

    def do_stream(self) -> None:
        number = next(self.numbers)
        with self.conn.stream(number, timeout=scaled(TIMEOUT)) as responses:
            assert next(responses) == number

    def do_request(self) -> None:
        came = threading.Event()
        self.conn.request(1, lambda payload: came.set())
        self.wait_for(came)

    def do_queue(self) -> None:
        self.conn.enqueue(1)
        self.conn.notify("enqueue")
        assert self.conn.consume(timeout=scaled(TIMEOUT)) is not None
        self.conn.enqueued()

    def do_auth(self) -> None:
        number = next(self.numbers)
        if threading.get_ident() in self.authenticating:
            # One exchange at a time: that of this very thread cannot be waited for.
            with contextlib.suppress(SocketError):
                self.conn.auth("authenticate", number, timeout=scaled(TIMEOUT))
            return
        self.authenticating.add(threading.get_ident())
        try:
            assert self.conn.auth("authenticate", number, timeout=scaled(TIMEOUT)) == number
        finally:
            self.authenticating.clear()

    def do_ping(self) -> None:
        assert self.conn.ping(scaled(TIMEOUT)) < scaled(AT_ONCE)

    def do_stats(self) -> None:
        assert self.conn.stats.messages_in >= 0
        assert self.conn in owlsocket_sync.connections() or self.conn.state is not ConnectionState.OPEN
        repr(self.conn)

    def do_wait_open(self) -> None:
        assert self.conn.wait_open(scaled(TIMEOUT)) is self.conn

    def do_broadcast(self) -> None:
        # Of another server: one of the same process cannot answer while a handler waits that interrupted it.
        self.elsewhere.broadcast("nothing")
        assert all(connection.accepted for connection in self.elsewhere.connections)
        assert not self.elsewhere.wait(0.001)

    def do_reconnect(self) -> None:
        self.conn.reconnect()
        self.conn.wait_open(scaled(TIMEOUT))

    def do_close(self) -> None:
        self.conn.close(timeout=scaled(TIMEOUT))
        assert self.conn.wait_closed(scaled(TIMEOUT)).code is not None

    def do_drain(self) -> None:
        with contextlib.suppress(SocketTimeout):  # a call that was interrupted before it was sent does not finish
            self.conn.drain(scaled(0.5))

    def do_serve(self) -> None:
        with serve(_handler) as server, connect(server.url, timeout=scaled(TIMEOUT)) as conn:
            assert conn.call("echo", 1, timeout=scaled(TIMEOUT)) == 1


VERBS = [name.removeprefix("do_") for name in vars(Ends) if name.startswith("do_")]
ENDING = {"close", "drain", "reconnect"}
"""Verbs after which others may find the link gone, and what was sent on it unanswered."""
MAY_RAISE = (SocketError, AssertionError)


class Finalized:
    """An object whose last reference is dropped where the test wants its finalizer to run."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action

    def __del__(self) -> None:
        self.action()


class LineStrike:
    """Drops the last reference to an object at the so-manieth line of the package that the thread comes to."""

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self.left = at
        self.victim: Finalized | None = Finalized(action)

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if self.victim is None or not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self.left -= 1
            if self.left < 0:
                self.victim = None
        return self


def finalized(at: int, function: Callable[[], object], action: Callable[[], None]) -> bool:
    """Call a function, and run an action in a finalizer at a line of the package; return whether it came to that."""
    strike = LineStrike(at, action)
    before = sys.gettrace()
    sys.settrace(strike)
    try:
        function()
    finally:
        sys.settrace(before)
    came_to_it = strike.victim is None
    if strike.victim is not None:
        strike.victim.action = lambda: None
    return came_to_it


KINDS: dict[str, Callable[[int, Callable[[], object], Callable[[], None]], bool]] = {
    "a signal": struck,
    "a finalizer": finalized,
}


class Strike:
    """One verb that interrupts another one at a point, watched from outside: it may stand still."""

    def __init__(self, ends: Ends, kind: str, outer: str, inner: str, at: int) -> None:
        self.ends, self.outer, self.inner = ends, outer, inner
        self.label = f"{inner} in {kind} at point {at} of {outer}"
        self.errors: list[BaseException] = []
        self.seconds = 0.0
        self.came_to_it = self.locked = False
        self._strike = KINDS[kind]
        self._at = at

    def run(self) -> bool:
        """Return whether the point was reached; fail if one of the verbs did not do what it promises, in time."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        thread.join(scaled(3 * TIMEOUT))
        if thread.is_alive():
            stack = "".join(traceback.format_stack(sys._current_frames()[thread.ident or 0]))
            pytest.fail(f"{self.label}: stands still\n{stack}")
        for error in self.errors:
            raise AssertionError(f"{self.label}: {error!r}") from error
        limit = TIMEOUT + AT_ONCE if self.outer in ENDING else AT_ONCE
        assert self.seconds < scaled(limit), f"{self.label}: took {self.seconds:.1f} s"
        return self.came_to_it

    def _run(self) -> None:
        try:
            self.came_to_it = self._strike(self._at, self._use, self._interrupt)
        except BaseException as error:
            self.errors.append(error)

    def _use(self) -> None:
        with contextlib.suppress(*MAY_RAISE) if self.inner in ENDING else contextlib.nullcontext():
            self.ends.verbs[self.outer]()

    def _interrupt(self) -> None:
        self.locked = self.ends.holds_lock()
        began = time.monotonic()
        try:
            self.ends.verbs[self.inner]()
        except BaseException as error:
            if not (self.outer in ENDING and isinstance(error, MAY_RAISE)):
                self.errors.append(error)
        self.seconds = time.monotonic() - began


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    """A server that answers everything, and another one, which has a client."""
    with serve(_handler) as server, serve(_handler) as elsewhere, connect(elsewhere.url):
        yield server, elsewhere


def _next_ends(ends: Ends, label: str) -> Ends:
    """Return ends that are connected, on which other threads go on."""
    if ends.conn.state.value in ("closing", "closed"):
        ends.conn.close(timeout=scaled(TIMEOUT))
        ends = Ends(ends.server, ends.elsewhere)
    assert aside(ends.do_call).wait(1, TIMEOUT) == [None], label
    return ends


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("outer", VERBS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_verb_works_wherever_it_interrupts_another_one(servers: tuple[Server, Server], kind: str, outer: str) -> None:
    """It returns at once, with what it promises; so does the one that it interrupted, and other threads go on."""
    server, elsewhere = servers
    inners = itertools.cycle(VERBS)
    ends = Ends(server, elsewhere)
    try:
        for at in whole(range(0, 10_000, 53), range(10_000)):
            strike = Strike(ends, kind, outer, next(inners), at)
            came_to_it = strike.run()
            ends = _next_ends(ends, strike.label)
            # In a locked section, the whole form tries all of them.
            for inner in whole([], VERBS if strike.locked else []):
                strike = Strike(ends, kind, outer, inner, at)
                strike.run()
                ends = _next_ends(ends, strike.label)
            if not came_to_it:
                break
    finally:
        ends.conn.close(timeout=scaled(TIMEOUT))
