"""What a forked child does with the connections of its parent: nothing, until it uses them, and then its own."""

from __future__ import annotations

import textwrap

import pytest

from owlsocket_sync import Connection
from owlsocket_sync.server import Request, serve
from support.child_processes import echo, run
from support.figures import Figure
from support.helpers import Collector, whole
from support.sockets import TEXT, ByteServer, RawPeer

pytestmark = pytest.mark.slow

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


def test_row_24_calls_before_the_fork_belong_to_the_parent() -> None:
    """A child that waits for it is told at once, and sees the events of its own link by the parent's iterators."""
    script = _fork(
        """
        for wait in (lambda: future.result(5), lambda: next(stream)):
            try:
                wait()
            except owlsocket_sync.SocketConnectionError as error:
                assert 'parent' in str(error), error
            else:
                raise AssertionError('no error')
        assert called == []
        conn.call('callback', timeout=20)
        assert next(events).event == 'go'
        """,
        before="called = []\nfuture = conn.submit('slow')\nfuture.add_done_callback(called.append)\n"
        "stream = conn.stream('never')\nevents = conn.events('go', timeout=20)",
    )
    with serve(echo) as server:
        done = run(script, server.url)
    assert (done.code, done.complaints) == (0, "")


def test_row_24_a_child_uses_its_own_connection() -> None:
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
        done = run(script, server.url)
        assert (done.code, done.complaints) == (0, "")
        lines = words.wait(3)
    parent = lines[0][0]
    assert [(name == parent, word) for name, word in lines] == [
        (True, "before"),
        (False, "child"),
        (True, "after"),
    ]
    assert len(links.items) == 2


def test_row_24_an_idle_child_does_not_affect_the_parent() -> None:
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
        done = run(source.replace("conn.close()", "os._exit(0)"), server.url)
        assert (done.code, done.complaints) == (0, "")
        assert received.wait(1) == [TEXT]
        assert server.accepted == 1


def test_row_24_a_child_without_reconnect_gets_a_clear_error() -> None:
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
    with serve(echo) as server:
        done = run(script, server.url)
        assert (done.code, done.complaints) == (0, "")


def test_row_24_pending_calls_belong_to_the_parent() -> None:
    """A fork in the middle of traffic: the parent gets its answers, the child none of them and its own."""
    script = _fork(
        """
        assert conn.stats.pending == 0
        assert [conn.call('echo', n, timeout=20) for n in range(5)] == list(range(5))
        """,
        before="futures = [conn.submit('echo', n) for n in range(200)]",
        after="assert [one.result(20) for one in futures] == list(range(200))",
    )
    with serve(echo) as server:
        done = run(script, server.url)
        assert (done.code, done.complaints) == (0, "")


def test_row_24_observers_work_in_the_child() -> None:
    """What was registered before the fork sees the events of the child's own link."""
    script = _fork(
        """
        conn.call('callback', timeout=20)
        assert seen.wait(10)
        """,
        before="seen = threading.Event()\nconn.observe('go', lambda message: seen.set())",
        after="assert not seen.is_set()",
    )
    with serve(echo) as server:
        done = run(script, server.url)
        assert (done.code, done.complaints) == (0, "")


LOCKS = """
from locks import locks_of
conn = connect(url, timeout=20)
assert conn.call('echo', 1) == 1
ran = threading.Event()  # by a worker
conn.submit('echo', 1).add_done_callback(lambda _: ran.set())
assert ran.wait(20)
for name, lock in locks_of(conn).items():
    held, over = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            over.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        right = [conn.call('echo', n, timeout=8) for n in range(3)] == [0, 1, 2] and conn.stats.pending == 0
        conn.close()
        os._exit(0 if right else 1)
    over.set()
    holder.join()
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
assert conn.call('echo', 2) == 2
assert conn.stats.reconnects == 0
"""


def test_row_24_a_lock_held_during_the_fork_does_not_block_the_child() -> None:
    """For each lock of the connection in turn: held at the moment of the fork, and free in the child."""
    with serve(echo) as server:
        done = run(LOCKS, server.url)
    held = dict(line.split() for line in done.out.splitlines())
    assert (done.code, done.complaints) == (0, "")
    assert set(held.values()) == {"0"}, held
    last = {name.rpartition(".")[2] for name in held}
    assert last >= {
        *("_state_changed", "_write_lock", "changed", "_read_lock", "_idle_changed"),
        *("_calls_lock", "_table_lock", "_arrivals", "_exchange_lock", "_counters_lock"),
    }


GRANDCHILD = """
from owlsocket_sync.connection import _renewal_lock
conn = connect(url, timeout=20)
child = os.fork()
if child == 0:
    held = threading.Event()

    def hold():
        with _renewal_lock.get():
            held.set()
            time.sleep(20)

    threading.Thread(target=hold, daemon=True).start()
    held.wait(20)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(0 if conn.call('echo', 1, timeout=8) == 1 else 1)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_row_24_a_child_that_forks_while_it_makes_a_core_does_not_block_its_own_child() -> None:
    """The lock that is held meanwhile is a new one there."""
    with serve(echo) as server:
        done = run(GRANDCHILD, server.url)
    assert (done.code, done.complaints) == (0, "")


STATES = {
    "idle": "pass",
    "a call in flight": "conn.submit('never')",
    "a call in flight in another thread": (
        "threading.Thread(target=lambda: conn.call('never', timeout=600), daemon=True).start()\n"
        "while not conn.stats.messages_out: time.sleep(0.001)"
    ),
    "an iteration under way": "waiting = conn.events('never'), conn.stream('never')",
    "a batch open": "batch = conn.batch()\nbatch.__enter__()\nconn.notify('kept')",
}

UNTOUCHED = """
conn = connect(url, timeout=20, heartbeat=None)
other = connect(sys.argv[2], timeout=20)
{state}
for _ in range(int(sys.argv[3])):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        import gc
        {inside}
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print(conn.stats.bytes_out, flush=True)
os._exit(0)
"""

INSIDE = {
    "uses nothing": "pass",
    "closes it": "conn.close()",
    "forgets it": "del conn; gc.collect()",
    "uses another": "assert other.call('echo', 5, timeout=10) == 5",
    "ends like any script": "import atexit; atexit._run_exitfuncs()",
}


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("state", STATES)
def test_row_24_a_child_writes_nothing_on_its_parents_link(state: str, inside: str, figure: Figure) -> None:
    """Whatever the parent was at, and whatever the child does: not a byte of it is in what arrives."""
    forks = whole(2, 100)
    arrived = Collector()

    def record(peer: RawPeer) -> None:
        peer.upgrade()
        size, opcodes = 0, set()
        with pytest.raises(EOFError, match="0 of 2 bytes came"):
            while True:
                frame = peer.read_frame()
                size += len(frame.payload)
                opcodes.add(frame.opcode)
        arrived(size, opcodes)

    with ByteServer(record) as server, serve(echo) as other:
        done = run(UNTOUCHED.format(state=STATES[state], inside=INSIDE[inside]), server.url, other.url, str(forks))
        assert (done.code, done.complaints) == (0, "")
        size, opcodes = arrived.wait(1)[0]
        assert opcodes <= {TEXT}
        figure("bytes of the child on its parent's link", size - int(done.out), 0, "bytes")
        assert server.accepted == 1
