"""A Redis that is full, demoted, spoiled by another program, or whose clock jumps: nodes and their members go on."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import SocketConnectionError
from owlsocket_sync.hub import redis_script
from owlsocket_sync.testing import FaultProxy
from support.helpers import eventually, scaled
from support.linked import aside
from support.redis_hubs import HEARTBEAT, KEYS, Watcher, node_process
from support.redis_servers import RedisServer
from support.seats import client_of, received

from .conftest import MakeRedisHub

pytestmark = pytest.mark.slow

HOUR = 3_600_000
"""Milliseconds."""


def test_a_full_redis_is_the_end_of_no_node(make_node: MakeRedisHub, client: Any) -> None:
    """Heartbeats need no more memory than there is: who is in a room can be asked, however long it lasts."""
    watcher, looking = Watcher(make_node()), make_node()
    received(watcher.seat)
    client.config_set("maxmemory", 1)
    before = float(client.zscore(f"{KEYS}nodes", watcher.hub.node))
    eventually(lambda: client.zscore(f"{KEYS}nodes", watcher.hub.node) > before + 4000 * HEARTBEAT, 5)
    for hub in (watcher.hub, looking):
        assert (hub.count("owls"), len(hub.members("owls")), len(hub.servers())) == (1, 1, 1)
    with pytest.raises(SocketConnectionError, match="maxmemory"):
        looking.publish("n", 1, room="owls")
    client.config_set("maxmemory", 0)
    looking.publish("n", 2, room="owls")
    assert received(watcher.seat) == [[2]]
    assert (watcher.leaves(), watcher.gaps) == ([], [])


def test_a_node_that_dies_beside_a_full_redis_leaves_once(
    make_node: MakeRedisHub, redis_server: RedisServer, client: Any
) -> None:
    """Its leaves are told at once, and not when there is room again."""
    watcher = Watcher(make_node())
    with node_process(redis_server, 10) as child:
        child.line()
        client.config_set("maxmemory", 1)
        child.send(9)
        eventually(lambda: len(watcher.leaves()) == 10)
    assert watcher.hub.count("room 3") == 0
    client.config_set("maxmemory", 0)


def test_a_master_that_was_demoted_is_left(make_node: MakeRedisHub, redis_server: RedisServer, tmp_path: Path) -> None:
    """What is published meanwhile waits for the new one, which has the same address; nothing is told as missed."""
    (tmp_path / "next").mkdir()
    follow = ("--replicaof", "127.0.0.1", str(redis_server.port))
    redis_server.client().config_set("repl-diskless-sync-delay", 0)
    with (
        RedisServer(tmp_path / "next", None, *follow) as following,
        FaultProxy("127.0.0.1", redis_server.port) as proxy,
        redis_server.client() as first,
        following.client() as second,
    ):
        eventually(lambda: second.info("replication")["master_link_status"] == "up", 20)
        watchers = [Watcher(make_node(f"redis://127.0.0.1:{proxy.port}/0")) for _ in range(4)]
        watchers[0].hub.publish("n", 0, room="owls")
        received(*(watcher.seat for watcher in watchers))
        offset = first.info("replication")["master_repl_offset"]
        eventually(lambda: second.info("replication")["slave_repl_offset"] >= offset)
        second.replicaof("NO", "ONE")
        first.replicaof("127.0.0.1", following.port)
        publishing = aside(partial(watchers[1].hub.publish, "n", 1, room="owls"))
        eventually(lambda: not watchers[1].hub._redis_bus._link._answers)
        # As a name that leads to another address from now on: connections that are open stay where they are.
        proxy._loop._targets = [(family, ("127.0.0.1", following.port)) for family, _ in proxy._loop._targets]
        assert publishing.wait(1) == [None]
        assert received(*(watcher.seat for watcher in watchers)) == [[0, 1]] * 4
        assert [watcher.gaps for watcher in watchers] == [[]] * 4
        assert watchers[2].hub.count("owls") == 4
        for watcher in watchers:
            watcher.hub.close()


@pytest.mark.parametrize("key", ["log", "meta", "servers", "graves", "room:owls", "grave:OTHER"])
def test_a_key_that_another_program_has_spoiled(
    make_node: MakeRedisHub, client: Any, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once it is deleted, all is as before: members, calls, and a node that has died meanwhile has left."""
    watcher, other = Watcher(make_node()), Watcher(make_node())
    client_of(watcher.seat).perform = lambda method: "fine"
    received(watcher.seat, other.seat)
    name = KEYS + key.replace("OTHER", other.hub.node)
    client.delete(name)
    client.set(name, "spoiled")
    bus = other.hub._redis_bus
    bus._heartbeat._stop.set()  # as if its process had died
    bus._heartbeat.end()
    assert bus._reader is not None
    bus._reader.stop.set()
    time.sleep(4 * HEARTBEAT)
    client.delete(name)
    eventually(lambda: [member.id for member in watcher.hub.members("owls")] == [watcher.seat.id])
    eventually(lambda: watcher.hub.count("owls") == 1)
    assert make_node().call(watcher.seat.id, "x", timeout=scaled(5)) == "fine"
    watcher.hub.publish("n", 1, room="owls")
    assert received(watcher.seat)[0][-1] == 1
    assert caplog.text.count("is tried again") < 40


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_clock_that_jumps_ends_no_node_and_keeps_no_ghost(
    make_node: MakeRedisHub, redis_server: RedisServer, client: Any, jump: int
) -> None:
    """What is stored looks as much older or newer, as the clock has jumped by an hour."""
    watchers = [Watcher(make_node()) for _ in range(2)]
    hub = watchers[0].hub
    with node_process(redis_server, 10) as child:
        child.line()
        eventually(lambda: hub.count("room 3") == 1)
        with client.pipeline() as pipeline:
            for node, at in client.zrange(f"{KEYS}nodes", 0, -1, withscores=True):
                pipeline.zadd(f"{KEYS}nodes", {node: at - jump})
            pipeline.hincrby(f"{KEYS}meta", "seen", -jump)
            child.send(9)
            pipeline.execute()
        assert [each.hub.count("owls") for each in watchers] == [2, 2]
        eventually(lambda: len(watchers[1].leaves()) == 10)
    assert hub.count("room 3") == 0
    assert hub.count("owls") == len(hub.servers()) == 2


def test_meta_that_is_no_number_is_taken_for_nothing(make_node: MakeRedisHub, client: Any) -> None:
    """Another program may write anything."""
    watcher = Watcher(make_node())
    client.hset(f"{KEYS}meta", mapping={"seen": "x", "grace": "y", "floor": "z"})
    received(watcher.seat)
    before = float(client.zscore(f"{KEYS}nodes", watcher.hub.node))
    eventually(lambda: client.zscore(f"{KEYS}nodes", watcher.hub.node) > before)
    assert watcher.hub.count("owls") == 1


def test_the_log_is_bounded_in_bytes(make_node: MakeRedisHub, client: Any) -> None:
    """A few large events as well as many small ones; what a slow process has missed is told to it."""
    watcher = Watcher(make_node())
    received(watcher.seat)
    stalled, go_on = threading.Event(), threading.Event()
    client_of(watcher.seat).on_send = lambda payload: (stalled.set(), go_on.wait(30))
    hub = make_node()
    hub.publish("n", 1, room="owls")
    assert stalled.wait(scaled(5))
    large = "x" * 4_000_000
    for _ in range(30):
        hub.publish("large", large)
    assert client.xlen(f"{KEYS}log") <= 18
    assert client.memory_usage(f"{KEYS}log", samples=0) < redis_script.MAX_LOG + 8_000_000
    go_on.set()
    eventually(lambda: watcher.gaps)
    assert watcher.gaps[0].missed is not None
    assert watcher.gaps[0].missed >= 10
    for number in range(20):
        hub.publish("n", f"{number}" + "y" * 1000, room="owls")
    assert client.llen(f"{KEYS}marks:log") == 64
    assert len(received(watcher.seat)[0]) == 21


def test_messages_to_a_node_that_does_not_read_are_bounded_in_bytes(make_node: MakeRedisHub, client: Any) -> None:
    """They are for calls, which have a deadline."""
    watcher, hub = Watcher(make_node()), make_node()
    received(watcher.seat)
    reader = watcher.hub._redis_bus._reader
    assert reader is not None
    reader.stop.set()
    hub.publish("wake")
    reader.thread.join(scaled(5))
    for _ in range(30):
        hub.send("large", "x" * 4_000_000, to=watcher.seat.id)
    assert client.xlen(f"{KEYS}to:{watcher.hub.node}") <= 18
    watcher.hub.close()
    assert client.keys(f"{KEYS}marks:to:*") == []
