"""Ctrl-C in the middle of anything that waits: `KeyboardInterrupt` at once, nothing pending, and the client goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from owlsocket_sync.server import serve
from support.child_processes import echo, run, silent
from support.figures import Figure
from support.helpers import scaled
from support.sockets import ByteServer, RawPeer, full_port
from support.variants import kinds

pytestmark = pytest.mark.slow

INTERRUPT_SECONDS = scaled(0.3)

# Strikes once the main thread has been at the same instruction for a while: it waits.
STRIKE = """
struck_at = 0.0

def strike():
    global struck_at
    calm, before = 0, None
    while calm < 5:
        time.sleep(0.02)
        frame = sys._current_frames()[threading.main_thread().ident]
        place = (id(frame), frame.f_lasti)
        calm = calm + 1 if place == before else 0
        before = place
        del frame
    struck_at = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)

def interrupt():
    threading.Thread(target=strike, daemon=True).start()

def ours():
    return [one.name for one in threading.enumerate() if one.name.startswith('owlsocket')]

def until_gone(seconds):
    began = time.monotonic()
    while ours():
        assert time.monotonic() - began < seconds, ours()
        time.sleep(0.01)
    return time.monotonic() - began
"""

WAITS = {
    "call": "conn.call('slow')",
    "future.result": "future = conn.submit('slow'); future.result()",
    "wait_closed": "conn.wait_closed()",
    "stream": "next(conn.stream('never'))",
    "request for ever": "for one in conn.stream('never', timeout=3600): pass",
    "events": "next(conn.events('never'))",
    "events with a timeout": "next(conn.events('never', timeout=3600))",
    "consume": "conn.consume(timeout=30)",
    "messages": "next(conn.messages())",
    "auth": "conn.auth('authentication')",
    "a call in a batch": "with conn.batch():\n        conn.call('slow')",
}

USABLE = (
    STRIKE
    + """
conn = connect(url, timeout=20)
conn.call('echo')
future = None
interrupt()
try:
    {waiting}
except KeyboardInterrupt:
    print(time.monotonic() - struck_at, flush=True)
if future is not None:
    assert future.cancel()
assert conn.stats.pending == 0
assert conn.call('echo', 'usable', timeout=10) == 'usable'
assert conn.state is ConnectionState.OPEN
assert conn.stats.reconnects == 0
conn.close()
until_gone(2)
"""
)


@pytest.mark.parametrize("waiting", kinds(WAITS, "call", "future.result", "consume", "events", "auth"))
def test_row_26_an_interrupt_leaves_the_client_usable(waiting: str, figure: Figure) -> None:
    """Nothing is left pending, the next call is answered on the same link, and closing leaves no thread."""
    with serve(echo) as server:
        done = run(USABLE.format(waiting=WAITS[waiting]), server.url)
    assert (done.code, done.complaints) == (0, "")
    figure("SIGINT to KeyboardInterrupt", float(done.out), INTERRUPT_SECONDS, "s")


TAKEN_BY_ANOTHER = STRIKE.replace("os.kill(os.getpid(),", "signal.pthread_kill(threading.get_ident(),")


@pytest.mark.parametrize("waiting", kinds(WAITS, "call", "stream"))
def test_row_26_a_signal_that_another_thread_takes_ends_the_wait(waiting: str, figure: Figure) -> None:
    """The system may choose any thread; and a signal just before the wait interrupts its system call as little."""
    source = USABLE.replace(STRIKE, TAKEN_BY_ANOTHER)
    with serve(echo) as server:
        done = run(source.format(waiting=WAITS[waiting]), server.url)
    assert (done.code, done.complaints) == (0, "")
    figure("SIGINT to KeyboardInterrupt", float(done.out), INTERRUPT_SECONDS, "s")


SILENT = (
    STRIKE
    + """
conn = connect(url, timeout=20, heartbeat=None)
interrupt()
try:
    {waiting}
except KeyboardInterrupt:
    print(time.monotonic() - struck_at, flush=True)
assert conn.stats.pending == 0
conn.close(timeout=0.2)
until_gone(2)
"""
)


@pytest.mark.parametrize(
    "waiting",
    ["conn.ping(timeout=30)", "conn.close(timeout=30)", "with conn:\n        conn.call('never')", "conn.call('never')"],
)
def test_row_26_an_interrupt_against_a_silent_peer(waiting: str, figure: Figure) -> None:
    """A peer that answers nothing, not even a ping or a goodbye, does not keep the user waiting."""
    with ByteServer(silent) as server:
        done = run(SILENT.format(waiting=waiting), server.url)
    assert (done.code, done.complaints) == (0, "")
    limit = INTERRUPT_SECONDS + 3.0 if waiting.startswith("with") else INTERRUPT_SECONDS  # the goodbye of the block
    figure("SIGINT to KeyboardInterrupt", float(done.out), limit, "s")


CLOSING = (
    STRIKE
    + """
conn = connect(url, timeout=20, heartbeat=None)
interrupt()
try:
    conn.close(timeout=30)
except KeyboardInterrupt:
    print(time.monotonic() - struck_at, flush=True)
assert conn.wait_closed(timeout=2).code is not None
until_gone(2)
"""
)


def test_row_26_an_interrupted_close_closes(figure: Figure) -> None:
    """Who does not want to wait for the peer's goodbye does without: it is closed, its threads are gone."""
    with ByteServer(silent) as server:
        done = run(CLOSING, server.url)
    assert (done.code, done.complaints) == (0, "")
    figure("SIGINT to KeyboardInterrupt", float(done.out), INTERRUPT_SECONDS, "s")


CONNECTING = (
    STRIKE
    + """
import socket
if len(sys.argv) > 2:  # a resolver that takes its time
    socket.getaddrinfo = lambda *etc, **more: time.sleep(1) or []
interrupt()
try:
    {waiting}
except KeyboardInterrupt:
    print(time.monotonic() - struck_at, flush=True)
if {waits_on}:
    conn.close(timeout=0.5)
print(until_gone(5), flush=True)
"""
)


@pytest.fixture
def nowhere() -> Iterator[dict[str, list[str]]]:
    """Places that do not answer, each in its way."""
    with ExitStack() as stack:
        port = stack.enter_context(full_port())
        mute = stack.enter_context(ByteServer(RawPeer.at_end))
        yield {
            "TCP": [f"ws://127.0.0.1:{port}"],
            "TLS": [mute.url.replace("ws:", "wss:")],
            "upgrade": [mute.url],
            "DNS": ["ws://somewhere.invalid", "slow resolver"],
        }


@pytest.mark.parametrize("place", ["DNS", "TCP", "TLS", "upgrade"])
@pytest.mark.parametrize("way", ["connect", "wait_open"])
def test_row_26_an_interrupt_while_connecting(
    nowhere: dict[str, list[str]], place: str, way: str, figure: Figure
) -> None:
    """The attempt is given up with it, and its thread ends; one in the resolver when that returns."""
    waiting = "connect(url, timeout=20)"
    if way == "wait_open":
        waiting = "conn = connect(url, timeout=20, wait=False)\n    conn.wait_open(20)"
    done = run(CONNECTING.format(waiting=waiting, waits_on=way == "wait_open"), *nowhere[place])
    assert (done.code, done.complaints) == (0, "")
    seconds, thread = map(float, done.words)
    figure("SIGINT to KeyboardInterrupt", seconds, INTERRUPT_SECONDS, "s")
    figure("until the thread that connects is gone", thread, 2.0 if place == "DNS" else 0.5, "s")


DRAINING = (
    STRIKE
    + """
conn = connect(url, timeout=20)
pending = conn.submit('slow')
interrupt()
try:
    conn.drain(30)
except KeyboardInterrupt:
    print(time.monotonic() - struck_at, flush=True)
assert pending.cancel()
assert conn.call('echo', 'usable', timeout=10) == 'usable'
seen = threading.Event()
conn.observe('go', lambda message: seen.set())
conn.call('callback')
print(seen.wait(2), flush=True)
conn.close()
"""
)


def test_row_26_an_interrupted_drain_leaves_the_connection_open(figure: Figure) -> None:
    """The connection is open, and takes in events again."""
    with serve(echo) as server:
        done = run(DRAINING, server.url)
    assert (done.code, done.complaints) == (0, "")
    seconds, seen = done.words
    figure("SIGINT to KeyboardInterrupt", float(seconds), INTERRUPT_SECONDS, "s")
    assert seen == "True"


HANDLER = """
conn = connect(url, timeout=20)
answers = []

def handle(number, frame):
    answers.append((conn.call('echo', 'from the handler', timeout=5), time.monotonic() - began))
    conn.notify('from the handler')

signal.signal(signal.SIGALRM, handle)
for waiting in (lambda: conn.call('slow', timeout=0.6), lambda: conn.submit('slow', timeout=0.6).result()):
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.03)  # while this thread reads, and below while the reader does
    try:
        waiting()
    except TimeoutError:
        pass
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        waiting()
    except TimeoutError:
        pass
assert [one[0] for one in answers] == ['from the handler'] * 4
print(max(one[1] for one in answers), flush=True)
conn.close()
"""


def test_a_handler_of_a_signal_may_call_while_its_thread_waits_for_an_answer(figure: Figure) -> None:
    """It is answered at once, whoever reads; what was interrupted waits on as it did."""
    with serve(echo) as server:
        done = run(HANDLER, server.url)
    assert (done.code, done.complaints) == (0, "")
    figure("a call from a handler, the time of its signal included", float(done.out), 0.7, "s")
