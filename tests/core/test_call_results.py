"""Many calls at once: in order, so many in flight, and none left when the iteration ends."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from owlsocket_sync import (
    CallResults,
    Connection,
    MissingExtra,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    connect,
)
from owlsocket_sync.server import Request
from owlsocket_sync.testing import FaultProxy
from support.helpers import Collector, eventually, scaled, whole
from support.pair import make_pair
from support.strikes import struck


class Far:
    """The handler of the server, which holds back answers and counts the calls that run at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.most = 0
        self.asked = Collector()
        self.gate = threading.Event()

    def __call__(self, conn: Connection, request: Request) -> None:
        """Serve a client."""
        conn.on_error(lambda error, context: None)
        conn.perform("echo", lambda value: self.asked(value) or value)
        conn.perform("add", lambda a, b: a + b)
        conn.perform("fail", self.fail)
        conn.perform("hold", self.hold)
        conn.perform("together", self.together)
        conn.perform("user", lambda name: {"name": name})

    def fail(self, number: int) -> int:
        """Refuse the number two."""
        if number == 2:
            raise ValueError("no twos")
        return number

    def hold(self, number: int) -> int:
        """Answer the call of zero after the gate has opened, and all others at once."""
        self.asked(number)
        if number == 0:
            self.gate.wait(scaled(20))
        return number

    def together(self, number: int) -> int:
        """Count the calls that run at once."""
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.gate.wait(0.001)
        with self.lock:
            self.running -= 1
        return number


@pytest.fixture
def far() -> Iterator[Far]:
    """The handler of the server."""
    far = Far()
    yield far
    far.gate.set()


@pytest.fixture
def owlsocket_handler(far: Far) -> Callable[[Connection, Request], object]:
    """The handler of the server, for the fixture of the server."""
    return far


@pytest.fixture
def conn(owlsocket_connection: Connection) -> Connection:
    """A connection to that server."""
    owlsocket_connection.default_call_timeout = scaled(10)
    return owlsocket_connection


class Counted:
    """An endless iterable that knows how far it was read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[int]:
        for number in itertools.count():
            self.read += 1
            yield number


def test_results_are_in_the_order_of_the_arguments(conn: Connection, far: Far) -> None:
    """Also if they were answered in another one."""
    results = conn.map("hold", range(10), parallel=10)
    far.asked.wait(10)
    far.gate.set()
    assert list(results) == list(range(10))
    assert list(results) == []


def test_many_more_calls_than_may_be_in_flight(conn: Connection) -> None:
    """By default as well."""
    assert list(conn.map("echo", range(500))) == list(range(500))
    assert list(conn.map("echo", iter(range(50)), parallel=1)) == list(range(50))
    assert list(conn.map("echo", [])) == []


def test_no_more_than_parallel_calls_are_in_flight(conn: Connection, far: Far) -> None:
    """However many there are."""
    assert list(conn.map("together", range(60), parallel=3)) == list(range(60))
    assert 1 <= far.most <= 3


def test_the_first_calls_are_sent_at_once(conn: Connection, far: Far) -> None:
    """Before a result is asked for, as an executor does; and no more than may be in flight."""
    with conn.map("echo", Counted(), parallel=5):
        assert sorted(far.asked.wait(5)) == [0, 1, 2, 3, 4]
    conn.call("echo", "last")
    assert len(far.asked.items) == 6


def test_an_endless_iterable_is_read_as_results_are_taken(conn: Connection) -> None:
    """At any moment, no more than ``parallel`` items are read whose results were not taken."""
    numbers, taken, ahead = Counted(), 0, []
    with conn.map("echo", numbers, parallel=4) as results:
        for result in results:
            ahead.append(numbers.read - taken)
            assert result == taken
            taken += 1
            if taken == 100:
                break
    assert max(ahead) <= 4
    assert numbers.read <= 104


def test_a_slow_call_holds_up_reading(conn: Connection, far: Far) -> None:
    """The results behind it wait in memory, so there are not more of them than calls in flight."""
    numbers = Counted()
    with conn.map("hold", numbers, parallel=4) as results, ThreadPoolExecutor(1) as threads:
        first = threads.submit(next, results)
        far.asked.wait(4)
        eventually(lambda: conn.stats.pending == 1)
        assert (numbers.read, first.done()) == (4, False)
        far.gate.set()
        assert first.result(scaled(5)) == 0


@pytest.mark.parametrize("way", ["close", "forget", "error"])
def test_leaving_the_iteration_cancels_what_is_in_flight(conn: Connection, way: str) -> None:
    """However it is left."""
    results = conn.map("hold", itertools.chain([1], itertools.repeat(0)), parallel=3)
    assert next(results) == 1
    assert conn.stats.pending > 0
    if way == "close":
        with closing(results):
            pass
    elif way == "error":
        with pytest.raises(KeyError), results:
            raise KeyError
    else:
        del results
    assert conn.stats.pending == 0


def test_a_loop_that_is_left_cancels_what_is_in_flight(conn: Connection) -> None:
    """The iterator is forgotten with the loop."""
    for result in conn.map("hold", itertools.chain([1], itertools.repeat(0)), parallel=3):
        assert result == 1
        break
    assert conn.stats.pending == 0


def test_an_error_is_raised_in_the_place_of_its_result(conn: Connection) -> None:
    """After the results before it; it ends the iteration, and no call is pending."""
    results = conn.map("fail", itertools.count(), parallel=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ResilientError, match="ValueError: no twos"):
        next(results)
    assert conn.stats.pending == 0
    assert list(results) == []


def test_errors_are_returned_where_that_is_asked_for(conn: Connection) -> None:
    """Each in the place of its result; the iteration goes on."""
    results = list(conn.map("fail", range(5), errors="return"))
    assert [results[0], results[1], results[3], results[4]] == [0, 1, 3, 4]
    assert isinstance(results[2], ResilientError)
    assert "no twos" in str(results[2])


def test_an_argument_that_cannot_be_sent_fails_alone(conn: Connection) -> None:
    """In its place."""
    results = conn.map("echo", [1, object(), 3], errors="return")
    first, refused, last = results
    assert (first, last) == (1, 3)
    assert isinstance(refused, SocketMessageMalformed)
    with pytest.raises(SocketMessageMalformed):
        list(conn.map("echo", [object()]))


def test_an_error_of_the_iterable_is_raised_behind_the_results(conn: Connection) -> None:
    """Those of the arguments that came before it."""

    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("no more")

    results = conn.map("echo", numbers(), errors="return")
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(KeyError, match="no more"):
        next(results)
    assert list(results) == []


@pytest.mark.parametrize("errors", ["raise", "return"])
def test_the_timeout_holds_for_all_calls_together(conn: Connection, errors: Any) -> None:
    """It ends the iteration, also where errors are returned; nothing is left pending."""
    results = conn.map("hold", [1, 0, 2], timeout=scaled(0.2), errors=errors)
    assert next(results) == 1
    with pytest.raises(SocketTimeout, match=r"the calls did not end within .* s; 1 results came before"):
        next(results)
    assert conn.stats.pending == 0
    assert list(results) == []


def test_a_timeout_ends_an_endless_row_of_calls(conn: Connection) -> None:
    """What takes no time each takes no time together, and still has an end."""
    numbers = Counted()
    with pytest.raises(SocketTimeout, match=r"the calls did not end within 0\.1 s"):
        for _ in conn.map("echo", numbers, timeout=0.1, parallel=2, errors="return"):
            pass
    assert conn.stats.pending == 0
    assert numbers.read > 0


def test_results_in_time_are_handed_out_after_the_timeout(conn: Connection) -> None:
    """Nothing that has come is lost, and an iteration that is complete does not fail."""
    results = conn.map("echo", [1, 2, 3], timeout=scaled(1))
    eventually(lambda: conn.stats.pending == 0)
    results._deadline.at = time.monotonic()
    assert list(results) == [1, 2, 3]


def test_a_deadline_block_is_a_timeout(conn: Connection) -> None:
    """The sooner one of both holds."""
    with pytest.raises(SocketTimeout, match=r"the calls did not end within 0\.1 s"), conn.deadline(0.1):
        list(conn.map("hold", [0], timeout=scaled(20), errors="return"))


def test_each_call_has_the_timeout_of_the_connection(conn: Connection) -> None:
    """Without a timeout of the whole, an error like others."""
    conn.default_call_timeout = 0.1
    late, result = conn.map("hold", [0, 1], errors="return")
    assert isinstance(late, SocketTimeout)
    assert "call 'hold' was not answered within 0.1 s" in str(late)
    assert result == 1


def test_a_lost_link_fails_what_is_in_flight_at_once(owlsocket_server: Any) -> None:
    """Later calls take the next link."""
    with FaultProxy("127.0.0.1", owlsocket_server.port) as proxy, connect(proxy.url()) as conn:
        results = conn.map("hold", [0, 0, 1, 2], parallel=2, errors="return")
        eventually(lambda: conn.stats.pending == 2)
        proxy.cut()
        lost = [next(results), next(results)]
        assert [type(error) for error in lost] == [SocketConnectionError] * 2
        assert list(results) == [1, 2]


def test_calls_that_may_run_twice_are_sent_again(owlsocket_server: Any, far: Far) -> None:
    """On the next link, if ``retry`` says so."""
    with FaultProxy("127.0.0.1", owlsocket_server.port) as proxy, connect(proxy.url()) as conn:
        results = conn.map("hold", [0, 1, 2], retry=True)
        far.asked.wait(3)
        proxy.cut()
        far.gate.set()
        assert list(results) == [0, 1, 2]


@dataclass
class User:
    """A result."""

    name: str


def test_results_are_converted(conn: Connection) -> None:
    """Each to the type that was asked for, which a type checker knows."""
    users: CallResults[User] = conn.map("user", ["ada", "bob"], result_type=User)
    assert [user.name for user in users] == ["ada", "bob"]
    outcomes = list(conn.map("add", [1], result_type=User, errors="return"))
    assert [isinstance(outcome, ResilientError) for outcome in outcomes] == [True]


def test_an_item_is_one_argument(conn: Connection) -> None:
    """A tuple is one as well, unless it is to be unpacked."""
    assert list(conn.map("echo", [(1, 2), [3]])) == [[1, 2], [3]]
    assert list(conn.map("add", [(1, 2), [3, 4]], unpack=True)) == [3, 7]
    refused, result = conn.map("add", [5, (1, 2)], unpack=True, errors="return")
    assert isinstance(refused, TypeError)
    assert result == 3


def test_a_function_hears_of_the_progress(conn: Connection) -> None:
    """With each result; the total is known for what has a length."""
    heard: list[tuple[int, int | None]] = []
    results = conn.map("echo", [1, 2, 3], progress=lambda done, total: heard.append((done, total)))
    assert (next(results), heard) == (1, [(1, 3)])
    assert (list(results), heard) == ([2, 3], [(1, 3), (2, 3), (3, 3)])
    heard.clear()
    list(conn.map("echo", iter([1]), progress=lambda done, total: heard.append((done, total))))
    assert heard == [(1, None)]


def test_a_bar_shows_the_progress(conn: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """With the name of the method, on stderr."""
    pytest.importorskip("tqdm")
    assert list(conn.map("echo", range(7), progress=True)) == list(range(7))
    shown = capsys.readouterr().err
    assert ("echo" in shown, "7/7" in shown) == (True, True)


def test_a_bar_without_its_library_says_what_to_install(
    conn: Connection, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a call is sent."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(MissingExtra, match=r"python -m pip install tqdm.*, or pass a function \(done, total\)"):
        conn.map("echo", [1], progress=True)
    assert conn.call("echo", 2) == 2
    assert far.asked.items == [2]


def test_an_interrupt_cancels_what_is_in_flight(conn: Connection) -> None:
    """The iteration is over."""

    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    results = conn.map("hold", [1, 0, 0], progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert conn.stats.pending == 0
    assert list(results) == []


def test_closing_ends_the_wait_of_another_thread(conn: Connection) -> None:
    """As at the end of the results."""
    results = conn.map("hold", [0, 0])
    with ThreadPoolExecutor(1) as threads:
        rest = threads.submit(list, results)
        eventually(lambda: results._core().waits.is_awaiting())
        results.close()
        assert rest.result(scaled(5)) == []
    assert conn.stats.pending == 0


def test_closing_the_connection_ends_the_wait(conn: Connection) -> None:
    """With the error that the calls in flight get."""
    results = conn.map("hold", [0, 0])
    with ThreadPoolExecutor(1) as threads:
        rest = threads.submit(list, results)
        eventually(lambda: results._core().waits.is_awaiting())
        conn.close()
        assert isinstance(rest.exception(scaled(5)), SocketConnectionError)
    with pytest.raises(SocketConnectionError):
        conn.map("echo", [1])


def test_a_handler_makes_many_calls(owlsocket_server: Any) -> None:
    """Also the only one that may run: its place is free while it waits."""
    with connect(owlsocket_server.url, workers=1) as conn:
        seen = Collector()
        conn.perform("sum", lambda: sum(conn.map("echo", range(100), timeout=scaled(10))))
        [peer] = owlsocket_server.connections
        for _ in range(3):
            peer.submit("sum").add_done_callback(lambda future: seen(future.result()))
        assert seen.wait(3) == [4950] * 3


def test_a_batch_is_sent_before_the_wait() -> None:
    """The calls are part of it."""
    left, right, carrier, _ = make_pair()
    right.perform("double", lambda number: 2 * number)
    with left.batch():
        results = left.map("double", [1, 2, 3])
        assert carrier.writes == 0
        assert list(results) == [2, 4, 6]
        assert carrier.writes == 1


MISTAKES: list[tuple[type[Exception], Callable[[Any], Any], str]] = [
    (TypeError, lambda conn: conn.map(5, []), "method must be text, not int"),
    (TypeError, lambda conn: conn.map("m", 5), "arguments must be an iterable with one argument for each call"),
    (TypeError, lambda conn: conn.map("m", "text"), "arguments must be an iterable .* not str"),
    (TypeError, lambda conn: conn.map("m", [], result_type="int"), "'int' is neither a type nor a callable"),
    (TypeError, lambda conn: conn.map("m", [], progress="yes"), "progress must be True, False or a function"),
    (ValueError, lambda conn: conn.map("m", [], parallel=0), "parallel must be a whole number, 1 or more, not 0"),
    (ValueError, lambda conn: conn.map("m", [], parallel=True), "parallel must be a whole number"),
    (ValueError, lambda conn: conn.map("m", [], parallel=2.5), "parallel must be a whole number"),
    (ValueError, lambda conn: conn.map("m", [], errors="ignore"), 'errors must be "raise" or "return", not \'ignore\''),
    (ValueError, lambda conn: conn.map("m", [], timeout=-1), "timeout must be a number of seconds"),
]


@pytest.mark.parametrize(("kind", "mistake", "words"), MISTAKES, ids=[words[:40] for _, _, words in MISTAKES])
def test_a_mistake_raises_at_once(kind: type[Exception], mistake: Callable[[Any], Any], words: str) -> None:
    """Before anything is sent."""
    left, _, carrier, _ = make_pair()
    with pytest.raises(kind, match=words):
        mistake(left)
    assert carrier.sent == []


def test_a_signal_handler_may_call_wherever_it_interrupts_the_iteration(conn: Connection) -> None:
    """Both get what they ask for."""
    seen: list[Any] = []
    for at in range(0, 10_000, whole(29, 1)):
        came_to_it = struck(
            at,
            lambda: seen.append(list(conn.map("echo", range(3), parallel=2))),
            lambda: seen.append(conn.call("echo", "signal")),
        )
        # The last point is that after the list was noted.
        assert sorted(seen, key=str) == ([[0, 1, 2], "signal"] if came_to_it else [[0, 1, 2]])
        seen.clear()
        if not came_to_it:
            break
    assert conn.stats.pending == 0
