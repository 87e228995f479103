"""Greenlets in the place of threads: gevent patches what we stand on, before or after we were imported."""

from __future__ import annotations

import pytest
from child_processes import echo, run
from figures import Figure
from helpers import VECTORS, whole
from sockets import server_context

from owlsocket_sync.server import serve

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


@pytest.mark.stress
@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_row_24_greenlets_share_a_connection(secure: bool, figure: Figure) -> None:
    """Calls of many greenlets on one connection are answered, a fork is survived, and the hub is never blocked."""
    authority = str(VECTORS / "tls" / "authority.pem")
    with serve(echo, ssl_context=server_context() if secure else None) as server:
        done = run(GREENLETS, server.url, str(whole(200, 5000)), authority)
    assert (done.code, done.complaints) == (0, "")
    figure("the longest that the hub was blocked", float(done.out), 0.5, "s")
