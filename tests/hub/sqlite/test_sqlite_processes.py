"""Processes that are one hub by a file: they die, fork, publish without a pause, and have nothing to do."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from owlsocket_sync import SocketConnectionError
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.hub import PresenceChange, SqliteHub
from support.child_processes import Child, environment
from support.figures import Figure
from support.helpers import Collector, eventually, scaled, whole
from support.linked import aside
from support.seats import FakeServer, client_of, received

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")]

MakeNode = Callable[..., SqliteHub]

USE = """
import os, signal, sys, threading, time
from owlsocket_sync.hub import Member, SqliteHub, Publication
from owlsocket_sync.hub.base import BusEvents

hub = SqliteHub(sys.argv[1])
bus = hub.listen()

def join(count):
    for number in range(count):
        bus.join("owls", Member(f"{hub.node}-{number}", None, "s@" + hub.node, number))

def observe(see):
    take = hub._node.append
    def append(entry):
        take(entry)
        if isinstance(entry, Publication):
            see(entry.payload())
    hub._node.append = append
"""


def using(path: Path, source: str, first: str = "", **more: str) -> Child:
    """A process of its own that is a node of the hub, and runs this source."""
    return Child([sys.executable, "-c", first + USE + source, str(path)], environment(**more))


JOIN = """
join(5)
print(hub.node, flush=True)
while True:
    hub.publish("n", hub.node)
"""


@pytest.mark.stress
def test_row_b3_no_ghost_is_left_of_processes_that_are_killed(path: Path, make_node: MakeNode, figure: Figure) -> None:
    """At any moment: each member of theirs leaves once, for all that are left, and within a second or two."""
    hubs = [make_node(), make_node()]
    left = [Counter[str](), Counter[str]()]

    def count(leaves: Counter[str], change: PresenceChange) -> None:
        if change.kind == "leave":
            leaves[change.member.id] += 1

    for hub, leaves in zip(hubs, left, strict=True):
        hub.on_presence(partial(count, leaves))
    kills, together = whole((2, 3), (250, 4))
    longest = 0.0
    for _ in range(kills):
        with ExitStack() as stack:
            children = [stack.enter_context(using(path, JOIN)) for _ in range(together)]
            nodes = [child.line() for child in children]
            before = [sum(leaves.values()) for leaves in left]
            at = [child.send(9) for child in children]
            goal = [known + 5 * together for known in before]
            eventually(lambda goal=goal: [sum(leaves.values()) for leaves in left] == goal, 10)  # type: ignore[misc]
            longest = max(longest, time.monotonic() - min(at))
            assert hubs[0].members("owls") == []
            assert {node for node in nodes if node in str(left)} == set(nodes)
    for leaves in left:
        assert set(leaves.values()) == {1}
    assert hubs[1].servers() == []
    eventually(lambda: len([name for name in os.listdir(path.parent) if "wake" in name]) == 2)
    figure("kill -9 of a process to the last leave of its members, by a file", longest, 2.0, "s")


def test_what_a_killed_process_was_asked_fails(path: Path, make_node: MakeNode) -> None:
    """Within two seconds, and not at the timeout of the call."""
    hub = make_node()
    with using(path, "join(1)\nprint(hub.node, flush=True)\ntime.sleep(600)") as child:
        node = child.line()
        calling = aside(partial(_ask_for_ever, hub, node))
        eventually(lambda: hub._node.requests._pending)
        killed = child.send(9)
        (error,) = calling.wait(1)
        assert time.monotonic() - killed < scaled(2)
    assert isinstance(error, SocketConnectionError)
    assert error.code == "CONNECTION_LOST"
    with pytest.raises(SocketConnectionError, match="has no connection"):
        hub.call(f"{node}-0", "x")


def _ask_for_ever(hub: SqliteHub, node: str) -> None:
    """Ask a process for what it does not answer."""
    bus = hub.listen()
    number, request = hub._node.requests.begin(bus, "answer", [f"{node}-0"], {"method": "x"}, Deadline(30))
    eventually(lambda: request.outcomes, 30)
    hub._node.requests.end(number)
    error = request.outcomes[f"{node}-0"].error
    assert error is not None
    raise error


def test_a_process_that_only_looks_sees_no_ghost(path: Path, make_node: MakeNode) -> None:
    """Also where all others are dead."""
    with using(path, "join(3)\nbus.add_server('s')\nprint('here', flush=True)\ntime.sleep(600)") as child:
        assert child.line() == "here"
        assert make_node().count("owls") == 3
        child.send(9)
        child.finish()
    late = make_node()
    assert (late.count("owls"), late.members("owls"), late.servers()) == (0, [], [])
    assert not late.open().send("someone", b"x", None)
    assert not [name for name in os.listdir(path.parent) if "owner" in name or "wake" in name]


BURST = """
got = []
observe(got.append)
print("ready", flush=True)
while not hub.servers():
    time.sleep(0.001)
for number in range(int(os.environ["COUNT"])):
    hub.publish("n", [hub.node, number])
while len(got) < int(os.environ["ALL"]):
    time.sleep(0.01)
print(got, flush=True)
"""


@pytest.mark.stress
def test_row_b6_processes_that_publish_together_have_one_order(path: Path) -> None:
    """None is lost, and those of one process are in its order."""
    processes, count = 3, whole(200, 5_000)
    with ExitStack() as stack:
        numbers = {"COUNT": str(count), "ALL": str(processes * count)}
        children = [stack.enter_context(using(path, BURST, **numbers)) for _ in range(processes)]
        assert [child.line() for child in children] == ["ready"] * processes
        hub = stack.enter_context(SqliteHub(path))
        hub.listen().add_server("go")
        orders = [child.line() for child in children]
    assert orders[0].count("[") == processes * count + 1
    assert len(set(orders)) == 1


@pytest.mark.timing
@pytest.mark.stress
def test_a_busy_process_does_not_starve_another_one(path: Path, make_node: MakeNode, figure: Figure) -> None:
    """One publishes without a pause; how long does another one take for an event?"""
    times = []
    with using(path, "print('busy', flush=True)\nwhile True: hub.publish('n', 'x' * 200)") as child:
        assert child.line() == "busy"
        hub = make_node()
        pause = threading.Event()
        for number in range(whole(200, 2_000)):
            began = time.monotonic()
            hub.publish("n", number)
            times.append(time.monotonic() - began)
            pause.wait(0.002)
    figure("publish beside a busy process, p99", 1000 * sorted(times)[int(0.99 * len(times))], 50, "ms")


LATENCY = """
seen = []
observe(lambda sent: seen.append(1000 * (time.monotonic() - sent)))
began = time.process_time()
time.sleep(float(os.environ["IDLE"]))
print(100 * (time.process_time() - began) / float(os.environ["IDLE"]), flush=True)
while len(seen) < 200:
    time.sleep(0.01)
print(sorted(seen)[100], flush=True)
"""


@pytest.mark.timing
def test_an_event_is_there_at_once_and_waiting_takes_no_time(path: Path, make_node: MakeNode, figure: Figure) -> None:
    """Of a core, beside three other processes that wait as well; and how long an event is on its way."""
    with ExitStack() as stack:
        children = [stack.enter_context(using(path, LATENCY, IDLE=str(whole(3, 20)))) for _ in range(4)]
        idle = max(float(child.line()) for child in children)
        hub, pause = make_node(), threading.Event()
        for _ in range(200):
            hub.publish("n", time.monotonic())
            pause.wait(0.005)
        latency = max(float(child.line()) for child in children)
    figure("time of a core that an idle worker takes, by a file", idle, 0.2, "%")
    figure("from publish to another process by a file, median", latency, 2.0, "ms")


FORK = """
import ctypes
from support.seats import FakeServer, client_of, received
from support.helpers import eventually
seat = FakeServer(hub).connect()
seat.join("owls", os.getpid())
ended = threading.Event()
published = []
def publish():
    while not ended.is_set():
        published.append(hub.publish("n", "parent"))
publishing = threading.Thread(target=publish)
publishing.start()
node = hub.node
for _ in range(int(os.environ["FORKS"])):
    {prepare}
    child = {fork}
    {go_on}
    if child == 0:
        signal.alarm(20)
        code = 1
        try:
            assert hub.node != node
            assert [member.info for member in hub.members("owls")] == [os.getppid()]
            own = FakeServer(hub).connect()
            own.join("owls", os.getpid())
            hub.publish("from a child", os.getpid(), room="owls")
            eventually(lambda: os.getpid() in client_of(own).got, 10)
            if os.getpid() % 2:
                hub.close()
            code = 0
        except BaseException as error:
            print("child", type(error).__name__, error, file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, code
    eventually(lambda: child in client_of(seat).got, 10)
eventually(lambda: hub.count("owls") == 1, 10)
ended.set()
publishing.join()
assert received(seat)[0].count("parent") == len(published)
hub.close()
"""


IDLE = """
wake_file = bus._listener._wake
wait, is_idle, over = wake_file.wait, threading.Event(), threading.Event()
asked = []
def stay(seconds):
    if asked:
        is_idle.set()
        over.wait()
    wait(seconds)
wake_file.wait = stay
def hold_reader():
    over.clear()
    is_idle.clear()
    # The thread that is asked to stay gives the interpreter away only where it waits, and is not about to want it.
    sys.setswitchinterval(1000)
    asked.append(True)
    assert is_idle.wait(20)
def free_reader():
    asked.clear()
    sys.setswitchinterval(0.005)
    over.set()
"""


@pytest.mark.parametrize("fork", ["os.fork()", "ctypes.PyDLL(None).fork()"], ids=["python", "c"])
def test_a_child_is_a_node_of_its_own(path: Path, fork: str) -> None:
    """Whatever the threads of its parent do at the fork; the parent misses nothing."""
    source, prepare, go_on = FORK, "", ""
    if "PyDLL" in fork:
        # Neither the interpreter nor SQLite survives a fork by C code while another thread is in it, or waits for it.
        source = source.replace("while not ended.is_set():", "if False:").replace(
            "node = hub.node", f"{IDLE}node = hub.node"
        )
        prepare, go_on = "publishing.join(); hold_reader()", "free_reader()"
    source = source.replace("{fork}", fork).replace("{prepare}", prepare).replace("{go_on}", go_on)
    tests = os.pathsep.join((environment()["PYTHONPATH"], str(Path(__file__).parents[2])))
    with using(path, source, FORKS=str(whole(6, 100)), PYTHONPATH=tests) as child:
        done = child.finish(60)
    assert (done.code, done.complaints) == (0, "")


GEVENT = """
import gevent
pauses, over = [], False
def tick():
    while not over:
        began = time.monotonic()
        gevent.sleep(0.01)
        pauses.append(time.monotonic() - began - 0.01)
ticker = gevent.spawn(tick)
got = []
observe(got.append)
join(1)
print("ready", flush=True)
while len(got) < 100:
    gevent.sleep(0.01)
child = os.fork()
if child == 0:
    other = hub.listen()
    hub.publish("n", "from a child")
    os._exit(0 if hub.node != got else 1)
assert os.waitpid(child, 0)[1] == 0
while "from a child" not in got:
    gevent.sleep(0.01)
over = True
ticker.join()
hub.close()
print(max(pauses), flush=True)
"""


def test_greenlets_are_not_blocked_by_a_hub(path: Path, make_node: MakeNode) -> None:
    """The reader waits as a greenlet does."""
    pytest.importorskip("gevent")
    hub = make_node()
    seat = FakeServer(hub).connect()
    seat.join("owls", None)
    with using(path, GEVENT, "from gevent import monkey\nmonkey.patch_all()\n") as child:
        assert child.line() == "ready"
        for number in range(100):
            hub.publish("n", number)
        done = child.finish()
    assert (done.code, done.complaints) == (0, "")
    assert float(done.out) < scaled(0.5)
    eventually(lambda: hub.count("owls") == 1)
    assert received(seat)[0][-1] == "from a child"
    assert client_of(seat).got[:100] == list(range(100))


def test_a_paused_process_misses_nothing_that_is_kept(path: Path, make_node: MakeNode) -> None:
    """It is alive, so it keeps its members, and reads what has come meanwhile."""
    hub = make_node()
    changes = Collector()
    hub.on_presence(lambda change: changes(change.kind))
    with using(path, "got = []\nobserve(got.append)\njoin(1)\nprint('here', flush=True)\n" + PAUSED) as child:
        assert child.line() == "here"
        child.send(19)
        for number in range(300):
            hub.publish("n", number)
        pause = threading.Event()
        pause.wait(1.2)
        assert hub.count("owls") == 1
        child.send(18)
        assert child.line() == "True"
    assert changes.items[0] == "join"


PAUSED = "while len(got) < 300: time.sleep(0.01)\nprint(got == list(range(300)), flush=True)\ntime.sleep(600)"
