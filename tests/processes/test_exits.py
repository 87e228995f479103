"""The end of an interpreter, from every state of a connection: soon, silent, and with the return code it had anyway."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from owlsocket_sync.server import Server, serve
from support.child_processes import CONNECTED, Done, echo, script, silent
from support.figures import Figure
from support.helpers import eventually, whole
from support.sockets import ByteServer, RawPeer, full_port

pytestmark = pytest.mark.slow

EXIT_SECONDS = 2.0


def _breaking(peer: RawPeer) -> None:
    peer.upgrade()
    peer.reset()


WAITING = """
def wait():
    try:
        {0}
    except SocketConnectionError:
        pass
threading.Thread(target=wait, daemon=True).start()
time.sleep(0.1)
"""

# What leads to each state; the arguments: an echo server, one that breaks, a silent one, a port that does not answer.
STATES = {
    "idle": CONNECTED,
    "several": "conns = [connect(url, timeout=20) for _ in range(8)]\n",
    "a call pending": CONNECTED + "conn.submit('slow')\n",
    "a call in another thread": CONNECTED + WAITING.format("conn.call('slow')"),
    "events in another thread": CONNECTED + WAITING.format("list(conn.events('never'))"),
    "in a handler": (
        CONNECTED + "started = threading.Event()\n"
        "conn.observe('go', lambda message: (started.set(), time.sleep(20)))\n"
        "conn.call('callback')\nassert started.wait(10)\n"
    ),
    "in a handler that calls": (
        CONNECTED + "started = threading.Event()\n"
        "def handler(message):\n    started.set()\n    try:\n        conn.call('slow')\n"
        "    except SocketConnectionError:\n        pass\n"
        "conn.observe('go', handler)\nconn.call('callback')\nassert started.wait(10)\n"
    ),
    "in a handler whose call fails": (
        CONNECTED + "started = threading.Event()\n"
        "conn.observe('go', lambda message: (started.set(), conn.call('slow')))\n"
        "conn.call('callback')\nassert started.wait(10)\n"
    ),
    "serving, and in a handler that calls": (
        "from owlsocket_sync.server import serve\nstarted = threading.Event()\n"
        "def handler(conn, request):\n    conn.observe('go', lambda message: conn.call('hang'))\n"
        "server = serve(handler)\nconn = connect(server.url, timeout=20)\n"
        "conn.perform('hang', lambda: (started.set(), time.sleep(20)))\n"
        "conn.notify('go')\nassert started.wait(10)\n"
    ),
    "in a batch of another thread": (
        CONNECTED + "gathered = threading.Event()\n"
        "def gather():\n    with conn.batch():\n        conn.notify('kept')\n"
        "        gathered.set()\n        time.sleep(20)\n"
        "threading.Thread(target=gather, daemon=True).start()\nassert gathered.wait(10)\n"
    ),
    "in a backoff": (
        "conn = connect(sys.argv[2], timeout=20, wait=False, reconnect=Backoff(60, cap=60, jitter='none'))\n"
        "while conn.state is not ConnectionState.RECONNECTING:\n    time.sleep(0.01)\n"
    ),
    "a silent peer": "conn = connect(sys.argv[3], timeout=20)\n",
    "several silent peers": "conns = [connect(sys.argv[3], timeout=20) for _ in range(4)]\n",
    "connecting": "conn = connect(sys.argv[4], timeout=20, wait=False)\ntime.sleep(0.1)\n",
    "connecting, no resolver": (
        "import socket\nsocket.getaddrinfo = lambda *etc, **more: time.sleep(60)\n"
        "conn = connect('ws://somewhere.invalid', timeout=20, wait=False)\ntime.sleep(0.1)\n"
    ),
    "authenticating": (
        "asked = threading.Event()\n"
        "def authenticate(conn):\n    asked.set()\n    conn.auth('authentication')\n"
        "conn = connect(url, timeout=20, wait=False, auth=authenticate)\nassert asked.wait(10)\n"
    ),
    "serving": (
        "from owlsocket_sync.server import serve\nserver = serve(lambda conn, request: None)\n"
        "conn = connect(server.url, timeout=20)\n"
    ),
    "closed": CONNECTED + "conn.close()\n",
}

NOW = "print(time.monotonic(), flush=True)\n"
ENDINGS = {
    "the last line": (NOW, 0),
    "sys.exit": (NOW + "sys.exit(3)", 3),
    "an exception": (NOW + "raise KeyError('mine')", 1),
    "os._exit": (NOW + "os._exit(5)", 5),
    "SIGTERM": (NOW + "os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(20)", -signal.SIGTERM),
    "SystemExit in a handler of SIGTERM": (
        "signal.signal(signal.SIGTERM, lambda *etc: sys.exit(6))\n" + NOW + "os.kill(os.getpid(), signal.SIGTERM)",
        6,
    ),
}


class Far:
    """The other ends that scripts lead to."""

    def __init__(self, server: Server, others: list[str]) -> None:
        self.server = server
        self.urls = [server.url, *others]

    def end(self, state: str, ending: str) -> float:
        """Run a script from this state to this ending; the seconds that its end took."""
        source, code = ENDINGS[ending]
        with script(STATES[state] + source, *self.urls) as child:
            done = child.finish()
        assert done.code == code, done
        _check_complaints(done, ending)
        return done.at - float(done.out)


def _check_complaints(done: Done, ending: str) -> None:
    if ending != "an exception":
        assert done.complaints == ""
        return
    assert done.complaints.strip().endswith("KeyError: 'mine'")
    assert done.complaints.count("Traceback") == 1
    assert "owlsocket" not in done.complaints


@pytest.fixture
def far() -> Iterator[Far]:
    """One that echoes, one that breaks, a silent one, and a port that does not answer."""
    with ExitStack() as stack:
        server = stack.enter_context(serve(echo, workers=16))
        breaking, mute = (stack.enter_context(ByteServer(script)) for script in (_breaking, silent))
        port = stack.enter_context(full_port())
        yield Far(server, [breaking.url, mute.url, f"ws://127.0.0.1:{port}"])


@pytest.mark.parametrize("state", STATES)
def test_row_25_a_connection_does_not_keep_the_interpreter_alive(far: Far, state: str, figure: Figure) -> None:
    """The process ends soon, says nothing, and keeps its own return code; the server is told."""
    figure("sys.exit to the end of the process", far.end(state, "sys.exit"), EXIT_SECONDS, "s")
    eventually(lambda: not far.server.connections)


@pytest.mark.parametrize("ending", ENDINGS)
def test_row_25_the_exit_code_is_unchanged(far: Far, ending: str, figure: Figure) -> None:
    """Whichever way a process ends, with a call pending: its own return code, and none but its own words."""
    figure("the end of the process", far.end("a call pending", ending), EXIT_SECONDS, "s")
    eventually(lambda: not far.server.connections)


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_row_25_every_state_and_every_kind_of_exit(far: Far, figure: Figure) -> None:
    """All of them crossed, two at a time, as often as is asked for."""
    runs = list(itertools.islice(itertools.cycle(itertools.product(STATES, ENDINGS)), whole(0, 200)))
    runs = runs or [("a call in another thread", "SIGTERM"), ("authenticating", "an exception")]
    with ThreadPoolExecutor(2) as threads:
        for seconds in threads.map(lambda run: far.end(*run), runs):
            figure("the end of the process", seconds, EXIT_SECONDS, "s")


IN_MAIN = {
    "a call": "conn.call('slow')",
    "events": "next(conn.events('never'))",
    "wait_closed": "conn.wait_closed()",
    "a call in a batch": "with conn.batch():\n        conn.notify('kept')\n        conn.call('slow')",
}


@pytest.mark.parametrize("waiting", IN_MAIN)
def test_row_25_a_sigterm_handler_ends_a_wait(far: Far, waiting: str, figure: Figure) -> None:
    """`SystemExit` in the middle of a wait is a clean exit, with the code that it names."""
    source = f"""
signal.signal(signal.SIGTERM, lambda *etc: sys.exit(12))
conn = connect(url, timeout=20)
threading.Timer(0.2, lambda: (print(time.monotonic(), flush=True), os.kill(os.getpid(), signal.SIGTERM))).start()
if True:
    {IN_MAIN[waiting]}
"""
    with script(source, far.server.url) as child:
        done = child.finish()
    assert (done.code, done.complaints) == (12, "")
    figure("SIGTERM to the end of the process", done.at - float(done.out), EXIT_SECONDS, "s")


ATEXIT = """
import atexit
{before}
conn = connect(url, timeout=20)
{after}
{now}
sys.exit(4)
"""
CALLS = "atexit.register(lambda: print(conn.call('echo', 'last words', timeout=5), flush=True))"
TRIES = """
def late():
    try:
        conn.call('echo', timeout=5)
    except SocketConnectionError as error:
        print('late:', error, flush=True)
atexit.register(late)
"""


def test_row_25_code_at_exit_may_call(far: Far) -> None:
    """What was registered after the import runs before the connections are closed, and is answered."""
    with script(ATEXIT.format(before="", after=CALLS, now=""), far.server.url) as child:
        done = child.finish()
    assert (done.code, done.out, done.complaints) == (4, "last words\n", "")


def test_row_25_code_after_our_exit_handler_gets_an_error(far: Far, figure: Figure) -> None:
    """What was registered before the import runs when the connections are closed: an error at once, and no wait."""
    source = ATEXIT.format(before="", after="", now=NOW).replace("import atexit", "")
    early = "import atexit" + TRIES.replace("SocketConnectionError", "Exception")
    with script(source, far.server.url, first=early) as child:
        done = child.finish()
    assert (done.code, done.complaints) == (4, "")
    moment, output = done.out.splitlines()
    assert output.startswith("late: ")
    assert "is closed" in output
    figure("the end of the process", done.at - float(moment), EXIT_SECONDS, "s")
