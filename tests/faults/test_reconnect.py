"""How a connection comes back: through one backoff whatever went wrong, spread out, and without leaving anything."""

from __future__ import annotations

import gc
import logging
import random
import socket
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import accumulate, pairwise

import pytest

from conftest import descriptors
from owlsocket_sync import Backoff, Connection, ConnectionState, SocketConnectionError, SocketTimeout, connect
from owlsocket_sync.server import serve
from owlsocket_sync.testing import FaultProxy
from support.behind_proxy import LATE, SOON, path
from support.figures import Figure
from support.handlers import echo
from support.helpers import Collector, eventually, scaled, whole
from support.linked import aside
from support.sockets import ByteServer, RawPeer, close_frame, free_port, full_port

pytestmark = pytest.mark.slow

# -- one backoff for everything ----------------------------------------------------------------------------------------


@contextmanager
def _unknown_host(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "the resolver is down")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", fail)
        yield


@contextmanager
def _refused(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield


def _playing(script: Callable[[RawPeer], object]) -> Callable[[int, pytest.MonkeyPatch], ByteServer]:
    return lambda port, monkeypatch: ByteServer(script, port=port)


def _answer_503(peer: RawPeer) -> None:
    peer.read_header()
    peer.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


def _drop_after_the_upgrade(peer: RawPeer) -> None:
    peer.upgrade()
    peer.reset()


OUTAGES: dict[str, Callable[[int, pytest.MonkeyPatch], AbstractContextManager[object]]] = {
    "DNS": _unknown_host,
    "refused": _refused,
    "end before the upgrade": _playing(lambda peer: None),
    "no HTTP": _playing(lambda peer: peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")),
    "upgrade refused": _playing(_answer_503),
    "drop after the upgrade": _playing(_drop_after_the_upgrade),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_row_16_and_17_every_outage_goes_through_one_backoff(
    outage: str, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """The waits grow from attempt to attempt, flapping links included; it is back once the outage is over."""
    port, moments = free_port(), Collector()
    backoff = Backoff(initial=0.05, factor=2.0, cap=0.4, jitter="none", healthy_after=10.0)

    def url() -> str:
        moments(time.monotonic())
        return f"ws://127.0.0.1:{port}"

    server = serve(echo, port=port)
    conn = connect(url, reconnect=backoff)
    try:
        assert conn.call("echo", 1) == 1
        server.close()
        with OUTAGES[outage](port, monkeypatch):
            eventually(lambda: conn.state is ConnectionState.RECONNECTING)
            at = moments.wait(6)[1:]
        waits = [after - before for before, after in pairwise(at)]
        short = max(expected - waited for waited, expected in zip(waits, [0.1, 0.2, 0.4, 0.4], strict=True))
        figure("an attempt before its time", max(0.0, short), 0.02, "s")
        with serve(echo, port=port):
            # Where links came up and broke at once, one may look open that was reset already.
            assert conn.call("echo", 2, timeout=scaled(5), retry=True) == 2
    finally:
        conn.close()


@pytest.mark.parametrize("code", [1001, 1012, 1013])
def test_a_server_that_asks_for_a_spread_gets_it(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going away, restarting and overloaded: clients wait at least what they drew from twice the first backoff."""
    spans, moments = Collector(), Collector()

    def draw(low: float, high: float) -> float:
        spans(low, high)
        return high

    monkeypatch.setattr(random, "uniform", draw)

    def script(peer: RawPeer) -> None:
        moments(time.monotonic())
        peer.upgrade()
        if len(moments.items) == 1:
            peer.send(close_frame(code, "later"))
        peer.at_end()

    backoff = Backoff(initial=0.2, factor=2.0, jitter="none")
    with ByteServer(script) as server, connect(server.url, reconnect=backoff):
        first, second = moments.wait(2)
    assert spans.items == [(0.0, 0.4)]
    assert second - first >= 0.4


# -- earlier for who waits ---------------------------------------------------------------------------------------------

WAITS: dict[str, Callable[[Connection], object]] = {
    "call": lambda conn: conn.call("echo", 1, timeout=scaled(5)),
    "submit": lambda conn: conn.submit("echo", 1, timeout=scaled(5)).result(),
    "notify": lambda conn: _within(conn, lambda: conn.notify("news")),
    "enqueue": lambda conn: _within(conn, lambda: conn.enqueue("letter")),
    "request": lambda conn: _within(conn, lambda: conn.request("question")),
    "ping": lambda conn: conn.ping(timeout=scaled(5)),
    "wait_open": lambda conn: conn.wait_open(timeout=scaled(5)),
}


def _within(conn: Connection, send: Callable[[], object]) -> object:
    with conn.deadline(scaled(5)):
        return send()


class Outage:
    """A server that can be away; the URL of a client that has to find it.

    Attributes:
        moments: when the client asked for the URL.
    """

    def __init__(self, url: str) -> None:
        self.moments = Collector()
        self._url = url
        self._away = threading.Event()

    def __call__(self) -> str:
        # Decided before the moment is noted: who sees the moment knows that this attempt fails.
        is_away = self._away.is_set()
        self.moments(time.monotonic())
        if is_away:
            raise ConnectionRefusedError("the server is away")
        return self._url

    def begin(self, proxy: FaultProxy) -> None:
        """Cut the link, and return once the first attempt has failed: a pause of a minute follows."""
        self._away.set()
        proxy.cut()
        self.moments.wait(2)

    def end(self) -> None:
        """Be back."""
        self._away.clear()


@contextmanager
def _before_an_outage(initial: float = 0.1) -> Iterator[tuple[Connection, FaultProxy, Outage]]:
    backoff = Backoff(initial=initial, factor=60.0 / initial, cap=60.0, jitter="none")
    with serve(echo) as server, FaultProxy("127.0.0.1", server.port) as proxy:
        outage = Outage(proxy.url())
        with connect(outage, reconnect=backoff) as conn:
            yield conn, proxy, outage


@pytest.mark.parametrize("verb", WAITS)
def test_who_waits_for_a_link_gets_an_attempt(verb: str) -> None:
    """Once the server is back, although the backoff would last for another minute."""
    with _before_an_outage() as (conn, proxy, outage):
        outage.begin(proxy)
        outage.end()
        WAITS[verb](conn)
        assert conn.state is ConnectionState.OPEN


def test_a_call_that_may_be_sent_again_gets_an_attempt() -> None:
    """It was pending when the link was lost, and waits for the next one."""
    with _before_an_outage() as (conn, proxy, outage):
        proxy.blackhole(direction="downstream")
        pending = conn.submit("echo", 1, timeout=scaled(20), retry=True)
        eventually(lambda: conn.stats.messages_out == 1)
        outage.begin(proxy)
        proxy.clear()
        outage.end()
        assert pending.result() == 1


def test_all_who_wait_share_one_attempt_per_initial() -> None:
    """However many threads call, and whatever their timeouts: without them, there is none."""
    with _before_an_outage(initial=0.3) as (conn, proxy, outage):
        outage.begin(proxy)
        waits = [aside(lambda: conn.call("echo", 1, timeout=1.5)) for _ in range(20)]
        assert all(isinstance(wait.wait(1)[0], SocketTimeout) for wait in waits)
        at = list(outage.moments.items)
        assert 3 <= len(at) <= 8
        assert all(after - before >= 0.3 for before, after in pairwise(at[1:]))
        assert not threading.Event().wait(0.5)
        assert len(outage.moments.items) - len(at) <= 1


def test_who_waits_does_not_overrule_the_server(figure: Figure) -> None:
    """One that asks for a pause gets it."""
    moments = Collector()

    def script(peer: RawPeer) -> None:
        moments(time.monotonic())
        peer.read_header()
        peer.send(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")

    backoff = Backoff(initial=0.02, jitter="none")
    with ByteServer(script) as server, connect(server.url, wait=False, reconnect=backoff) as conn:
        waiting = conn.submit("echo", 1, timeout=scaled(10))
        first, second = moments.wait(2)[:2]
        figure("an attempt before the end of Retry-After", max(0.0, 1.0 - (second - first)), 0.02, "s")
        waiting.cancel()


# -- from any thread, in any state -------------------------------------------------------------------------------------


def _silent(peer: RawPeer) -> None:
    peer.upgrade()
    peer.at_end()


@contextmanager
def _in_state(state: str) -> Iterator[Connection]:
    """A connection that is connecting, open to a silent peer, in a backoff, authenticating or closed."""
    with ExitStack() as stack:
        if state == "connecting":
            conn = connect(f"ws://127.0.0.1:{stack.enter_context(full_port())}", wait=False)
        elif state == "backoff":
            server = stack.enter_context(ByteServer(lambda peer: None))
            conn = connect(server.url, wait=False, reconnect=LATE)
            eventually(lambda: server.accepted)
        else:
            go = threading.Event()
            stack.callback(go.set)
            auth = (lambda conn: go.wait(scaled(10))) if state == "authenticating" else None
            server = stack.enter_context(ByteServer(_silent))
            conn = connect(server.url, wait=state != "authenticating", auth=auth)
            if state == "closed":
                conn.close(timeout=0.0)
        stack.callback(conn.close, timeout=0.0)
        yield conn


@pytest.mark.timing
@pytest.mark.parametrize("verb", ["reconnect", "close", "drain"])
@pytest.mark.parametrize("state", ["connecting", "open", "backoff", "authenticating", "closed"])
def test_whoever_asks_for_an_end_has_it_in_time(state: str, verb: str, figure: Figure) -> None:
    """From a thread of its own and from two at once: each returns within its deadline, whatever the peer does."""
    limits = {"reconnect": 1.0, "close": 0.5, "drain": 0.5}
    with _in_state(state) as conn:
        verbs: dict[str, Callable[[], object]] = {
            "reconnect": conn.reconnect,
            "close": lambda: conn.close(timeout=0.5),
            "drain": lambda: conn.drain(timeout=0.5),
        }
        began = time.monotonic()
        outcomes = [aside(verbs[verb]) for _ in range(2)]
        for outcome in outcomes:
            came = outcome.wait(1)[0]
            assert came is None or isinstance(came, (SocketConnectionError, SocketTimeout)), came
        figure(f"{verb} while {state}", time.monotonic() - began, limits[verb] + scaled(0.3), "s")
        if verb != "reconnect":
            assert conn.wait_closed(scaled(2))


# -- many clients ------------------------------------------------------------------------------------------------------

OUTAGE = 30.0


def test_row_15_clients_reconnect_spread_out_after_a_restart(figure: Figure) -> None:
    """Over an outage of 30 s, no tenth of a second holds more than 5 % of the attempts of 20 000 clients."""
    dice, backoff, buckets = random.Random(15), Backoff(), Counter[int]()
    for _ in range(20_000):
        waits = (backoff.delay(attempt, dice) or 0.0 for attempt in range(1, 1000))
        for at in accumulate(waits):
            buckets[int(at * 10)] += 1
            if at > OUTAGE:
                break
    figure("attempts in the fullest tenth of a second", 100 * max(buckets.values()) / buckets.total(), 5.0, "%")


@pytest.mark.stress
@pytest.mark.timeout(200)
def test_row_15_clients_survive_an_outage(figure: Figure, caplog: pytest.LogCaptureFixture) -> None:
    """200 clients and 30 s in the whole form: all are back within the cap + 2 s after the server is."""
    caplog.set_level(logging.CRITICAL)
    clients, outage = whole(30, 200), whole(1.0, OUTAGE)
    backoff = whole(Backoff(cap=1.0), Backoff())
    with serve(echo) as server, FaultProxy("127.0.0.1", server.port) as proxy, ExitStack() as stack:
        conns = [connect(proxy.url(), reconnect=backoff, heartbeat=None) for _ in range(clients)]
        for conn in conns:
            stack.callback(conn.close)
        proxy.refuse()
        proxy.cut()
        eventually(lambda: all(conn.state is ConnectionState.RECONNECTING for conn in conns))
        assert not server.wait(outage)
        proxy.refuse(False)
        began = time.monotonic()
        for conn in conns:
            conn.wait_open(backoff.cap + scaled(10))
        figure("all clients were back after", time.monotonic() - began, backoff.cap + scaled(2), "s")
        assert [conn.call("echo", number) for number, conn in enumerate(conns)] == list(range(clients))


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_row_20_reconnects_leave_no_resources(secure: bool, figure: Figure, caplog: pytest.LogCaptureFixture) -> None:
    """1 000 forced reconnects in the whole form: no thread, no descriptor, no memory, no warning is left."""
    caplog.set_level(logging.CRITICAL, "owlsocket_sync")  # what is logged is kept, and would count
    rounds = whole(40, 1000)
    with path(secure=secure) as (conn, proxy, server):

        def turn(number: int) -> None:
            before = conn.stats.reconnects
            proxy.cut() if number % 2 else proxy.reset()
            eventually(lambda: conn.stats.reconnects > before and conn.state is ConnectionState.OPEN)
            assert conn.call("echo", number, timeout=scaled(5)) == number

        for number in range(10):
            turn(number)
        eventually(lambda: len(server.connections) == 1)
        gc.collect()
        threads, opened = threading.active_count(), len(descriptors())
        tracemalloc.start()
        try:
            for number in range(10):
                turn(number)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for number in range(rounds):
                turn(number)
            eventually(lambda: len(server.connections) == 1)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        eventually(lambda: threading.active_count() <= threads and len(descriptors()) <= opened)
        if sys.gettrace() is None:  # a measurement of coverage keeps some memory for each thread that there was
            figure(f"memory after {rounds} reconnects", grown / 1024, 256, "KiB")
        assert conn.stats.pending == 0


def test_only_the_newest_link_counts() -> None:
    """What belongs to a link that is gone, an answer above all, is never sent on the next one."""
    go, done = threading.Event(), Collector()

    def handler(conn: Connection, request: object) -> None:
        conn.perform("echo", lambda value: value)
        conn.observe("ask", lambda message: done(aside(lambda: conn.call("slow", timeout=5)).wait(1, 10)[0]))

    with path(handler, reconnect=SOON) as (conn, proxy, _):
        conn.perform("slow", lambda: go.wait(scaled(10)) and "answer")
        conn.notify("ask")
        eventually(lambda: conn.stats.messages_in == 1)
        proxy.cut()
        eventually(lambda: conn.stats.reconnects == 1 and conn.state is ConnectionState.OPEN)
        go.set()
        assert isinstance(done.wait(1)[0], SocketConnectionError)
        eventually(lambda: conn.stats.dropped == 1)
        assert conn.call("echo", 1) == 1
