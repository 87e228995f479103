"""Forks by C code, which run no hook of Python: a child notices at its first use of anything that it inherited."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import pytest

from owlsocket_sync import Connection
from owlsocket_sync.server import Request, serve
from support.child_processes import echo, run
from support.variants import kinds

pytestmark = pytest.mark.slow

FORK = """
import ctypes, warnings
from locks import locks_of
c_fork = ctypes.PyDLL(None).fork  # as uWSGI's master forks: neither os.fork nor its hooks know
conn = connect(url, timeout=20, heartbeat=None, name='parent')

def refused(use):
    try:
        use()
    except SocketConnectionError as error:
        assert 'parent process' in str(error), error
    else:
        raise AssertionError('no error')

{before}
(seen, links), sent = conn.call('seen'), conn.stats.bytes_out
{last}
# The interpreter itself survives such a fork only while no other thread waits for its lock.
time.sleep(0.2)
child = c_fork()
if child == 0:
    signal.alarm(15)
    code = 1
    try:
        {inside}
        code = 0
    except BaseException as error:
        print('child', type(error).__name__, error, file=sys.stderr, flush=True)
    finally:
        os._exit(code)
status = os.waitpid(child, 0)[1]
seen_now, links_now = conn.call('seen')
assert seen_now - seen == conn.stats.bytes_out - sent, 'the child sent messages on the link of its parent'
assert links_now - links in {links}, 'links of the child: %d' % (links_now - links)
assert (conn.stats.reconnects, conn.stats.unmatched, conn.state) == (0, 0, ConnectionState.OPEN)
{after}
conn.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""

SERVER = """
from owlsocket_sync.server import serve
accepted = []
server = serve(lambda conn, request: accepted.append(conn))
client = connect(server.url, timeout=20, heartbeat=None)
while not accepted: time.sleep(0.01)
received = []
client.observe('*', received.append)
"""
SERVER_AFTER = """
accepted[0].notify('after')
while not received: time.sleep(0.01)
assert [message.event for message in received] == ['after'], received
assert client.stats.reconnects == 0 and len(accepted) == 1
client.close()
server.close()
"""


@dataclass(frozen=True)
class Use:
    """What parent and child do.

    Attributes:
        inside: the child, with what it inherited.
        before: the parent, before the fork.
        last: the parent, right before the fork, where no message may be sent any more.
        after: the parent, once the child has ended.
        links: how many links the child may make.
    """

    inside: str
    before: str = ""
    last: str = ""
    after: str = ""
    links: tuple[int, ...] = (0, 1)


USES = {
    "call": Use(inside="assert conn.call('echo', 1, timeout=10) == 1"),
    "notify": Use(
        inside="""
conn.notify('child')
assert conn.call('echo', 1, timeout=10) == 1
"""
    ),
    "submit": Use(inside="assert conn.submit('echo', 1, timeout=10).result() == 1"),
    "result() of an inherited future": Use(
        before="future = conn.submit('slow')",
        inside="""
from owlsocket_sync.runtime.link import Link
reads = []
Link.read_for = lambda *arguments: reads.append(arguments)
refused(lambda: future.result(10))
assert reads == [], 'the child read from the socket of its parent'
""",
    ),
    "exception() of an inherited future": Use(
        before="future = conn.submit('slow')", inside="assert 'parent process' in str(future.exception(10))"
    ),
    "done() of an inherited future": Use(before="future = conn.submit('slow')", inside="assert future.done()"),
    "wait() for an inherited future": Use(
        before="""
from concurrent.futures import wait
future = conn.submit('slow')
""",
        inside="assert wait([future], timeout=5).done == {future}",
    ),
    "cancel() of an inherited future": Use(
        before="future = conn.submit('slow')",
        inside="""
future.cancel()
assert future.done() and conn.stats.pending == 0
""",
    ),
    "a callback of an inherited future": Use(
        before="""
called = []
future = conn.submit('slow')
""",
        inside="""
future.add_done_callback(lambda future: called.append(future.exception()))
assert 'parent process' in str(called[0])
""",
    ),
    "an answered future": Use(
        before="""
future = conn.submit('echo', 3)
assert future.result() == 3
""",
        inside="assert future.result() == 3",
    ),
    "next() of inherited events()": Use(
        before="events = conn.events('go', timeout=10)",
        inside="""
conn.call('callback', timeout=10)
assert next(events).event == 'go'
""",
    ),
    "next() of inherited events(), first": Use(
        before="events = conn.events('go', timeout=0.2)",
        inside="""
try:
    next(events)
except owlsocket_sync.SocketTimeout:
    pass
assert conn.call('echo', 1, timeout=10) == 1
""",
    ),
    "close() of inherited events()": Use(
        before="events = conn.events('go', timeout=10)",
        inside="""
events.close()
assert conn.call('callback', timeout=10) is None
assert list(events) == []
""",
    ),
    "next() of an inherited stream()": Use(
        before="stream = conn.stream('never')", inside="refused(lambda: next(stream))"
    ),
    "close() of an inherited stream()": Use(
        before="stream = conn.stream('never')",
        inside="""
stream.close()
assert list(stream) == []
""",
    ),
    "next() of inherited messages()": Use(
        before="messages = conn.messages(timeout=0.2)",
        inside="""
assert list(messages) == []
assert conn.call('echo', 1, timeout=10) == 1
""",
    ),
    "an inherited loop over messages()": Use(
        before="""
conn.call('post')
messages = conn.messages(timeout=10)
assert next(messages).payload == 'posted'
""",
        inside="""
messages.close()
assert conn.stats.queued == 0
""",
    ),
    "consume": Use(inside="assert conn.consume(timeout=0.1) is None"),
    "request": Use(inside="refused_request = conn.request('ignored')"),
    "observe": Use(
        inside="""
came = threading.Event()
conn.observe('go', lambda message: came.set())
conn.call('callback', timeout=10)
assert came.wait(10)
"""
    ),
    "unsubscribe": Use(
        before="subscription = conn.observe('go', print)",
        inside="""
subscription()
conn.call('callback', timeout=10)
""",
    ),
    "perform": Use(
        inside="""
conn.perform('who', lambda: 'child')
assert conn.call('ask', timeout=10) == 'child'
"""
    ),
    "ping": Use(inside="assert conn.ping(timeout=10) > 0"),
    "wait_open": Use(inside="conn.wait_open(timeout=10)"),
    "close": Use(
        inside="""
conn.close()
assert conn.state is ConnectionState.CLOSED
"""
    ),
    "drain": Use(inside="conn.drain(timeout=5)"),
    "reconnect": Use(
        inside="""
conn.reconnect()
assert conn.call('echo', 1, timeout=10) == 1
""",
        links=(1, 2),
    ),
    "state, stats and repr": Use(
        inside="""
assert conn.state is ConnectionState.CONNECTING
assert conn.stats.messages_out == 0
assert 'connecting' in repr(conn)
assert conn._repr_html_()
"""
    ),
    "a batch": Use(
        inside="""
with conn.batch(): conn.notify('one'); conn.notify('two')
conn.ping(timeout=10)
"""
    ),
    "an inherited batch": Use(
        before="batch = conn.batch()",
        last="""
batch.__enter__()
conn.notify('kept')
""",
        inside="""
conn.notify('child')
batch.__exit__(None, None, None)
assert conn.call('received', timeout=10) == ['child']
""",
        after="""
batch.__exit__(None, None, None)
assert conn.call('received') == ['kept']
""",
    ),
    "an inherited deadline": Use(
        before="""
deadline = conn.deadline(20)
deadline.__enter__()
""",
        inside="""
deadline.__exit__(None, None, None)
assert conn.call('echo', 1, timeout=10) == 1
""",
    ),
    "forget": Use(
        inside="""
import gc
warnings.simplefilter('error')
del conn
gc.collect()
"""
    ),
    "a batch that ends": Use(
        before="batch = conn.batch()",
        last="""
batch.__enter__()
conn.notify('kept')
""",
        inside="batch.__exit__(None, None, None)",
        after="""
batch.__exit__(None, None, None)
assert conn.call('received') == ['kept']
""",
    ),
    "the end of a script": Use(
        inside="""
import atexit
atexit._run_exitfuncs()
"""
    ),
    "connections()": Use(inside="assert owlsocket_sync.connections() == []"),
    "instrument()": Use(
        before="from owlsocket_sync import Instrument, instrument",
        inside="with instrument(Instrument()): assert conn.call('echo', 1, timeout=10) == 1",
    ),
    "another connect()": Use(
        inside="""
other = connect(url, timeout=10)
assert other.call('echo', 1, timeout=10) == 1
assert other.stats.reconnects == 0 and other.stats.messages_out == 1
""",
        links=(1,),
    ),
    "connect(replace=True)": Use(
        inside="""
other = connect(url, timeout=10, name='parent', replace=True)
assert other.call('echo', 1, timeout=10) == 1
""",
        links=(1,),
    ),
    "a connection made without reconnecting": Use(
        before="single = connect(url, timeout=20, reconnect=None)",
        inside="""
refused(lambda: single.call('echo', 1, timeout=10))
refused(lambda: single.notify('x'))
""",
        links=(0,),
    ),
    "a fork of the child": Use(
        inside="""
assert conn.call('echo', 1, timeout=10) == 1
time.sleep(0.2)  # as above
child = c_fork()
if child == 0:
    os._exit(0 if conn.call('echo', 2, timeout=10) == 2 else 1)
assert os.waitpid(child, 0)[1] == 0
assert conn.call('echo', 3, timeout=10) == 3
""",
        links=(2,),
    ),
    "an os.fork of the child": Use(
        inside="""
assert conn.call('echo', 1, timeout=10) == 1
child = os.fork()
if child == 0:
    os._exit(0 if conn.call('echo', 2, timeout=10) == 2 else 1)
assert os.waitpid(child, 0)[1] == 0
assert conn.call('echo', 3, timeout=10) == 3
""",
        links=(2,),
    ),
    "a connection of a server": Use(
        before=SERVER, inside="refused(lambda: accepted[0].notify('child'))", after=SERVER_AFTER
    ),
    "close() of a connection of a server": Use(before=SERVER, inside="accepted[0].close()", after=SERVER_AFTER),
    "connections of a server": Use(
        before=SERVER, inside="assert server.connections == [] and '0 connections' in repr(server)", after=SERVER_AFTER
    ),
    "broadcast": Use(before=SERVER, inside="server.broadcast('child')", after=SERVER_AFTER),
    "wait() for a server": Use(before=SERVER, inside="assert server.wait(5)", after=SERVER_AFTER),
    "close() of a server": Use(before=SERVER, inside="server.close()", after=SERVER_AFTER),
    "another serve()": Use(
        before=SERVER,
        inside="""
with serve(lambda conn, request: conn.perform('echo', lambda x: x)) as own, connect(own.url) as client:
    assert client.call('echo', 5, timeout=10) == 5
    assert len(own.connections) == 1
""",
        after=SERVER_AFTER,
    ),
    "a service": Use(
        before="""
from owlsocket_sync.context import Context, SocketService
context = Context(SocketService(url, timeout=20))
service = context.service('socket')
assert service.connection.call('echo', 1) == 1
""",
        inside="""
assert service.current is None
assert service.connection.call('echo', 1, timeout=10) == 1
context.close()
""",
    ),
    "close() of a context": Use(
        before="""
from owlsocket_sync.context import Context, SocketService
context = Context(SocketService(url, timeout=20))
service = context.service('socket')
assert service.connection.call('echo', 1) == 1
""",
        inside="context.close()",
    ),
    "a fault proxy": Use(
        before="""
from owlsocket_sync.testing import FaultProxy
proxy = FaultProxy('127.0.0.1', int(url.rpartition(':')[2].strip('/')))
proxied = connect(proxy.url(), timeout=20, heartbeat=None)
assert proxied.call('echo', 1) == 1
""",
        inside="""
assert proxy.connections == []
try:
    proxy.cut()
except RuntimeError as error: assert 'closed' in str(error)
else: raise AssertionError('no error')
proxy.close()
""",
        after="""
assert proxied.call('echo', 2) == 2 and len(proxy.connections) == 1
proxied.close()
proxy.close()
""",
    ),
}


class Host:
    """A server's handler: does what `echo` does, and tells what came on this link, and how many links there were."""

    def __init__(self) -> None:
        self.links = 0

    def __call__(self, conn: Connection, request: Request) -> None:
        self.links += 1
        echo(conn, request)
        conn.perform("seen", lambda: (conn.stats.bytes_in, self.links))
        names: list[str] = []
        conn.observe("*", lambda message: names.append(message.event))
        conn.perform("received", lambda: names)
        conn.perform("post", lambda: conn.enqueue("posted"))
        conn.perform("ask", lambda: conn.call("who"))


@pytest.mark.parametrize(
    "use", kinds(USES, "call", "submit", "result() of an inherited future", "close", "another connect()")
)
def test_row_24_the_first_use_after_a_fork_by_c_code(use: str) -> None:
    """It connects anew, or raises a clear error; the parent's link carries no message of the child, and goes on."""
    scene = USES[use]
    inside = textwrap.indent(scene.inside.strip(), " " * 8).strip()
    source = FORK.format(before=scene.before, last=scene.last, inside=inside, after=scene.after, links=scene.links)
    with serve(Host()) as server:
        done = run(source, server.url)
    assert (done.code, done.complaints) == (0, "")


LOCKS = """
import ctypes
from contextlib import ExitStack
from locks import locks_of
from owlsocket_sync.auth import Authority, KeyPair, Login, MemoryReplayStore, User
from owlsocket_sync.auth.claims import Claim
from owlsocket_sync.context import Context, SocketService
from owlsocket_sync.contrib.otel import OwlSocketInstrumentor
from owlsocket_sync.server import serve
from owlsocket_sync.testing import FaultProxy
conn = connect(url, timeout=20, heartbeat=None, name='here')
server = serve(lambda conn, request: None)
client = connect(server.url, timeout=20, heartbeat=None)
proxy = FaultProxy('127.0.0.1', int(url.rpartition(':')[2].strip('/')))
login = Login('http://127.0.0.1:9', KeyPair.generate())
store = MemoryReplayStore()
user, stranger = KeyPair.generate(), KeyPair.generate()
authority = Authority(KeyPair.generate(), [User(user.public)])

def log_in(claim):
    credentials = claim.sign_challenge(authority.init(claim.init_request())['challenge'])
    return authority.exchange(authority.authenticate(credentials))['token']

context = Context(SocketService(url, timeout=20, heartbeat=None))
service = context.service('socket')
future = conn.submit('slow')
events = conn.events('go', timeout=10)
registered = conn.observe('go', lambda message: None)
ran = threading.Event()  # by a worker
conn.submit('echo', 1).add_done_callback(lambda _: ran.set())
assert ran.wait(20)
assert conn.call('echo', 1) == service.connection.call('echo', 1) == 1
assert log_in(Claim(user)) and store.use_once('before', time.time() + 60) and not login.refused('no token')
while not server.connections: time.sleep(0.01)
accepted = server.connections[0]
roots = {'server': server, 'proxy': proxy, 'login': login, 'store': store, 'authority': authority,
         'context': context, 'service': service,
         'conn': conn, 'accepted': accepted, 'future': future, 'events': events,
         'otel': OwlSocketInstrumentor._instrumentor_lock}
for module in [module for name, module in sys.modules.items() if name.startswith('owlsocket_sync')]:
    for name, value in vars(module).items():
        if type(value).__module__.startswith('owlsocket_sync'):
            roots[f'{module.__name__}.{name}'] = value
locks = {id(lock): (f'{root}.{name}', lock) for root, owner in roots.items() for name, lock in locks_of(owner).items()}
print(*[name for name, _ in locks.values()], flush=True)
held, over = threading.Event(), threading.Event()

def hold():
    with ExitStack() as stack:
        for _, lock in locks.values():
            stack.enter_context(lock)
        held.set()
        over.wait(20)

holder = threading.Thread(target=hold)
holder.start()
assert held.wait(20)
time.sleep(0.2)
failed = []
for name, use in {uses}.items():
    child = {fork}()
    if child == 0:
        signal.alarm(20)
        exec(use)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        failed.append((name, os.waitstatus_to_exitcode(status)))
over.set()
holder.join()
assert conn.call('echo', 2) == service.connection.call('echo', 2) == 2
assert conn.stats.reconnects == client.stats.reconnects == 0
sys.exit(f'failed in a child: {failed}' if failed else 0)
"""

REJECTED = """
try:
    raise SystemExit(log_in(Claim(stranger, user_id=user.address)))
except owlsocket_sync.AuthError:
    pass
"""

FIRST = {
    "a call": "assert conn.call('echo', 3, timeout=10) == 3 and conn.stats.pending == 0",
    "a future": "assert 'parent process' in str(future.exception(5))",
    "an iterator": "events.close()",
    "a subscription": "registered()",
    "a login": "assert not login.refused('no token')",
    "an authority": "assert log_in(Claim(user))",
    "an authority that rejects": REJECTED,
    "a replay store": "assert not store.use_once('before', time.time()) and store.use_once('after', time.time() + 9)",
    "a context": "assert service.connection.call('echo', 3, timeout=10) == 3; context.close()",
    "a server": "assert server.connections == []; server.broadcast('x'); server.close(); assert server.wait(5)",
    "a connection of a server": "accepted.close(); assert accepted.state is ConnectionState.CLOSED",
    "a fault proxy": "assert proxy.connections == []; proxy.close()",
    "an instrumentor": "OwlSocketInstrumentor().instrument(); OwlSocketInstrumentor().uninstrument()",
    "connections()": "assert owlsocket_sync.connections() == []",
    "connect()": "with connect(url, timeout=10, name='here', replace=True) as own: assert own.call('echo', 3) == 3",
    "a new server": "assert serve(lambda conn, request: None).connections == []",
    "a new fault proxy": "FaultProxy('127.0.0.1', 9).close()",
}


@pytest.mark.parametrize("fork", ["os.fork", "ctypes.PyDLL(None).fork"])
def test_row_24_all_locks_are_held_at_the_fork(fork: str) -> None:
    """A thread of the parent holds every lock of the library; whatever a child uses first, it does not hang."""
    with serve(Host()) as server:
        done = run(LOCKS.replace("{fork}", fork).replace("{uses}", repr(FIRST)), server.url)
    assert (done.code, done.complaints) == (0, "")
    names = {name.rpartition(".")[2] for name in done.words}
    assert names >= {
        *("_state_changed", "_write_lock", "changed", "_read_lock", "_idle_changed", "_calls_lock", "_table_lock"),
        *("_arrivals", "_exchange_lock", "_counters_lock", "_available", "_lazy_condition", "_peers_lock"),
        "_outbox_lock",
        *("_schedule_changed", "_commands_lock", "_registry_lock", "_names_lock", "_make_lock", "connection_lock"),
    }
