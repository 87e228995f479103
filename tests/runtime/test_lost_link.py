"""The end of a link: its pending calls fail first, whatever holds up the rest of what follows from it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from owlsocket_sync import Backoff, Connection, ConnectionState, SocketConnectionError, connect
from owlsocket_sync.server import Request, serve
from owlsocket_sync.testing import FaultProxy
from support.helpers import Collector, eventually, scaled
from support.linked import aside

LATE = Backoff(initial=60.0, cap=60.0, jitter="none")
QUICK = Backoff(initial=0.02, factor=1.0, cap=0.02, jitter="none", healthy_after=0.0)


class HeldLog(logging.Handler):
    """A log handler that is held up by each change to a state, until it is let go."""

    def __init__(self, state: ConnectionState) -> None:
        super().__init__()
        self._state = state.value
        self.entered, self.go = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Wait."""
        if getattr(record, "owlsocket_state", None) == self._state:
            self.entered.set()
            assert self.go.wait(scaled(20))


@contextmanager
def held_log(state: ConnectionState) -> Iterator[HeldLog]:
    """A log handler of the package that is let go at the end."""
    handler, logger = HeldLog(state), logging.getLogger("owlsocket_sync")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        handler.go.set()
        logger.removeHandler(handler)


@contextmanager
def held_writer(link: Any) -> Iterator[None]:
    """A thread that writes and does not leave the link meanwhile; it does not wait for the peer, which frees locks."""
    entered, go = threading.Event(), threading.Event()

    def write() -> None:
        with link._writer.lock:
            entered.set()
            assert go.wait(scaled(20))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert entered.wait(scaled(5))
        yield
    finally:
        go.set()
        thread.join(scaled(5))


@contextmanager
def _proxied(reconnect: Backoff) -> Iterator[tuple[Connection, FaultProxy]]:
    """A client behind a proxy, of a server that answers ``never`` at the end."""
    go = threading.Event()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("never", lambda: go.wait(scaled(20)) and None)
        conn.perform("echo", lambda value: value)

    with (
        serve(handler) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        connect(proxy.url(), reconnect=reconnect) as conn,
    ):
        try:
            yield conn, proxy
        finally:
            go.set()


@pytest.mark.parametrize("end", ["cut", "reset"])
def test_calls_fail_before_a_log_handler_runs(end: str) -> None:
    """Waited for or not; and the state is shown to who asks, although no handler has seen the change."""
    with _proxied(LATE) as (conn, proxy), held_log(ConnectionState.RECONNECTING) as log:
        states = Collector()
        conn.on_state(states)

        def call() -> Any:
            with pytest.raises(SocketConnectionError) as caught:
                conn.call("never")
            return caught.value.code, conn.state

        future, caller = conn.submit("never"), aside(call)
        eventually(lambda: conn.stats.pending == 2 and conn.stats.messages_out == 2)
        getattr(proxy, end)()
        assert caller.wait(1)[0] == ("CONNECTION_LOST", ConnectionState.RECONNECTING)
        assert isinstance(future.exception(scaled(5)), SocketConnectionError)
        assert log.entered.wait(scaled(5))
        assert not states.items
        log.go.set()
        assert states.wait(1)[0].state is ConnectionState.RECONNECTING


def test_calls_of_a_server_fail_before_a_log_handler_runs() -> None:
    """Its connection is closed by then."""
    made = Collector()

    def set_up(conn: Connection) -> None:
        conn.perform("never", lambda: conn.wait_closed(scaled(20)) and None)

    with (
        serve(lambda conn, request: made(conn, conn.submit("never", timeout=scaled(20)))) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        connect(proxy.url(), reconnect=LATE, setup=set_up) as client,
        held_log(ConnectionState.CLOSED) as log,
    ):
        conn, future = made.wait(1)[0]
        proxy.reset()
        assert isinstance(future.exception(scaled(5)), SocketConnectionError)
        assert conn.state is ConnectionState.CLOSED
        assert log.entered.wait(scaled(5))
        log.go.set()
        client.close()


def test_calls_fail_before_a_writer_leaves_the_link() -> None:
    """One that a signal handler holds up; a call that is made meanwhile goes to the next link, after the writer."""
    with _proxied(QUICK) as (conn, proxy):
        carrier: Any = conn._core.carrier
        link = carrier._link
        lost = conn.submit("never")
        eventually(lambda: conn.stats.pending == 1 and conn.stats.messages_out == 1)
        with held_writer(link):
            proxy.reset()
            assert isinstance(lost.exception(scaled(5)), SocketConnectionError)
            assert conn.state is ConnectionState.RECONNECTING
            # A forked child would close the descriptors of the link, which are open still.
            assert carrier._link is link
            assert link._stream._sock.fileno() >= 0
            following: Future[Any] = conn.submit("echo", 1, timeout=scaled(10))
        assert following.result(scaled(10)) == 1
        assert link._stream._sock.fileno() == -1
        assert conn.stats.reconnects == 1
