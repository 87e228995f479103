"""The contract of a carrier: whoever breaks it is stopped by an `AssertionError` that says what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from owlsocket_sync import Backoff, Connection, ConnectionState, Deflate, Limits, connect
from owlsocket_sync.core.core import Core
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketConnectionError
from owlsocket_sync.runtime.link import Link
from owlsocket_sync.runtime.registration import POLLING
from owlsocket_sync.runtime.workers import WorkerPool
from owlsocket_sync.server import Request, serve
from owlsocket_sync.states import CloseInfo, StateChange
from support.helpers import eventually, scaled
from support.pair import RecordingCarrier, make_pair

CONNECTING, OPEN, RECONNECTING, CLOSING, CLOSED = ConnectionState
LOST = CloseInfo(1006, "lost")


class Broken:
    """A carrier that a test drives by hand, its core, and the workers."""

    def __init__(self, pool: WorkerPool) -> None:
        conn, _, self.carrier, _ = make_pair(left_workers=pool)
        self.core: Core = conn._core
        self._pool = pool

    def on_worker(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function on a worker, and raise what it raises."""
        failures: list[BaseException] = []
        done = threading.Event()

        def run() -> None:
            try:
                function(*arguments)
            except BaseException as failure:
                failures.append(failure)
            finally:
                done.set()

        assert self._pool.submit(None, run)
        assert done.wait(scaled(5))
        if failures:
            raise failures[0]

    def stop_offering(self, state: ConnectionState = RECONNECTING) -> None:
        """Leave the state OPEN, as a carrier does before it reports the loss."""
        self.carrier._shared.state = state


@pytest.fixture
def broken() -> Iterator[Broken]:
    """A carrier in memory, with workers that are threads."""
    pool = WorkerPool(1, "test")
    yield Broken(pool)
    pool.end(Deadline(scaled(5)))


def error() -> SocketConnectionError:
    """Return the error of a closed connection."""
    return SocketConnectionError("closed")


def test_a_link_is_reported_open_on_a_worker(broken: Broken) -> None:
    """Held calls are sent there, which may wait: never on the reader."""
    broken.on_worker(broken.core.link_opened)
    with pytest.raises(AssertionError, match="link_opened: call it on a worker"):
        broken.core.link_opened()


def test_a_link_is_lost_once(broken: Broken) -> None:
    """Twice would fail calls of the next one, and report two close messages."""
    broken.stop_offering()
    broken.core.link_lost(1, LOST)
    with pytest.raises(AssertionError, match="link 1 was lost before"):
        broken.core.link_lost(1, LOST)


def test_a_link_that_never_was_cannot_be_lost(broken: Broken) -> None:
    """Numbers are those that the carrier counts."""
    broken.stop_offering()
    with pytest.raises(AssertionError, match="link 2 was lost before, or never opened"):
        broken.core.link_lost(2, LOST)


def test_a_link_is_lost_after_it_is_offered_no_more(broken: Broken) -> None:
    """A caller whose call fails, and who tries again at once, must not be given it."""
    with pytest.raises(AssertionError, match="still returns link 1"):
        broken.core.link_lost(1, LOST)


@pytest.mark.parametrize("method", ["link_lost", "handlers_discarded"])
def test_the_end_of_a_link_is_not_reported_by_a_worker(broken: Broken, method: str) -> None:
    """It is the reader's: nothing is read while it is handled."""
    broken.stop_offering(CLOSED)
    arguments = (1, LOST) if method == "link_lost" else (0,)
    with pytest.raises(AssertionError, match=f"{method}: call it on the reader"):
        broken.on_worker(getattr(broken.core, method), *arguments)
    getattr(broken.core, method)(*arguments)


def test_handlers_are_discarded_at_the_end_only(broken: Broken) -> None:
    """And not fewer than none."""
    with pytest.raises(AssertionError, match="the connection is open"):
        broken.core.handlers_discarded(1)
    broken.stop_offering(CLOSED)
    with pytest.raises(AssertionError, match="-1 is negative"):
        broken.core.handlers_discarded(-1)
    broken.core.handlers_discarded(1)


def test_a_connection_is_closed_when_its_state_says_so(broken: Broken) -> None:
    """Threads that are freed must not find it open, and wait again; twice is allowed."""
    with pytest.raises(AssertionError, match="closed: the connection is open"):
        broken.core.closed(error)
    broken.stop_offering(CLOSED)
    broken.core.closed(error)
    broken.core.closed(error)


def test_a_change_follows_the_one_before_it(broken: Broken) -> None:
    """Each begins where the last one ended, and goes where the table of states allows."""
    change = broken.core.state_changed
    change(StateChange(OPEN, CONNECTING), 1)
    with pytest.raises(AssertionError, match="the previous state is open, not reconnecting"):
        change(StateChange(OPEN, RECONNECTING), 2)
    with pytest.raises(AssertionError, match="connecting cannot follow open"):
        change(StateChange(CONNECTING, OPEN), 2)
    change(StateChange(CLOSED, OPEN), 2)


def test_changes_do_not_overlap(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change within a change is delivered after it, on whichever thread it happens."""
    core = broken.core

    def overlap(change: StateChange, number: int) -> None:
        with pytest.raises(AssertionError, match=r"closed is delivered during another change .by the same thread"):
            core.state_changed(StateChange(CLOSED, OPEN), 3)
        with pytest.raises(AssertionError, match=r"closed is delivered during another change .by another thread"):
            broken.on_worker(core.state_changed, StateChange(CLOSED, OPEN), 3)

    with monkeypatch.context() as patch:
        patch.setattr(type(core.listeners), "notify_state", staticmethod(overlap))
        core.state_changed(StateChange(OPEN, CONNECTING), 2)
    core.state_changed(StateChange(CLOSED, OPEN), 3)


def test_a_handler_of_the_state_may_close_both_ends_in_memory() -> None:
    """Each end gets both changes in their order, and loses the link once."""
    left, right, carrier, _ = make_pair()
    changes: list[tuple[str, ConnectionState]] = []
    closes: list[object] = []

    def close(change: StateChange) -> None:
        changes.append(("left", change.state))
        left.close()

    left.on_state(close)
    right.on_state(lambda change: changes.append(("right", change.state)))
    right.listen(lambda message: closes.append(message.event))
    assert isinstance(carrier, RecordingCarrier)
    carrier.lose()
    assert [state for end, state in changes if end == "left"] == [RECONNECTING, CLOSED]
    assert [state for end, state in changes if end == "right"] == [RECONNECTING, CLOSED]
    assert closes == ["close"]


class Watched:
    """The events of a link, with a record of each call that comes on a wrong thread, or under a wrong lock."""

    def __init__(self, events: Any, violations: list[str]) -> None:
        self._events = events
        self._violations = violations
        self.link: Any = None

    def _check(self, method: str, *, only_reader: bool, locked: bool | None) -> None:
        if only_reader and threading.get_ident() not in POLLING:
            self._violations.append(f"{method} on another thread than the reader")
        if locked is not None and self.link._stream.read_lock._is_owned() is not locked:
            self._violations.append(f"{method} {'without' if locked else 'under'} the read lock")
        if self.link._writer._write_lock._is_owned():
            self._violations.append(f"{method} under the write lock")

    def receive(self, text: str, link: int) -> None:
        """A message: the reader, which has the order of messages under the read lock."""
        self._check("receive", only_reader=True, locked=True)
        self._events.receive(text, link)

    def try_complete(self, text: str) -> Any:
        """Perhaps an answer: whichever thread reads."""
        self._check("try_complete", only_reader=False, locked=True)
        return self._events.try_complete(text)

    def count_wire(self, received: int, sent: int) -> None:
        """Bytes of messages, where they may be compressed: any thread, which has sent or reads."""
        self._check("count_wire", only_reader=False, locked=received > 0)
        self._events.count_wire(received, sent)

    def has_room(self) -> bool:
        """Before more is read: the reader."""
        self._check("has_room", only_reader=True, locked=None)
        return bool(self._events.has_room())

    def run_timers(self, now: float) -> float:
        """Timers: the reader, which holds nothing."""
        self._check("run_timers", only_reader=True, locked=False)
        return float(self._events.run_timers(now))


@pytest.mark.slow
@pytest.mark.parametrize("compression", [None, Deflate(min_size=0)], ids=["plain", "compressed"])
def test_our_links_keep_the_contract(compression: Deflate | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends of a WebSocket, with calls, events, full backlogs and lost links: each event on its thread."""
    violations: list[str] = []
    make_link = Link.__init__

    def init(link: Any, framing: Any, number: int, events: Any, *options: Any) -> None:
        watched = Watched(events, violations)
        watched.link = link
        make_link(link, framing, number, watched, *options)  # type: ignore[arg-type]

    def unlocked(core: Any, method: str) -> None:
        carrier = core.carrier
        if carrier._state_changed._is_owned():
            violations.append(f"{method} under the lock of the state")

    monkeypatch.setattr(Link, "__init__", init)
    for method in ("link_opened", "link_lost", "handlers_discarded", "closed", "state_changed"):
        original = getattr(Core, method)
        monkeypatch.setattr(
            Core,
            method,
            lambda core, *arguments, _method=method, _original=original: (
                unlocked(core, _method),
                _original(core, *arguments),
            ),
        )

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: (conn.notify("echoed", value), value)[1])

    seen: list[object] = []
    limits, backoff = Limits(dispatch_messages=2), Backoff(initial=0.01, cap=0.01, jitter="none")
    with (
        serve(handler, limits=limits, compression=compression) as server,
        connect(server.url, limits=limits, reconnect=backoff, compression=compression) as conn,
    ):
        conn.observe("echoed", lambda message: seen.append(message.payload))

        def talk() -> None:
            for number in range(50):
                assert conn.call("echo", number, timeout=scaled(20), retry=True) == number

        threads = [threading.Thread(target=talk) for _ in range(4)]
        for thread in threads:
            thread.start()
        futures = [conn.submit("echo", number, timeout=scaled(20), retry=True) for number in range(50)]
        assert [future.result() for future in futures] == list(range(50))
        conn.reconnect()
        for thread in threads:
            thread.join()
        eventually(lambda: conn.stats.reconnects == 1)
    assert violations == []
    assert seen
