"""Greenlets in the place of threads: gevent patches what we stand on, before or after we were imported."""

from __future__ import annotations

import pytest

from owlsocket_sync import Connection
from owlsocket_sync.server import Request, serve
from support.child_processes import echo, run, script
from support.figures import Figure
from support.helpers import VECTORS, scaled, whole
from support.sockets import server_context

GREENLETS = """
from gevent import monkey
monkey.patch_all()
import os, sys, time
import gevent
from owlsocket_sync import connect

import ssl
trust = ssl.create_default_context(cafile=sys.argv[3])
with connect(sys.argv[1], timeout=20, ssl_context=trust) as conn:
    pauses, over = [], False

    def tick():
        while not over:
            began = time.monotonic()
            gevent.sleep(0.01)
            pauses.append(time.monotonic() - began - 0.01)

    ticker = gevent.spawn(tick)
    jobs = [gevent.spawn(conn.call, 'echo', number, timeout=20) for number in range(int(sys.argv[2]))]
    waiting = gevent.spawn(lambda: next(conn.events('go', timeout=20)))
    gevent.joinall(jobs, raise_error=True)
    assert [job.value for job in jobs] == list(range(len(jobs)))
    with conn.batch():
        futures = [conn.submit('echo', number) for number in range(20)]
    assert [one.result(20) for one in futures] == list(range(20))
    conn.call('callback', timeout=20)
    waiting.get(timeout=20)
    conn.ping(20)
    child = os.fork()
    if child == 0:
        right = conn.call('echo', 'child', timeout=20) == 'child'
        conn.close()
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert conn.call('echo', 'parent', timeout=20) == 'parent'
    assert conn.stats.reconnects == 0
    over = True
    ticker.join()
print(max(pauses))
"""


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.stress
@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_row_24_greenlets_share_a_connection(secure: bool, figure: Figure) -> None:
    """Calls of many greenlets on one connection are answered, a fork is survived, and the hub is never blocked."""
    authority = str(VECTORS / "tls" / "authority.pem")
    with serve(echo, ssl_context=server_context() if secure else None) as server:
        done = run(GREENLETS, server.url, str(whole(200, 5000)), authority)
    assert (done.code, done.complaints) == (0, "")
    figure("the longest that the hub was blocked", float(done.out), 0.5, "s")


NESTED = """
import gevent
with connect(sys.argv[1], timeout=20, workers=1) as conn:
    conn.perform('down', lambda depth: depth and 1 + conn.call('down', depth - 1, timeout=20))
    jobs = [gevent.spawn(conn.call, 'down', 6, timeout=20) for _ in range(5)]
    gevent.joinall(jobs, raise_error=True)
    assert [job.value for job in jobs] == [6] * 5
"""
EVENTLET = """
import warnings
with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # eventlet warns that it is deprecated
    import eventlet
    import eventlet.patcher
"""
REFUSED = """
from owlsocket_sync.server import serve
for refused in (lambda: connect(url, timeout=20), lambda: connect(url, wait=False), lambda: serve(lambda *_: None)):
    try:
        refused()
    except owlsocket_sync.SocketInitializationError as error:
        assert 'eventlet.monkey_patch()' in str(error), error
    else:
        raise SystemExit('not refused')
assert owlsocket_sync.connections() == []
"""


@pytest.mark.slow
@pytest.mark.parametrize("patched", ["", "socket=True", "thread=True", "select=True"])
def test_a_process_patched_by_eventlet_is_refused(patched: str) -> None:
    """At once and in a sentence, whatever it has patched."""
    with (
        serve(echo) as server,
        script(REFUSED, server.url, first=f"{EVENTLET}eventlet.monkey_patch({patched})\n") as child,
    ):
        done = child.finish()
    assert (done.code, done.complaints) == (0, "")


@pytest.mark.slow
def test_a_process_that_only_imports_eventlet_is_served() -> None:
    """Nothing is replaced then."""
    use = "with connect(url, timeout=20) as conn:\n    assert conn.call('echo', 1, timeout=20) == 1\n"
    with serve(echo) as server, script(use, server.url, first=EVENTLET) as child:
        done = child.finish()
    assert (done.code, done.complaints) == (0, "")


PATCH = "from gevent import monkey; monkey.patch_all()\n"


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(PATCH, ""), ("", PATCH)], ids=["before the import", "after it"])
def test_calls_of_greenlets_nest_to_any_depth(first: str, second: str) -> None:
    """A worker that waits is replaced by another one, also where all workers are greenlets of one thread."""

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("down", lambda depth: depth and 1 + conn.call("down", depth - 1, timeout=scaled(20)))

    with serve(handler) as server, script(second + NESTED, server.url, first=first) as child:
        done = child.finish()
    assert (done.code, done.complaints) == (0, "")
