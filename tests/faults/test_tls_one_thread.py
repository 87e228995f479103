"""Two threads are never within one TLS object, at either end, however busy both directions are (row 19)."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from owlsocket_sync import Connection, Heartbeat, connect
from owlsocket_sync.server import Request, serve
from support.helpers import eventually, scaled, whole
from support.sockets import client_context, server_context
from support.watched import Watch

CALLERS = 4
SIZES = (10, 3_000, 200_000)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_row_19_the_watch_detects_two_threads_in_one_tls_object() -> None:
    """A thread that sends while another one is in a read of the same TLS socket is noticed."""
    context = client_context()
    watch = Watch(context)
    near, far = socket.socketpair()
    with contextlib.ExitStack() as stack:
        shaking = threading.Thread(
            target=lambda: stack.enter_context(server_context().wrap_socket(far, server_side=True)).sendall(b"first")
        )
        shaking.start()
        secure = stack.enter_context(context.wrap_socket(near, server_hostname="localhost"))
        shaking.join()
        assert secure.recv(5) == b"first"

        def read() -> None:
            with contextlib.suppress(OSError):  # OpenSSL 3.6 answers the end, which the socket refuses then
                secure.recv(1)

        reader = threading.Thread(target=read)
        reader.start()
        eventually(lambda: watch.entered["recv"] == 2)
        secure.send(b"x")
        assert set(watch.overlaps) == {("recv", "send")}
        secure.settimeout(scaled(5))
        socket.socket.shutdown(secure, socket.SHUT_RDWR)
        reader.join()


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("hasty")
def test_row_19_reads_and_writes_never_meet() -> None:
    """Calls from several threads at both ends, broadcasts and pings: not one overlap in thousands of visits."""
    contexts = {"client": client_context(), "server": server_context()}
    watches = {end: Watch(context) for end, context in contexts.items()}
    rounds = whole(30, 1_000)
    beat = Heartbeat(0.05, 5)

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)

    with (
        serve(handler, ssl_context=contexts["server"], heartbeat=beat, workers=8) as server,
        connect(server.url, ssl_context=contexts["client"], heartbeat=beat, workers=8, reconnect=None) as conn,
    ):
        conn.perform("echo", lambda value: value)
        eventually(lambda: server.connections)
        ends = [conn, server.connections[0]]
        threads = [Caller(end, rounds) for end in ends for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            server.broadcast("tick", "x" * 1_000)
            conn.ping(scaled(20))
        for thread in threads:
            thread.join()
        assert [thread.failure for thread in threads] == [None] * len(threads)
    for end, watch in watches.items():
        assert watch.overlaps == [], end
        assert watch.entered["recv"] > rounds, end
        assert watch.entered["send"] > rounds, end
        assert len(watch.threads) > CALLERS, end
        assert not watch.entered["shutdown"], end


class Caller(threading.Thread):
    """Calls with small and large values in turn, and compares what comes back."""

    def __init__(self, conn: Connection, rounds: int) -> None:
        super().__init__(daemon=True)
        self._conn = conn
        self._rounds = rounds
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Until all rounds are done, or one fails."""
        try:
            for number in range(self._rounds):
                value = f"{self.name}-{number}-" + "x" * SIZES[number % len(SIZES)]
                assert self._conn.call("echo", value, timeout=scaled(20)) == value
        except BaseException as error:
            self.failure = error
