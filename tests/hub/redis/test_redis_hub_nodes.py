"""Nodes that die, are suspended, or fork: their members leave once, and calls to them fail in time."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from owlsocket_sync import SocketConnectionError
from support.child_processes import Child, environment
from support.figures import Figure
from support.helpers import eventually, scaled, whole
from support.linked import aside
from support.redis_hubs import HEARTBEAT, KEYS, Watcher, node_process, seconds_until
from support.redis_servers import RedisServer
from support.seats import client_of, received

from .conftest import MakeRedisHub

pytestmark = pytest.mark.slow

LIMIT = 3 * HEARTBEAT
"""Seconds after which a node is dead."""
MEMBERS = 100


@pytest.mark.stress
@pytest.mark.timeout(1200)
def test_row_b3_a_killed_node_leaves_once(
    make_node: MakeRedisHub, redis_server: RedisServer, client: Any, figure: Figure
) -> None:
    """Everywhere, in time; its servers are gone as well, and nothing of it is left in Redis."""
    watchers = [Watcher(make_node()) for _ in range(2)]
    hub = watchers[0].hub
    rounds, together = whole((2, 1), (250, 4))
    members = together * MEMBERS
    for _ in range(rounds):
        before = [len(watcher.leaves()) for watcher in watchers]
        with ExitStack() as stack:
            children = [stack.enter_context(node_process(redis_server, MEMBERS)) for _ in range(together)]
            nodes = {child.line() for child in children}
            eventually(lambda: hub.count("room 3") == members // 10)
            assert len(hub.members("room 3")) == members // 10
            grace = client.hget(f"{KEYS}meta", "grace")
            for child in children:
                child.send(9)
        took = seconds_until(lambda: hub.count("room 3") == 0 and len(hub.servers()) == 2, 30)
        # On a busy machine all heartbeats may be late: no node can tell that from an outage of Redis.
        outage = 0.0 if client.hget(f"{KEYS}meta", "grace") == grace else 2 * HEARTBEAT
        figure("out of the rooms after a kill", took - outage, LIMIT + scaled(0.3), "s")
        for watcher, count in zip(watchers, before, strict=True):
            eventually(lambda watcher=watcher, count=count: len(watcher.leaves()) >= count + members)  # type: ignore[misc]
        assert nodes.isdisjoint(server.partition("@")[2] for server in hub.servers())
    received(*(watcher.seat for watcher in watchers))
    for watcher in watchers:
        leaves = watcher.leaves()
        assert len(leaves) == rounds * members
        assert set(Counter(leaves).values()) == {1}
    keys = {key.decode().removeprefix(KEYS) for key in client.keys("*")}
    ours = {f"{kind}:{watcher.hub.node}" for kind in ("of", "to", "writer") for watcher in watchers}
    assert {key for key in keys if not key.startswith("writer:")} - ours == {
        "log", "meta", "nodes", "room:owls", "servers",
    }  # fmt: skip
    assert max(client.ttl(f"{KEYS}writer:{node}") for node in nodes) <= 60


def test_row_b3_a_call_to_a_killed_node_fails_in_time(
    make_node: MakeRedisHub, redis_server: RedisServer, figure: Figure
) -> None:
    """With CONNECTION_LOST, far before its timeout; the next one at once."""
    hub = Watcher(make_node()).hub
    with node_process(redis_server, 1) as child:
        id = f"{child.line()}-0"
        child.send(signal.SIGSTOP)
        calling = aside(partial(hub.call, id, "x", timeout=60))
        eventually(lambda: hub._node.requests._pending)
        child.send(9)
        killed = time.monotonic()
        (error,) = calling.wait(1)
        figure("told after a kill", time.monotonic() - killed, LIMIT + scaled(0.3), "s")
    assert isinstance(error, SocketConnectionError)
    assert error.code == "CONNECTION_LOST"
    with pytest.raises(SocketConnectionError, match=r"has no connection|is gone"):
        hub.call(id, "x", timeout=60)


def test_row_b4_call_all_beside_a_dead_node(make_node: MakeRedisHub, redis_server: RedisServer) -> None:
    """The answers of the others are there, and those of the dead are named."""
    watcher = Watcher(make_node(), "room 0")
    client_of(watcher.seat).perform = lambda method: "here"
    hub = make_node()
    with node_process(redis_server, 1) as child:
        id = f"{child.line()}-0"
        child.send(9)
        outcomes = hub.call_all("room 0", "vote", timeout=60)
    assert {id: outcome.status for id, outcome in outcomes.items()} == {watcher.seat.id: "ok", id: "lost"}
    assert outcomes[watcher.seat.id].result == "here"


def test_row_b8_a_node_that_was_suspended_comes_back(
    make_node: MakeRedisHub, redis_server: RedisServer, figure: Figure
) -> None:
    """Taken for dead, with a log that went on beyond it: its members join once more, and it reports the gap."""
    watcher = Watcher(make_node(maxlen=100))
    hub = watcher.hub
    with node_process(redis_server, 10, 100) as child:
        child.line()
        child.send(signal.SIGSTOP)
        eventually(lambda: len(watcher.leaves()) == 10, 20)
        assert hub.count("room 3") == 0
        for number in range(1000):
            hub.publish("n", number, room="owls")
        child.send(signal.SIGCONT)
        took = seconds_until(lambda: hub.count("room 3") == 1, 20)
        figure("back in its rooms after", took, HEARTBEAT + scaled(1.0), "s")
        gap, missed = child.line().split()
        assert gap == "gap"
        assert int(missed) > 500, missed
        eventually(lambda: [change.kind for change in watcher.changes].count("join") == 21)


def test_a_node_with_many_members_is_cleared_in_steps(make_node: MakeRedisHub, client: Any) -> None:
    """Each of its members leaves once, however many; others go on meanwhile."""
    watcher = Watcher(make_node(maxlen=20_000))
    other = make_node()
    other.listen()
    ids = [f"{other.node}-{number}" for number in range(2500)]
    with client.pipeline(transaction=False) as pipeline:
        for id in ids:
            pipeline.hset(f"{KEYS}room:many", id, f'0-0 [null,"s@{other.node}",1]')
            pipeline.sadd(f"{KEYS}of:{other.node}", f"{id} many")
        pipeline.execute()
    assert watcher.hub.count("many") == 2500
    other.close()
    eventually(lambda: len(watcher.leaves()) == 2500, 20)
    assert sorted(watcher.leaves()) == sorted(("many", id) for id in ids)
    assert client.keys(f"{KEYS}grave*") == []


FORK = """
import os, signal, sys, threading, time
from owlsocket_sync.hub import Member, RedisHub
hub = RedisHub(sys.argv[1], heartbeat=float(sys.argv[2]))
got, there = [], threading.Event()
hub.on_presence(lambda change: (got.append((os.getpid(), change.member.info)), there.set()))
bus = hub.listen()
bus.join("owls", Member(f"{hub.node}-1", None, "s", "parent"))
there.wait(20)
node = hub.node
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        there.clear()
        assert hub.node != node
        hub.publish("n", 1)
        hub.listen().join("owls", Member(f"{hub.node}-1", None, "s", "child"))
        there.wait(10)
        assert got[-1] == (os.getpid(), "child"), got
        assert hub.count("owls") == 2
        hub.close()
        os._exit(0)
    finally:
        os._exit(1)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert [member.info for member in hub.members("owls")] == ["parent"]
there.clear()
bus.join("owls", Member(f"{hub.node}-2", None, "s", "later"))
assert there.wait(10)
hub.close()
print("done", flush=True)
"""


def test_a_forked_child_is_another_node(redis_server: RedisServer) -> None:
    """With links of its own; those of the parent go on."""
    with Child([sys.executable, "-c", FORK, redis_server.url, str(HEARTBEAT)], environment()) as child:
        done = child.finish()
    assert (done.code, done.words[-1:], done.complaints) == (0, ["done"], "")


def test_it_works_with_green_threads(redis_server: RedisServer) -> None:
    """Of gevent: its reader holds up no other one; and a child of it is another node."""
    source = "from gevent import monkey\nmonkey.patch_all()\n" + FORK
    with Child([sys.executable, "-c", source, redis_server.url, str(HEARTBEAT)], environment()) as child:
        done = child.finish()
    assert (done.code, done.words[-1:], done.complaints) == (0, ["done"], "")
