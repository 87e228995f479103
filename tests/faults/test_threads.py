"""Many threads do everything at once on one connection, over a network that is cut every second."""

from __future__ import annotations

import faulthandler
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed

import pytest

from owlsocket_sync import Backoff, Connection, SocketConnectionError, connect
from owlsocket_sync.server import Request, serve
from owlsocket_sync.testing import FaultProxy
from support.helpers import Collector, eventually, scaled, whole

THREADS = 32
PATIENCE = 30.0


def serve_everything(conn: Connection, request: Request) -> None:
    """Answers calls and requests, and sends events and messages where it is asked to."""

    @conn.acknowledge
    def count(id: str, payload: object) -> bool:
        for number in range(5):
            conn.reply(id, [payload, number])
        return True

    conn.perform("echo", lambda value: value)
    conn.perform("poke", lambda event, value: conn.notify(event, value))
    conn.perform("fill", lambda value: conn.enqueue(value))


class Worker:
    """One of the threads: does one thing after another, and notes each outcome that is neither right nor reported."""

    def __init__(self, conn: Connection, number: int, wrong: list[object]) -> None:
        self._conn = conn
        self._number = number
        self._wrong = wrong
        self._tokens = (f"{number}-{k}" for k in itertools.count())
        self.done = 0
        self.lost = 0

    def run(self, until: float) -> None:
        """Go on until then; every thread begins with another thing."""
        deeds = itertools.islice(itertools.cycle(DEEDS), self._number, None)
        while time.monotonic() < until:
            deed = next(deeds)
            token = next(self._tokens)
            try:
                got = deed(self._conn, token)
            except SocketConnectionError:
                self.lost += 1  # the link was cut, and we were told
            except BaseException as error:
                self._wrong.append((deed.__name__, token, error))
            else:
                self.done += 1
                if got != token:
                    self._wrong.append((deed.__name__, token, got))


def call(conn: Connection, token: str) -> object:
    """One answer."""
    return conn.call("echo", token)


def submit(conn: Connection, token: str) -> object:
    """Several answers at once, each to its own future."""
    futures: dict[Future[object], int] = {conn.submit("echo", [token, k]): k for k in range(5)}
    answers = {futures[future]: future.result(0) for future in as_completed(futures, scaled(PATIENCE))}
    return token if answers == {k: [token, k] for k in range(5)} else answers


def notify(conn: Connection, token: str) -> object:
    """Nobody answers."""
    conn.notify("noise", token)
    return token


def observe(conn: Connection, token: str) -> object:
    """An event that was sent before an answer that came has come as well; then nobody observes it any more."""
    seen = Collector()
    with conn.observe(token, seen):
        conn.call("poke", token, token)
        return seen.wait(1, PATIENCE)[0].payload


def pull(conn: Connection, token: str) -> object:
    """The same, in the own thread."""
    with conn.events(token, timeout=scaled(PATIENCE)) as coming:
        conn.call("poke", token, token)
        return next(coming).payload


def stream(conn: Connection, token: str) -> object:
    """The first three of five responses, in order."""
    got: list[object] = []
    with conn.stream(token, timeout=scaled(PATIENCE)) as responses:
        for response in responses:
            got.append(response)
            if len(got) == 3:
                break
    return token if got == [[token, k] for k in range(3)] else got


def request(conn: Connection, token: str) -> object:
    """The same by an observer, which is told nothing more once it has said so."""
    got: list[object] = []
    enough = threading.Event()

    def take(payload: object) -> bool:
        got.append(payload)
        if len(got) == 3:
            enough.set()
        return len(got) < 3

    subscription = conn.request(token, take)
    eventually(lambda: enough.is_set() or not subscription.active, PATIENCE)
    if not enough.is_set():
        raise SocketConnectionError("on_error was told")
    return token if got == [[token, k] for k in range(3)] else got


def consume(conn: Connection, token: str) -> object:
    """A message that was put on the queue before an answer that came is there."""
    conn.call("fill", token)
    taken = conn.consume(lambda payload: payload == token, timeout=scaled(PATIENCE))
    return taken and taken.payload


def enqueue(conn: Connection, token: str) -> object:
    """Nobody answers."""
    conn.enqueue(token)
    return token


def batch(conn: Connection, token: str) -> object:
    """Calls that leave together."""
    with conn.batch():
        futures = [conn.submit("echo", token) for _ in range(3)]
    answers = {future.result(scaled(PATIENCE)) for future in futures}
    return token if answers == {token} else answers


def deadline(conn: Connection, token: str) -> object:
    """Two calls under one deadline."""
    with conn.deadline(scaled(PATIENCE)):
        assert conn.call("echo", token) == token
        return conn.call("echo", token)


def ping(conn: Connection, token: str) -> object:
    """A sign of life."""
    assert conn.ping() >= 0
    return token


DEEDS: list[Callable[[Connection, str], object]] = [
    call, submit, notify, observe, pull, stream, request, consume, enqueue, batch, deadline, ping,
]  # fmt: skip


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads give way a thousand times as often, and all stacks are shown when nothing moves any more."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    faulthandler.dump_traceback_later(scaled(whole(60, 150)), file=2)
    yield
    faulthandler.cancel_dump_traceback_later()
    sys.setswitchinterval(interval)


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("frequent_switches")
def test_everything_at_once_over_a_network_that_is_cut() -> None:
    """32 threads: no wrong answer, none lost that was not reported, nobody stuck, and nothing pending at the end."""
    wrong: list[object] = []
    backoff = Backoff(initial=0.02, cap=0.1)
    with (
        serve(serve_everything) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        connect(proxy.url(), reconnect=backoff, call_timeout=scaled(PATIENCE)) as conn,
    ):
        errors = Collector()
        conn.on_error(lambda error, context: errors((context.source, type(error))))
        until = time.monotonic() + whole(3.0, 30.0)
        workers = [Worker(conn, number, wrong) for number in range(THREADS)]
        threads = [threading.Thread(target=worker.run, args=(until,)) for worker in workers]
        for thread in threads:
            thread.start()
        over, cuts = threading.Event(), 0
        while not over.wait(max(0.0, min(1.0, until - time.monotonic()))) and time.monotonic() < until:
            conn.wait_open(scaled(PATIENCE))
            proxy.cut() if cuts % 3 < 2 else conn.reconnect()
            cuts += 1
        for thread in threads:
            thread.join(scaled(2 * PATIENCE))
        assert not any(thread.is_alive() for thread in threads)
        assert wrong == []
        assert all(worker.done for worker in workers)
        assert conn.stats.pending == 0
        assert conn.call("echo", "whole", retry=True) == "whole"
        assert conn.stats.reconnects >= cuts > 0
        assert {source for source, _ in errors.items} <= {"request"}
        eventually(lambda: len(server.connections) == 1)
        assert server.connections[0].stats.pending == 0
