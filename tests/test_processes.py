"""What a process does to its connections: signals, exits and forks, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from helpers import Collector, eventually, scaled
from sockets import TEXT, ByteServer, RawPeer

from owlsocket_sync import Connection
from owlsocket_sync.server import Request, Server, serve

ROOT = Path(__file__).parent.parent
BEGINNING = """
import os, sys, threading, time
import owlsocket_sync
from owlsocket_sync import Backoff, ConnectionState, connect
url = sys.argv[1]
"""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}


def _run(script: str, *arguments: str) -> tuple[int, str, str, float]:
    """Run it; return code, what it printed, what it complained of, and how long it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + textwrap.dedent(script), *arguments],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=scaled(30),
        check=False,
    )
    return done.returncode, done.stdout, done.stderr, time.monotonic() - began


def _echo(conn: Connection, request: Request) -> None:
    conn.perform("echo", lambda value=None: value)
    conn.perform("callback", lambda: conn.notify("go"))
    conn.perform("slow", lambda: conn.wait_closed(scaled(20)) and None)


def _silent(peer: RawPeer) -> None:
    peer.upgrade()
    peer.at_end()


def _breaking(peer: RawPeer) -> None:
    peer.upgrade()
    peer.reset()


CONNECTED = "conn = connect(url, timeout=20)\nassert conn.call('echo', 1) == 1\n"

RECONNECTING = """
conn = connect(sys.argv[2], timeout=20, wait=False, reconnect=Backoff(60, cap=60, jitter='none'))
while conn.state is not ConnectionState.RECONNECTING:
    time.sleep(0.01)
sys.exit(6)
"""

EXITS = {
    "plain end": (CONNECTED, 0),
    "exit code": (CONNECTED + "sys.exit(3)", 3),
    "call pending": (CONNECTED + "conn.submit('slow')\nsys.exit(4)", 4),
    "in a handler": (
        CONNECTED
        + "started = threading.Event()\n"
        + "conn.observe('go', lambda message: (started.set(), time.sleep(20)))\n"
        + "conn.call('callback')\nstarted.wait(10)\nsys.exit(5)",
        5,
    ),
    "reconnecting": (RECONNECTING, 6),
    "many": ("conns = [connect(url, timeout=20) for _ in range(8)]\nsys.exit(7)", 7),
    "other thread": (
        CONNECTED
        + "def wait():\n    try:\n        conn.call('slow')\n"
        + "    except owlsocket_sync.SocketConnectionError:\n        pass\n"
        + "threading.Thread(target=wait, daemon=True).start()\nsys.exit(8)",
        8,
    ),
}


@pytest.mark.parametrize("name", EXITS)
def test_an_open_connection_does_not_hold_the_interpreter(name: str) -> None:
    """The process ends soon, says nothing, and keeps its own return code; the server is told."""
    script, wanted = EXITS[name]
    with serve(_echo) as server, ByteServer(_breaking) as breaking:
        code, out, complaints, seconds = _run(script, server.url, breaking.url)
        assert (code, out, complaints) == (wanted, "", "")
        assert seconds < scaled(5)
        eventually(lambda: not server.connections)


def test_an_exception_is_all_that_is_shown() -> None:
    """The traceback of the script, return code 1, and not a word of ours."""
    with serve(_echo) as server:
        code, _, complaints, seconds = _run(CONNECTED + "raise KeyError('mine')", server.url)
    assert code == 1
    assert complaints.strip().endswith("KeyError: 'mine'")
    assert complaints.count("Traceback") == 1
    assert seconds < scaled(5)


def test_a_silent_peer_does_not_hold_the_interpreter() -> None:
    """A peer that never consents to closing costs a few seconds at most."""
    with ByteServer(_silent) as server:
        code, out, complaints, seconds = _run("conn = connect(url, timeout=20)\nsys.exit(9)", server.url)
    assert (code, out, complaints) == (9, "", "")
    assert seconds < scaled(6)


def test_a_server_does_not_hold_the_interpreter() -> None:
    """A process that serves, with a client that is there, ends like any other."""
    script = """
    from owlsocket_sync.server import serve
    server = serve(lambda conn, request: None)
    conn = connect(server.url, timeout=20)
    other = connect(server.url, timeout=20)
    sys.exit(10)
    """
    code, out, complaints, seconds = _run(script, "")
    assert (code, out, complaints) == (10, "", "")
    assert seconds < scaled(7)


@pytest.mark.parametrize("waiting", ["conn.call('slow')", "next(conn.events('never'))", "conn.wait_closed()"])
def test_an_interrupt_leaves_the_client_usable(waiting: str) -> None:
    """Ctrl-C in the middle of a wait raises `KeyboardInterrupt`, and the next call is answered."""
    script = f"""
    conn = connect(url, timeout=20)
    conn.call('echo')
    print('ready', flush=True)
    try:
        {waiting}
    except KeyboardInterrupt:
        print(conn.call('echo', 'usable'), conn.stats.pending, conn.state.value, flush=True)
    conn.close()
    """
    with serve(_echo) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", BEGINNING + textwrap.dedent(script), server.url],
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        if "slow" in waiting:
            eventually(lambda: _calls_that_run(server))
        else:
            assert not server.wait(0.3)
        child.send_signal(signal.SIGINT)
        out, complaints = child.communicate(timeout=scaled(20))
    assert (child.returncode, out, complaints) == (0, "usable 0 open\n", "")


def _calls_that_run(server: Server) -> bool:
    return any(one.stats.messages_in >= 2 for one in server.connections)


# -- forks -------------------------------------------------------------------------------------------------------------

FORK = """
conn = connect(url, timeout=20{options})
{before}
child = os.fork()
if child == 0:
    code = 1
    try:
        {inside}
        code = 0
    except BaseException as error:
        print('child', type(error).__name__, error, file=sys.stderr, flush=True)
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
{after}
conn.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def _fork(inside: str, before: str = "", after: str = "", options: str = "") -> str:
    return FORK.format(
        inside=textwrap.indent(textwrap.dedent(inside), " " * 8).strip(),
        before=before,
        after=after,
        options=options,
    )


def test_a_child_calls_on_a_connection_of_its_own() -> None:
    """Its first use connects anew; the parent's link goes on and carries no byte of the child."""
    links, words = Collector(), Collector()

    def handler(conn: Connection, request: Request) -> None:
        links(conn)

        @conn.perform("say")
        def say(word: str) -> str:
            words(conn.name, word)
            return word

    script = _fork(
        """
        assert conn.call('say', 'child', timeout=20) == 'child'
        assert conn.state is ConnectionState.OPEN
        conn.close()
        """,
        before="assert conn.call('say', 'before') == 'before'",
        after="assert conn.call('say', 'after') == 'after'\nassert conn.stats.reconnects == 0",
    )
    with serve(handler) as server:
        code, _, complaints, _ = _run(script, server.url)
        assert (code, complaints) == (0, "")
        said = words.wait(3)
    parent = said[0][0]
    assert [(name == parent, word) for name, word in said] == [
        (True, "before"),
        (False, "child"),
        (True, "after"),
    ]
    assert len(links.items) == 2


def test_an_idle_child_leaves_no_trace() -> None:
    """A child that uses nothing, and exits in any way, says nothing on the parent's link."""
    received = Collector()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        while True:
            came = peer.read_frame()
            received(came.opcode)

    child = "import gc\ndel conn\ngc.collect()\nsys.exit(0)"
    source = _fork(child, after="conn.notify('after')", options=", heartbeat=None").replace(
        "except BaseException as error:",
        "except SystemExit:\n        import atexit\n        atexit._run_exitfuncs()\n"
        "        code = 0\n    except BaseException as error:",
    )
    with ByteServer(script) as server:
        code, _, complaints, _ = _run(source.replace("conn.close()", "os._exit(0)"), server.url)
        assert (code, complaints) == (0, "")
        assert received.wait(1) == [TEXT]
        assert server.accepted == 1


def test_a_child_without_reconnect_gets_a_clear_error() -> None:
    """What cannot connect anew says so."""
    script = _fork(
        """
        try:
            conn.call('echo', 1, timeout=5)
        except owlsocket_sync.SocketConnectionError as error:
            assert 'parent' in str(error), error
        else:
            raise AssertionError('no error')
        """,
        after="assert conn.call('echo', 2) == 2",
        options=", reconnect=None",
    )
    with serve(_echo) as server:
        code, _, complaints, _ = _run(script, server.url)
        assert (code, complaints) == (0, "")


def test_calls_in_flight_are_the_parents() -> None:
    """A fork in the middle of traffic: the parent gets its answers, the child none of them and its own."""
    script = _fork(
        """
        assert conn.stats.pending == 0
        assert [conn.call('echo', n, timeout=20) for n in range(5)] == list(range(5))
        """,
        before="futures = [conn.submit('echo', n) for n in range(200)]",
        after="assert [one.result(20) for one in futures] == list(range(200))",
    )
    with serve(_echo) as server:
        code, _, complaints, _ = _run(script, server.url)
        assert (code, complaints) == (0, "")


def test_observers_work_in_the_child() -> None:
    """What was registered before the fork sees the events of the child's own link."""
    script = _fork(
        """
        conn.call('callback', timeout=20)
        assert seen.wait(10)
        """,
        before="seen = threading.Event()\nconn.observe('go', lambda message: seen.set())",
        after="assert not seen.is_set()",
    )
    with serve(_echo) as server:
        code, _, complaints, _ = _run(script, server.url)
        assert (code, complaints) == (0, "")
