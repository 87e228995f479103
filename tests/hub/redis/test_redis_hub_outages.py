"""A Redis that is killed, emptied, restored or cut off, while nodes publish: nothing is lost in silence."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import SocketConnectionError
from owlsocket_sync.hub import RedisHub, redis_reader
from owlsocket_sync.redis import client as redis_client
from owlsocket_sync.redis import link
from owlsocket_sync.testing import FaultProxy
from support.figures import Figure
from support.helpers import eventually, scaled, whole
from support.linked import aside
from support.redis_hubs import HEARTBEAT, KEYS, Publisher, Watcher, seconds_until
from support.redis_servers import RedisServer
from support.seats import received

from .conftest import MakeRedisHub

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("fsync", ["always"])
def test_row_b1_redis_with_a_log_restarts(make_node: MakeRedisHub, redis_server: RedisServer, figure: Figure) -> None:
    """Four servers resume where they were: nothing is lost, nothing comes twice, and no gap is told."""
    watchers = [Watcher(make_node()) for _ in range(4)]
    with Publisher(make_node()) as publisher:
        for _ in range(whole(1, 10)):
            eventually(lambda count=len(publisher.published): len(publisher.published) > count + 20)  # type: ignore[misc]
            redis_server.kill()
            time.sleep(0.5)
            redis_server.start()
            back = time.monotonic()
            eventually(lambda back=back: publisher.times[-1] > back)  # type: ignore[misc]
            figure("back after Redis is", time.monotonic() - back, scaled(2.0), "s")
    received(*(watcher.seat for watcher in watchers))
    for watcher in watchers:
        assert watcher.got == watchers[0].got
        assert sorted(set(watcher.got)) == watcher.got
        figure("events lost", len(set(publisher.published) - set(watcher.got)), 0, "")
        assert watcher.gaps == []
    assert [watcher.hub.count("owls") for watcher in watchers] == [4] * 4
    assert all(watcher.leaves() == [] for watcher in watchers)


def test_row_b1_redis_without_a_log_restarts(
    make_node: MakeRedisHub, redis_server: RedisServer, figure: Figure
) -> None:
    """Each server reports a gap, once, and puts back what it has."""
    watchers = [Watcher(make_node()) for _ in range(4)]
    hub = make_node()
    hub.publish("n", "before", room="owls")
    received(*(watcher.seat for watcher in watchers))
    redis_server.restart()
    took = seconds_until(lambda: all(watcher.gaps for watcher in watchers), 20)
    figure("told after Redis is back", took, scaled(2.0), "s")
    eventually(lambda: hub.count("owls") == 4)
    hub.publish("n", "after", room="owls")
    assert received(*(watcher.seat for watcher in watchers)) == [["before", "after"]] * 4
    assert len(hub.servers()) == 4
    assert [len(watcher.gaps) for watcher in watchers] == [1] * 4


def test_redis_is_emptied(make_node: MakeRedisHub, client: Any) -> None:
    """The links stay; members, servers and heartbeats are put back, and each node reports a gap."""
    watchers = [Watcher(make_node()) for _ in range(2)]
    client.flushall()
    eventually(lambda: all(watcher.gaps for watcher in watchers))
    eventually(lambda: watchers[0].hub.count("owls") == 2)
    assert len(watchers[0].hub.servers()) == 2
    assert client.zcard(f"{KEYS}nodes") == 2
    watchers[0].hub.publish("n", 1, room="owls")
    assert received(*(watcher.seat for watcher in watchers)) == [[1], [1]]
    assert "has lost entries" in watchers[0].gaps[0].reason


def test_the_clock_of_the_new_redis_is_behind(make_node: MakeRedisHub, client: Any) -> None:
    """Its ids are lower than those that were read; the log is found all the same, and no call is done twice."""
    here, there = (Watcher(make_node()) for _ in range(2))
    log = f"{KEYS}log"
    client.xadd(log, {"at": f"{here.hub._redis_bus._reader.end.epoch} 1000", "event": "x"}, id="99999999999999-0")  # type: ignore[union-attr]
    eventually(lambda: here.gaps and there.gaps)
    client.flushall()
    eventually(lambda: len(here.gaps) > 1 and len(there.gaps) > 1)
    here.hub.publish("n", 1, room="owls")
    assert received(here.seat, there.seat) == [[1], [1]]
    there.seat.leave("owls")
    assert here.hub.call_all("owls", "x", timeout=0.1)[here.seat.id].status == "timeout"
    with pytest.raises(SocketConnectionError):
        here.hub.disconnect(f"{there.hub.node}-x")


@pytest.mark.parametrize("fsync", ["always"])
def test_an_older_state_is_restored(make_node: MakeRedisHub, redis_server: RedisServer, tmp_path: Path) -> None:
    """What was published after the backup is gone: one node knew it, so all report a gap, also one that has less."""
    here, there = (Watcher(make_node()) for _ in range(2))
    here.hub.publish("n", 1, room="owls")
    received(here.seat, there.seat)
    backup = tmp_path.parent / "backup"
    shutil.copytree(tmp_path, backup)
    for number in range(2, 5):
        here.hub.publish("n", number, room="owls")
    received(here.seat, there.seat)
    redis_server.kill()
    shutil.rmtree(tmp_path)
    shutil.copytree(backup, tmp_path)
    redis_server.start()
    eventually(lambda: here.gaps and there.gaps)
    here.hub.publish("n", 5, room="owls")
    assert received(here.seat, there.seat) == [[1, 2, 3, 4, 5]] * 2
    assert [len(watcher.gaps) for watcher in (here, there)] == [1, 1]


def test_a_reader_sees_an_older_state_before_any_heartbeat_does(make_node: MakeRedisHub, client: Any) -> None:
    """The next entry has a number that it knows: it reports one gap, and has the others report theirs."""
    here, there = (Watcher(make_node(heartbeat=60.0)) for _ in range(2))
    for number in range(3):
        here.hub.publish("n", number, room="owls")
    received(here.seat, there.seat)
    client.hincrby(f"{KEYS}meta", "n", -2)  # as in a backup
    there.hub.publish("n", 3, room="owls")
    eventually(lambda: here.gaps and there.gaps)
    here.hub.publish("n", 4, room="owls")
    assert received(here.seat, there.seat) == [[0, 1, 2, 3, 4]] * 2
    assert [len(watcher.gaps) for watcher in (here, there)] == [1, 1]


def test_row_b2_a_link_that_is_half_open(
    make_node: MakeRedisHub, redis_server: RedisServer, figure: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noticed by the timeout of the socket; what was published meanwhile comes then."""
    if not whole(False, True):
        monkeypatch.setattr(redis_client, "SOCKET_TIMEOUT", 1.5)
        monkeypatch.setattr(redis_reader, "LONGEST_BLOCK", 0.5)
    other = make_node(heartbeat=60.0)
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        watcher = Watcher(make_node(f"redis://127.0.0.1:{proxy.port}/0", heartbeat=60.0))
        received(watcher.seat)
        proxy.blackhole()
        other.publish("n", 1, room="owls")
        took = seconds_until(lambda: proxy_errors(watcher.hub), 30)
        figure("noticed after", took, scaled(10.0), "s")
        proxy.blackhole(False)
        assert received(watcher.seat) == [[1]]
        assert watcher.gaps == []


def proxy_errors(hub: RedisHub) -> list[None]:
    """One item once the link of a hub has reported an outage."""
    return [] if hub._redis_bus._link._answers else [None]


def test_a_publication_whose_answer_is_lost_is_there_once(make_node: MakeRedisHub, redis_server: RedisServer) -> None:
    """Redis has done it, and is asked again."""
    watcher = Watcher(make_node())
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        hub = make_node(f"redis://127.0.0.1:{proxy.port}/0")
        hub.publish("n", 0, room="owls")
        proxy.blackhole(direction="downstream")
        publishing = aside(partial(hub.publish, "n", 1, room="owls"))
        eventually(lambda: watcher.got == [0, 1])
        proxy.reset()
        proxy.blackhole(False)
        assert publishing.wait(1) == [None]
        hub.publish("n", 2, room="owls")
        assert received(watcher.seat) == [[0, 1, 2]]


def test_while_redis_does_not_answer_uses_fail_and_connections_end(
    make_node: MakeRedisHub, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an error that names the place; to end waits for nothing, and is told once Redis is back."""
    hub, other = make_node(), Watcher(make_node())
    watcher = Watcher(hub, "mice")
    monkeypatch.setattr(link, "PATIENCE", 0.3)
    redis_server.kill()
    late = watcher.server.connect()
    for use in (partial(hub.publish, "n"), partial(hub.count, "mice"), partial(late.join, "mice", None)):
        with pytest.raises(SocketConnectionError, match=f"127.0.0.1:{redis_server.port}"):
            use()
    assert late.rooms == []
    began = time.monotonic()
    watcher.seat.end()
    assert time.monotonic() - began < scaled(0.1)
    redis_server.start()
    monkeypatch.setattr(link, "PATIENCE", scaled(10.0))
    other.hub.publish("n", 1, room="owls")
    eventually(lambda: other.hub.count("owls") == 1)
    assert hub.count("mice") == 0


def test_a_call_ends_in_its_time_while_redis_does_not_answer(
    make_node: MakeRedisHub, redis_server: RedisServer
) -> None:
    """And not when Redis is given up, which is far later."""
    hub, other = make_node(), Watcher(make_node())
    hub.listen()
    redis_server.kill()
    began = time.monotonic()
    for call in (partial(hub.call, other.seat.id, "x"), partial(hub.call_all, "owls", "x")):
        with pytest.raises(SocketConnectionError, match=f"127.0.0.1:{redis_server.port}"):
            call(timeout=0.2)
    assert time.monotonic() - began < scaled(2.0)


def test_a_close_frees_what_waits(make_node: MakeRedisHub, redis_server: RedisServer) -> None:
    """Also while Redis does not answer."""
    hub = make_node()
    Watcher(hub)
    redis_server.kill()
    publishing = aside(partial(hub.publish, "n", 1))
    eventually(lambda: proxy_errors(hub))
    began = time.monotonic()
    hub.close()
    (error,) = publishing.wait(1)
    assert isinstance(error, SocketConnectionError)
    assert time.monotonic() - began < scaled(4.0)


def test_an_outage_of_redis_is_the_end_of_no_node(make_node: MakeRedisHub, redis_server: RedisServer) -> None:
    """However long it lasts: nobody could send a heartbeat."""
    redis_server.kill()
    redis_server._options = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
    redis_server.start()
    watchers = [Watcher(make_node()) for _ in range(3)]
    received(*(watcher.seat for watcher in watchers))
    redis_server.kill()
    time.sleep(4 * HEARTBEAT)
    redis_server.start()
    assert watchers[0].hub.count("owls") == 3
    received(*(watcher.seat for watcher in watchers))
    assert watchers[0].hub.count("owls") == 3
    assert [watcher.leaves() for watcher in watchers] == [[], [], []]


def test_a_sentinel_replaces_the_master(
    make_node: MakeRedisHub, tmp_path: Path, redis_server: RedisServer, figure: Figure
) -> None:
    """The hub finds the new one by the address of the Sentinel; what was published before is there, and once."""
    for name in ("replica", "sentinel"):
        (tmp_path / name).mkdir()
    (tmp_path / "sentinel" / "sentinel.conf").write_text(
        f"sentinel monitor owls 127.0.0.1 {redis_server.port} 1\n"
        "sentinel down-after-milliseconds owls 500\nsentinel failover-timeout owls 3000\n",
        encoding="utf-8",
    )
    follow = ("--replicaof", "127.0.0.1", str(redis_server.port))
    redis_server.client().config_set("repl-diskless-sync-delay", 0)
    with (
        RedisServer(tmp_path / "replica", None, *follow) as replica,
        RedisServer(tmp_path / "sentinel", None, config=tmp_path / "sentinel" / "sentinel.conf") as sentinel,
        replica.client() as client,
        sentinel.client() as asked,
    ):
        eventually(lambda: client.info("replication")["master_link_status"] == "up", 20)
        eventually(lambda: asked.execute_command("SENTINEL", "REPLICAS", "owls"), 20)
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/0/owls"
        hubs = [make_node(url) for _ in range(2)]
        watchers = [Watcher(hub) for hub in hubs]
        hubs[0].publish("n", 1, room="owls")
        received(*(watcher.seat for watcher in watchers))
        redis_server.kill()
        began = time.monotonic()
        hubs[0].publish("n", 2, room="owls")
        assert received(*(watcher.seat for watcher in watchers)) == [[1, 2], [1, 2]]
        figure("events pass after the death of the master", time.monotonic() - began, scaled(10.0), "s")
        eventually(lambda: hubs[1].count("owls") == 2)  # the replica may not have had the last join
        for hub in hubs:
            hub.close()
