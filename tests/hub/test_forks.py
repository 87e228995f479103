"""Forks: a child has a hub of its own, and nothing of its parent's; handlers stay registered."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from owlsocket_sync.server import serve
from support.child_processes import Child, environment, run
from support.handlers import echo
from support.helpers import whole

SCRIPT = """
from owlsocket_sync.hub import MemoryHub
from owlsocket_sync.server import serve

hub, changes, conns = MemoryHub(), [], []

def handle(conn, request):
    conn.join("owls", os.getpid())
    conn.perform("id", lambda: conn.id)
    conns.append(conn)

hub.on_presence(lambda change: changes.append((os.getpid(), change.kind)))
server = serve(handle, hub=hub)
client = connect(server.url)
id = client.call("id")
node, lock = hub.node, hub.table._rooms_lock
held, go_on = threading.Event(), threading.Event()

def hold():  # a thread that the child does not have holds each lock
    with lock, hub._opening_lock, hub._node._log._log_lock, hub._bus._space._space_lock:
        held.set()
        go_on.wait(20)

threading.Thread(target=hold, daemon=True).start()
held.wait(10)
{fork}
if child == 0:
    signal.alarm(15)
    code = 1
    try:
        assert hub.node != node
        assert (hub.members("owls"), hub.count("owls"), hub.servers()) == ([], 0, [])
        hub.publish("news", 1)
        server.broadcast("news", 2)
        for use in (lambda: hub.call(id, "x"), lambda: hub.send("news", to=id), lambda: conns[0].join("mice"),
                    lambda: conns[0].id):
            try:
                use()
            except SocketConnectionError as error:
                assert type(error) is SocketConnectionError, error
            else:
                raise AssertionError("no error")
        with serve(handle, hub=hub) as own, connect(own.url) as conn:
            assert conn.call("id", timeout=20) == hub.members("owls")[0].id
            assert [member.info for member in hub.members("owls")] == [os.getpid()]
        while (os.getpid(), "leave") not in changes:
            time.sleep(0.01)
        code = 0
    except BaseException as error:
        print("child", type(error).__name__, error, file=sys.stderr, flush=True)
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
go_on.set()
with client.events("news", timeout=20) as events:
    hub.publish("news", 3, room="owls")
    assert next(events).payload == 3
assert [member.info for member in hub.members("owls")] == [os.getpid()]
client.close()
server.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
# The interpreter itself survives such a fork only while no other thread waits for its lock.
C_FORK = "import ctypes\ntime.sleep(0.3)\nchild = ctypes.PyDLL(None).fork()"


@pytest.mark.slow
@pytest.mark.parametrize("fork", ["child = os.fork()", C_FORK], ids=["python", "c"])
def test_a_child_uses_nothing_of_its_parents_hub(fork: str) -> None:
    """Whatever locks are held at the fork; the parent goes on."""
    with serve(echo) as server:
        done = run(SCRIPT.replace("{fork}", fork), server.url)
    assert (done.code, done.complaints) == (0, "")


LOAD = """
import os, signal, sys, threading, time
from owlsocket_sync import connect
from owlsocket_sync.hub import open_hub
from owlsocket_sync.server import serve

hub = open_hub(sys.argv[1])
changes, got, counts = [], [], [0, 0]
hub.on_presence(lambda change: changes.append((os.getpid(), change.kind, change.room)))

def handle(conn, request):
    conn.join("owls")
    conn.perform("id", lambda: conn.id)
    conn.perform("dance", lambda number: (conn.join(f"dance {number}"), conn.leave(f"dance {number}")) and number)

server = serve(handle, hub=hub)
client, other = connect(server.url), connect(server.url)
client.observe("n", lambda message: got.append(tuple(message.payload)))
client.perform("echo", lambda number: number)
id, node, stop, errors = client.call("id"), hub.node, threading.Event(), []
parent = os.getpid()

def publish(thread):
    hub.publish("n", [thread, counts[thread]], room="owls")
    counts[thread] += 1

def dance(number):
    assert other.call("dance", number, timeout=15) == number

def call(number):
    assert hub.call(id, "echo", number, timeout=15) == number

def repeat(action, *arguments):
    number = 0
    while not stop.wait(0.002):
        try:
            action(*arguments or (number,))
        except Exception as error:
            errors.append(repr(error))
        number += 1

threads = [threading.Thread(target=repeat, args=each) for each in ((publish, 0), (publish, 1), (dance,), (call,))]
for thread in threads:
    thread.start()
codes = []
for _ in range(int(sys.argv[2])):
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            assert hub.node != node
            hub.on_presence(lambda change: None)
            with serve(handle, hub=hub) as own, connect(own.url) as conn:
                conn.perform("echo", lambda number: number)
                assert hub.call(conn.call("id", timeout=15), "echo", 1, timeout=15) == 1
                assert hub.call(id, "echo", 2, timeout=15) == 2  # of the parent
            hub.close()
            os._exit(0)
        finally:
            os._exit(1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
for thread in threads:
    thread.join(20)
wanted = sorted((thread, number) for thread in (0, 1) for number in range(counts[thread]))
end = time.monotonic() + 20
while time.monotonic() < end and len(got) < len(wanted):
    time.sleep(0.01)
dances = [change for change in changes if change[0] == parent and change[2] != "owls"]
print(set(codes), errors[:3], sorted(got) == wanted, len(dances) == len(set(dances)), len(hub.members("owls")))
client.close(), other.close(), server.close(), hub.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_forks_under_load_harm_neither_side(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Other threads publish, join and call: the parent loses nothing and doubles nothing, each child is a node."""
    url = (
        str(tmp_path / "hub.db") if kind == "sqlite" else f"{request.getfixturevalue('redis_server').url}?prefix=forks"
    )
    with Child([sys.executable, "-c", LOAD, url, str(whole(3, 100))], environment()) as child:
        done = child.finish()
    assert (done.code, done.out.strip(), done.complaints) == (0, "{0} [] True True 2", "")
