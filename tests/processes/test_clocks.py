"""Clocks that jump, and processes that stand still: no link dies of that which lives, and none lives that is dead."""

from __future__ import annotations

import signal
import time

import pytest

from owlsocket_sync import Backoff, ConnectionState, Heartbeat, connect
from owlsocket_sync.server import serve
from support.child_processes import echo, script
from support.figures import Figure
from support.helpers import Collector, whole

pytestmark = pytest.mark.slow

INTERVAL, TIMEOUT = 0.4, 0.4
BEATS = Heartbeat(INTERVAL, TIMEOUT)

JUMPING = f"""
wall = time.time
conn = connect(url, timeout=20, heartbeat=Heartbeat({INTERVAL}, {TIMEOUT}))
pending = conn.submit('slow', timeout=60)
for hours in map(float, sys.argv[2:]):
    time.time = lambda: wall() + hours * 3600
    assert conn.call('echo', hours, timeout=10) == hours
    end = time.monotonic() + {3 * (INTERVAL + TIMEOUT)}
    while time.monotonic() < end:
        assert conn.state is ConnectionState.OPEN
        time.sleep(0.02)
    assert conn.call('echo', hours, timeout=10) == hours
assert not pending.done()
print(conn.stats.reconnects)
conn.close()
"""


def test_row_30_a_jump_of_the_wall_clock_ends_nothing(figure: Figure) -> None:
    """An hour ahead, an hour back: heartbeats and timeouts go by the monotonic clock."""
    with serve(echo, heartbeat=BEATS) as server, script(JUMPING, server.url, "1", "-1") as child:
        done = child.finish()
    assert (done.code, done.complaints) == (0, "")
    figure("links lost", int(done.out), 0, "")


SUSPENDED = f"""
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGUSR1}})
conn = connect(url, timeout=20, heartbeat=Heartbeat({INTERVAL}, {TIMEOUT}), reconnect=Backoff(0.1))
print(conn.call('echo', 'ready'), flush=True)
signal.sigwait({{signal.SIGUSR1}})
for number in range(20):
    began = time.monotonic()
    while True:
        try:
            assert conn.call('echo', number, timeout=10) == number
            break
        except SocketConnectionError:
            assert time.monotonic() - began < 5
print(conn.stats.reconnects, flush=True)
conn.close()
"""


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("impatient", [False, True], ids=["a patient server", "a server that gives it up"])
def test_row_30_a_suspended_client_continues(impatient: bool, figure: Figure) -> None:
    """SIGSTOP for longer than its heartbeat, then SIGCONT: at most one new link, and calls are answered."""
    stopped_for = whole(2.0, 60.0)
    with serve(echo, heartbeat=None) as server, script(SUSPENDED, server.url) as child:
        assert child.line() == "ready"
        child.send(signal.SIGSTOP)
        if impatient:
            server.connections[0].close(1011, "no sign of life", timeout=0.1)
        assert not server.wait(stopped_for)
        child.send(signal.SIGCONT)
        child.send(signal.SIGUSR1)
        done = child.finish()
    assert (done.code, done.complaints) == (0, "")
    figure("links made after the suspension", int(done.out), 1 if impatient else 0, "")


SERVER = """
from owlsocket_sync.server import serve
server = serve(lambda conn, request: conn.perform('echo', lambda value=None: value), heartbeat=None)
print(server.url, flush=True)
server.wait()
"""


def test_row_30_a_stopped_server_is_detected(figure: Figure) -> None:
    """SIGSTOP of the server: the link dies in time, and a new one is made once it runs again."""
    moves = Collector()
    with script(SERVER, "") as child:
        url = child.line()
        with connect(url, timeout=2, heartbeat=BEATS, reconnect=Backoff(0.1, cap=0.2)) as conn:
            assert conn.call("echo", 1) == 1
            conn.on_state(lambda change: moves(change.state))
            stopped = child.send(signal.SIGSTOP)
            moves.wait(1)
            figure(
                "SIGSTOP of the server to the end of the link",
                time.monotonic() - stopped,
                INTERVAL + TIMEOUT + 1.0,
                "s",
            )
            assert moves.items[0] is ConnectionState.RECONNECTING
            child.send(signal.SIGCONT)
            assert conn.call("echo", 2, timeout=20) == 2
