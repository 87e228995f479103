"""Each thread that the package starts, refused by the system once, and for a while: everything goes on afterwards.

A scenario counts the threads that it starts; then it runs once for each of them, in which that one cannot be started.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from owlsocket_sync import Backoff, Connection, ConnectionState, SocketConnectionError, connect
from owlsocket_sync.errors import ResilientError
from owlsocket_sync.server import Request, serve
from owlsocket_sync.testing import FaultProxy, pair
from support.helpers import Collector, eventually, scaled, whole

pytestmark = pytest.mark.slow

QUICK = Backoff(initial=0.01, factor=1.0, cap=0.01, jitter="none")


class Refusals:
    """Refuses some of the threads that code of the package starts.

    Attributes:
        names: of the threads that were started or refused so far.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._start = threading.Thread.start
        self._refused: Callable[[int], bool] = lambda number: False
        self._lock = threading.Lock()
        self.names: list[str] = []
        refusals = self

        def start(thread: threading.Thread) -> None:
            refusals.start(thread)

        monkeypatch.setattr(threading.Thread, "start", start)

    def refuse(self, refused: Callable[[int], bool]) -> None:
        """Count from zero, and refuse the threads with these numbers."""
        with self._lock:
            self._refused = refused
            self.names.clear()

    def start(self, thread: threading.Thread) -> None:
        """Start a thread, or refuse to; those of a test are not counted."""
        if thread.name.startswith("test-"):
            return self._start(thread)
        with self._lock:
            number = len(self.names)
            self.names.append(thread.name)
            refused = self._refused(number)
        if refused:
            raise RuntimeError("can't start new thread")
        return self._start(thread)


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    """Refuse nothing so far."""
    return Refusals(monkeypatch)


class Identity:
    """Of a client whose token ends within the scenario."""

    def __init__(self) -> None:
        self.expires_at = datetime.now(timezone.utc) + timedelta(seconds=0.3)


def patiently(action: Callable[[], Any]) -> Any:
    """Return what an action returns; if it fails, by an error of ours alone, do it once more."""
    try:
        return action()
    except (ResilientError, OSError):
        return action()
    except RuntimeError as error:
        if "can't start new thread" not in str(error):  # of a server that cannot accept
            raise
        return action()


def traffic() -> None:
    """Every kind of thread: readers, workers, callables, authentication, timers, servers and their clients."""
    seen = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)
        conn.perform("nested", lambda: conn.call("back", timeout=scaled(10)))
        conn.observe("news", lambda message: conn.notify("seen", message.payload))
        if "wait" in request.query:
            assert conn.call("back", timeout=scaled(10)) == "back"

    def set_up(conn: Connection) -> None:
        conn.perform("back", lambda: "back")
        conn.observe("seen", lambda message: seen(message.payload))
        conn.on_state(lambda change: seen(change.state))

    def open_client(**options: Any) -> Connection:
        defaults = {"reconnect": QUICK, "timeout": scaled(10), "setup": set_up, "call_timeout": scaled(10)}
        return connect(lambda: server.url + "/?wait=1", **{**defaults, **options})

    server = patiently(lambda: serve(handler))
    with server, patiently(lambda: open_client(auth=lambda conn: None)) as conn:
        assert patiently(lambda: conn.call("echo", 1)) == 1
        conn.notify("news", "first")
        eventually(lambda: "first" in seen.items, 10)
        assert patiently(lambda: conn.call("nested")) == "back"
        called: Future[Any] = conn.submit("echo", 2)
        done = threading.Event()
        called.add_done_callback(lambda _: done.set())
        assert done.wait(scaled(10))
        conn.reconnect()
        eventually(lambda: conn.stats.reconnects >= 1 and conn.state is ConnectionState.OPEN, 10)
        assert patiently(lambda: conn.call("echo", 3)) == 3
        conn.close()
        eventually(lambda: ConnectionState.CLOSED in seen.items, 10)


def expiry() -> None:
    """The end of a token closes its link, whatever thread is missing."""
    identities = Collector()

    def authenticate(request: Request) -> Identity:
        identities(Identity())
        return identities.items[-1]  # type: ignore[no-any-return]

    with patiently(lambda: serve(lambda conn, request: None, authenticate=authenticate)) as server:
        conn = patiently(lambda: connect(server.url, reconnect=None, timeout=scaled(10)))
        assert conn.wait_closed(scaled(10)).code in (1006, 1008)
        conn.close()


def in_memory() -> None:
    """The timer of two ends in memory."""
    left, right = pair()
    right.perform("echo", lambda value: value)
    patiently(lambda: left.submit("echo", 1, timeout=scaled(5)).result(scaled(5)))
    assert left.call("echo", 2) == 2
    left.close()


def behind_a_proxy() -> None:
    """A proxy, which has a thread of its own."""
    server = patiently(lambda: serve(lambda conn, request: conn.perform("echo", lambda value: value)))
    with (
        server,
        patiently(lambda: FaultProxy("127.0.0.1", server.port)) as proxy,
        patiently(lambda: connect(proxy.url(), reconnect=QUICK, timeout=scaled(10))) as conn,
    ):
        assert patiently(lambda: conn.call("echo", 1)) == 1


STARTS = {traffic: 10, expiry: 4, in_memory: 1, behind_a_proxy: 4}
"""How many threads each scenario starts at least, so that it is one of threads."""

SCENARIOS = {"traffic": traffic, "expiry": expiry, "in memory": in_memory, "a proxy": behind_a_proxy}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_each_thread_is_refused_once(scenario: Callable[[], None], refusals: Refusals) -> None:
    """All of them, one after the other; the scenario is completed each time, and leaves nothing."""
    refusals.refuse(lambda number: False)
    scenario()
    count = len(refusals.names)
    assert count >= STARTS[scenario]
    for refused in range(count):
        refusals.refuse(lambda number, refused=refused: number == refused)  # type: ignore[misc]
        try:
            scenario()
        except BaseException as error:
            raise AssertionError(f"without thread {refused} of {refusals.names}") from error


@pytest.mark.stress
@pytest.mark.parametrize("row", range(2, whole(4, 9)))
def test_rows_of_threads_are_refused(row: int, refusals: Refusals) -> None:
    """A process that is out of threads for a while: from each thread on, several in a row."""
    refusals.refuse(lambda number: False)
    expiry()
    for first in range(len(refusals.names) + 1):
        refusals.refuse(lambda number, first=first: first < number <= first + row)  # type: ignore[misc]
        try:
            expiry()
        except (ResilientError, RuntimeError) as error:
            if "can't start new thread" not in str(error):
                raise


def test_events_and_calls_wait_for_a_worker(refusals: Refusals, caplog: pytest.LogCaptureFixture) -> None:
    """While there is none they are kept, then they run in order; the log has one line for the row of failures."""
    seen = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.observe("news", lambda message: seen(message.payload))
        conn.perform("echo", lambda value: value)

    with serve(handler, name="scarce") as server, connect(server.url, timeout=scaled(10)) as conn:
        conn.ping(scaled(5))
        eventually(lambda: conn.wait_idle(scaled(5)))
        is_scarce = True
        refusals.refuse(lambda number: is_scarce)
        for number in range(3):
            conn.notify("news", number)
        pending = conn.submit("echo", "kept", timeout=scaled(20))
        eventually(lambda: len(refusals.names) >= 4)
        assert seen.items == []
        assert not pending.done()
        is_scarce = False
        assert pending.result(scaled(10)) == "kept"
        assert seen.wait(3) == [0, 1, 2]
    # Of the server: the client may want a worker, too, for the call that it is about to send while the link opens.
    lines = [line for line in caplog.messages if line.startswith("scarce") and "cannot start a worker thread" in line]
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("thread", "options"),
    [
        ("-supervisor", {}),
        ("-supervisor", {"wait": False}),
        ("-token", {"token": lambda: "x"}),
        ("-poller", {}),
    ],
)
def test_connecting_without_threads_raises_an_error_of_ours(
    thread: str, options: dict[str, Any], refusals: Refusals
) -> None:
    """And nothing is left of the connection."""
    with serve(lambda conn, request: None) as server:
        refusals.refuse(lambda number: thread in refusals.names[-1])
        with pytest.raises(SocketConnectionError, match="can't start new thread"):
            connect(server.url, reconnect=None, timeout=scaled(5), **options)
        refusals.refuse(lambda number: False)
        eventually(lambda: not server.connections)
