"""Forks: a child has a hub of its own, and nothing of its parent's; handlers stay registered."""

from __future__ import annotations

import pytest

from owlsocket_sync.server import serve
from support.child_processes import run
from support.handlers import echo

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
