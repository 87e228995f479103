"""Signals that interrupt no system call: the system gave them to another thread, or they came just before the call."""

from __future__ import annotations

import contextlib
import math
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import FrameType

import pytest

from owlsocket_sync import connect
from owlsocket_sync.deadline import Deadline, next_item
from owlsocket_sync.locks import MAX_WAIT, SIGNAL_INTERVAL, Condition, acquire_until, longest_wait
from owlsocket_sync.server import Request, ServerOptions, serve
from owlsocket_sync.server.adopted import AdoptedServer
from owlsocket_sync.transport.waiting import wait_ready
from support.helpers import scaled
from support.linked import aside, tcp_pair, within

LONG = 20.0
SOON = 2.0

Stack = contextlib.ExitStack


class Interrupted(BaseException):
    """Raised by the handler of the signal."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


@pytest.fixture
def strike() -> Iterator[Callable[[], None]]:
    """Return a function: another thread takes a signal as soon as this one, the main thread, waits."""
    main = threading.get_ident()
    is_over = threading.Event()
    threads: list[threading.Thread] = []

    def take() -> None:
        calm, before = 0, None
        while calm < 5 and not is_over.wait(0.01):
            frame = sys._current_frames()[main]
            place = frame.f_code, frame.f_lasti
            calm = calm + 1 if place == before else 0
            before = place
            del frame
        signal.pthread_kill(threading.get_ident(), signal.SIGALRM)

    def start() -> None:
        threads.append(threading.Thread(target=take))
        threads[0].start()

    handler = signal.signal(signal.SIGALRM, _interrupt)
    try:
        yield start
    finally:
        with contextlib.suppress(Interrupted):  # where the test failed before
            is_over.set()
            for thread in threads:
                thread.join()
        signal.signal(signal.SIGALRM, handler)


def _condition(stack: Stack, until: Deadline) -> None:
    lock = threading.RLock()
    with lock:
        until.wait_for(Condition(lock), lambda: False)


def _taken_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _thread(stack: Stack) -> threading.Thread:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    stack.callback(thread.join)
    stack.callback(end.set)
    return thread


def _queue(stack: Stack, until: Deadline) -> None:
    queue: SimpleQueue[None] = SimpleQueue()
    timer = threading.Timer(until.remaining(), queue.put, (None,))
    timer.start()
    stack.callback(timer.join)
    stack.callback(timer.cancel)
    next_item(queue)


def _socket(stack: Stack, until: Deadline) -> None:
    ours, _ = (stack.enter_context(end) for end in tcp_pair())
    with contextlib.suppress(TimeoutError):
        wait_ready([ours], [], until.at)


def _link(stack: Stack, until: Deadline) -> None:
    """Read, as under a web server that serves requests on its main thread."""
    ours, _ = (stack.enter_context(end) for end in tcp_pair())
    server = stack.enter_context(AdoptedServer(lambda conn, request: None, ServerOptions(heartbeat=None)))
    timer = threading.Timer(until.remaining(), ours.shutdown, (socket.SHUT_RDWR,))
    timer.start()
    stack.callback(timer.join)
    stack.callback(timer.cancel)
    server.serve_socket(ours, Request("/", {}, {}, ("127.0.0.1", 1)), None)


def _drain(stack: Stack, until: Deadline) -> None:
    end = threading.Event()
    server = stack.enter_context(serve(lambda conn, request: conn.perform("slow", end.wait) and None))
    conn = stack.enter_context(connect(server.url))
    stack.callback(end.set)
    conn.submit("slow", timeout=LONG)
    with contextlib.suppress(TimeoutError):
        conn.drain(until.remaining())


WAITS: dict[str, Callable[[Stack, Deadline], object]] = {
    "a condition": _condition,
    "a lock": lambda stack, until: until.acquire(_taken_lock()),
    "a lock, up to a moment": lambda stack, until: acquire_until(_taken_lock(), until.at),
    "the end of a thread": lambda stack, until: until.join(_thread(stack)),
    "a queue": _queue,
    "a socket": _socket,
    "a link that is read": _link,
    "calls of others": _drain,
}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system sends no signals to one thread")
@pytest.mark.parametrize("wait", WAITS)
def test_a_signal_that_another_thread_takes_ends_a_wait_of_the_main_thread(
    wait: str, strike: Callable[[], None]
) -> None:
    """Long before what is waited for; the system call goes on as if there had been no signal."""
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        strike()
        with pytest.raises(Interrupted):
            WAITS[wait](stack, within(LONG))
        assert time.monotonic() - began < scaled(SOON)


def test_only_the_main_thread_wakes_for_signals() -> None:
    """Python runs their handlers on no other one."""
    assert longest_wait() == SIGNAL_INTERVAL
    assert aside(longest_wait).wait(1) == [MAX_WAIT]


@pytest.mark.parametrize("seconds", [1e9, math.inf])
def test_a_long_wait_of_the_main_thread_is_many_short_ones(seconds: float) -> None:
    """Until one of them ends in time."""
    waits: list[float] = []
    assert Deadline(seconds).wait(lambda seconds: waits.append(seconds) or len(waits) == 3)
    assert waits == [SIGNAL_INTERVAL] * 3


def test_a_deadline_ends_the_last_wait_of_many() -> None:
    """Which is as long as the time that is left."""
    now, waits = [100.0], []

    def wait_once(seconds: float) -> bool:
        waits.append(seconds)
        now[0] += seconds
        return False

    assert not Deadline(2.5 * SIGNAL_INTERVAL, lambda: now[0]).wait(wait_once)
    assert waits == pytest.approx([SIGNAL_INTERVAL, SIGNAL_INTERVAL, SIGNAL_INTERVAL / 2])
