"""What a hub in Redis costs and keeps there, what it refuses, and what it does with garbage."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from typing import Any

import pytest
from fakeredis import FakeRedis

from owlsocket_sync import SocketConnectionError
from owlsocket_sync.hub import RedisHub
from owlsocket_sync.redis import link
from owlsocket_sync.redis.client import make_client
from support.figures import Figure
from support.helpers import eventually, scaled, whole
from support.linked import aside
from support.redis_hubs import KEYS, Watcher
from support.redis_servers import RedisServer, free_port
from support.seats import FakeServer, client_of, received, run_together
from support.strikes import struck

from .conftest import MakeRedisHub

BURST = whole(2_000, 10_000)
ROOMS = whole(2_000, 10_000)


def test_row_b6_the_log_is_bounded_in_a_burst(make_node: MakeRedisHub, client: Any) -> None:
    """All clients get all of it in one order; Redis keeps no more than maxlen, and a little."""
    watchers = [Watcher(make_node(maxlen=1_000)) for _ in range(2)]

    def publish(thread: int) -> None:
        for number in range(BURST // 4):
            watchers[thread % 2].hub.publish("n", [thread, number], room="owls")

    run_together(*(partial(publish, thread) for thread in range(4)))
    first, second = received(*(watcher.seat for watcher in watchers))
    assert len(first) == BURST
    assert first == second
    assert client.xlen(f"{KEYS}log") <= 1_200
    assert watchers[0].gaps == watchers[1].gaps == []


def test_row_b7_rooms_cost_no_connections_and_few_commands(
    make_node: MakeRedisHub, client: Any, figure: Figure
) -> None:
    """Ten thousand of them."""
    hub = make_node(heartbeat=60.0)
    server = FakeServer(hub)
    seats = [server.connect() for _ in range(100)]
    before = sum(int(each["calls"]) for name, each in _calls(client).items())
    began = time.monotonic()
    for number in range(ROOMS):
        seats[number % 100].join(f"room {number}", number)
    per_second = ROOMS / (time.monotonic() - began)
    calls = sum(int(each["calls"]) for name, each in _calls(client).items())
    figure("commands per join", (calls - before) / ROOMS, 2.0, "")
    assert per_second > 10_000 / scaled(60.0)
    hub.publish("n", 1, room="room 47")
    received(seats[0])
    assert [client_of(seat).got for seat in seats].count([1]) == 1
    assert len([each for each in client.client_list() if each["id"] != str(client.client_id())]) <= 2


def _calls(client: Any) -> dict[str, Any]:
    """The commands that clients gave; those within a script are not commands of the link."""
    names = ("evalsha", "eval", "xread", "script", "ping", "hello", "client")
    found: dict[str, Any] = client.info("commandstats")
    return {name: each for name, each in found.items() if name.removeprefix("cmdstat_").partition("|")[0] in names}


@pytest.mark.parametrize(
    "fields",
    [
        {"x": "y"},
        {"at": "x", "event": "{}"},
        {"at": b"\xff", "event": "{}"},
        {"at": "NEXT", "event": "no record"},
        {"at": "NEXT", "event": b"\x80\x04\x95pickle"},
        {"at": "NEXT", "presence": "dance", "room": "r", "id": "a-1", "member": '[null,"s",1]'},
        {"at": "NEXT", "presence": "join", "room": "r", "id": "a-1", "member": '{"a":1}'},
        {"at": "NEXT", "presence": "join", "room": "r", "id": "a-1", "member": "[1,2,3]"},
        {"at": "NEXT", "presence": "join"},
        {"at": "NEXT"},
    ],
)
def test_row_b9_garbage_is_logged_and_passed_over(
    make_node: MakeRedisHub, client: Any, fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, and in the messages of a node; what follows is delivered."""
    watcher, other = Watcher(make_node()), make_node()
    received(watcher.seat)
    reader = watcher.hub._redis_bus._reader
    assert reader is not None
    next_number = reader.end.number + 1
    number = f"{reader.end.epoch} {next_number}"
    id = client.xadd(f"{KEYS}log", {key: number if value == "NEXT" else value for key, value in fields.items()})
    if "NEXT" in fields.values():
        client.hset(f"{KEYS}meta", mapping={"n": next_number, "id": id})
    client.xadd(f"{KEYS}to:{watcher.hub.node}", fields)
    client.xadd(f"{KEYS}to:{watcher.hub.node}", {"at": reader.end.epoch, "message": b"\xff"})
    client_of(watcher.seat).perform = lambda method: "fine"
    assert other.call(watcher.seat.id, "x", timeout=scaled(5)) == "fine"
    other.publish("n", 1, room="owls")
    assert received(watcher.seat) == [[1]]
    assert watcher.gaps == []
    assert "was dropped, it is not valid" in caplog.text


def test_all_keys_have_one_hash_tag(make_node: MakeRedisHub, client: Any) -> None:
    """So they are in one slot of a cluster, whatever the rooms are called."""
    hub, other = Watcher(make_node(prefix="chat"), "{x}"), make_node(prefix="chat")
    assert other.members("{x}")[0].id == hub.seat.id
    with pytest.raises(SocketConnectionError, match="no connection"):
        other.call(f"{hub.hub.node}-x", "y")
    assert client.keys("*")
    assert all(key.startswith(b"{chat:hub}:") for key in client.keys("*"))


def test_a_hub_that_only_publishes_reads_nothing(make_node: MakeRedisHub, client: Any) -> None:
    """It has one connection, no thread, and is no node."""
    before = threading.active_count()
    hub = make_node()
    hub.publish("n", 1)
    assert (hub.members("owls"), hub.count("owls"), hub.servers()) == ([], 0, [])
    hub.send("n", 1, user="ann")
    assert threading.active_count() == before
    assert client.exists(f"{KEYS}nodes") == 0
    assert len(client.client_list()) == 2
    hub.close()
    eventually(lambda: len(client.client_list()) == 1)


def test_a_closed_node_leaves_nothing_behind(make_node: MakeRedisHub, client: Any) -> None:
    """Neither threads, nor connections, nor members."""
    before = threading.active_count()
    watcher = Watcher(make_node())
    received(watcher.seat)
    watcher.hub.close()
    eventually(lambda: threading.active_count() == before and len(client.client_list()) == 1)
    assert client.zcard(f"{KEYS}nodes") == client.hlen(f"{KEYS}room:owls") == client.hlen(f"{KEYS}servers") == 0


def test_rooms_may_have_any_name(make_node: MakeRedisHub) -> None:
    """As everywhere."""
    for room in ("a b", "\n", "ä", "\ud800", "x" * 1000):
        watcher = Watcher(make_node(), room)
        assert [member.id for member in watcher.hub.members(room)] == [watcher.seat.id]
        watcher.hub.publish("n", 1, exclude=[watcher.seat.id])
        assert received(watcher.seat) == [[]]


def test_a_client_of_ones_own_is_used(make_node: MakeRedisHub, redis_server: RedisServer) -> None:
    """Whichever protocol it speaks; closing the hub does not close it."""
    import redis

    for protocol in (2, 3):
        with redis.Redis(port=redis_server.port, protocol=protocol, socket_timeout=5) as own:
            watcher, other = (Watcher(make_node(own, prefix=f"p{protocol}")) for _ in range(2))
            client_of(other.seat).perform = lambda method: "fine"
            watcher.hub.publish("n", 1, room="owls")
            assert received(watcher.seat, other.seat) == [[1], [1]]
            assert watcher.hub.call(other.seat.id, "x") == "fine"
            watcher.hub.close()
            other.hub.close()
            assert own.ping()


def test_the_logic_holds_with_a_fake() -> None:
    """Of Redis: for programs that test with one."""
    fake = FakeRedis()
    here, there = (Watcher(RedisHub(fake)) for _ in range(2))
    here.hub.publish("n", 1, room="owls")
    assert received(here.seat, there.seat) == [[1], [1]]
    assert there.hub.count("owls") == 2
    here.hub.close()
    there.hub.close()


def test_a_hook_on_the_reader_cannot_wait_for_another_server(make_node: MakeRedisHub) -> None:
    """It would wait for itself: an error says so at once, and the events go on."""
    here, there = (Watcher(make_node()) for _ in range(2))
    client = client_of(here.seat)

    def prepare(message: Any, is_request: bool) -> Any:
        here.hub.call(there.seat.id, "x", timeout=30)

    client.settings.prepare = prepare
    here.hub.publish("n", 1, room="owls")
    assert received(there.seat) == [[1]]
    eventually(lambda: client.errors)
    assert "cannot wait for another server" in str(client.errors[0])


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": ""},
        {"prefix": "a{b}"},
        {"prefix": 3},
        {"maxlen": 0},
        {"maxlen": True},
        {"heartbeat": 0},
        {"heartbeat": True},
        {"heartbeat": "5"},
        {"url_or_client": "http://localhost"},
        {"url_or_client": "redis+sentinel://me:hunter2@localhost"},
        {"url_or_client": 7},
        {"url_or_client": FakeRedis(decode_responses=True)},
    ],
)
def test_a_wrong_option_is_refused_at_once(options: dict[str, Any]) -> None:
    """Before anything is connected, and without a secret."""
    with pytest.raises((ValueError, TypeError)) as caught:
        RedisHub(**{"url_or_client": "redis://localhost", **options})
    assert "hunter2" not in str(caught.value)


def test_the_address_of_sentinels_is_understood() -> None:
    """With the name of the master, the database and the password, which is shown nowhere."""
    url = "redis+sentinel://me:hunter2@one:1,two/3/owls"
    client = make_client(url)
    pool = client.connection_pool
    assert (pool.service_name, pool.connection_kwargs["db"], pool.connection_kwargs["password"]) == (
        "owls", 3, "hunter2",
    )  # fmt: skip
    assert pool.connection_kwargs["socket_timeout"] == 5
    assert [each.connection_pool.connection_kwargs["port"] for each in pool.sentinel_manager.sentinels] == [1, 26379]
    assert "hunter2" not in repr(RedisHub(url))
    assert "one:1,two/3/owls" in repr(RedisHub(url))


def test_secrets_of_the_url_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in an error, nor in the text of the hub."""
    monkeypatch.setattr(link, "PATIENCE", 0.1)
    with RedisHub(f"redis://me:hunter2@127.0.0.1:{free_port()}/0") as hub:
        with pytest.raises(SocketConnectionError) as caught:
            hub.publish("n")
        assert "hunter2" not in str(caught.value) + repr(hub)


def test_a_full_redis_refuses_events_and_lets_connections_end(make_node: MakeRedisHub, client: Any) -> None:
    """With an error for the one who publishes."""
    watcher = Watcher(make_node())
    client.config_set("maxmemory", 1)
    with pytest.raises(SocketConnectionError, match="maxmemory"):
        watcher.hub.publish("n", "x" * 1000)
    watcher.seat.leave("owls")
    eventually(lambda: client.hlen(f"{KEYS}room:owls") == 0)
    client.config_set("maxmemory", 0)
    watcher.seat.join("owls", None)
    watcher.hub.publish("n", 1, room="owls")
    assert received(watcher.seat) == [[1]]


def test_the_package_is_needed_at_the_first_use_only() -> None:
    """And named then."""
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from owlsocket_sync import hub\nhub.MemoryHub().publish('n')\n"
        "try:\n    hub.RedisHub\nexcept ImportError as error:\n    assert 'owlsocket-sync[redis]' in str(error)\n"
        "else:\n    raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_an_interrupt_anywhere_loses_no_operation(make_node: MakeRedisHub, client: Any) -> None:
    """Of another thread; what the interrupted one was about to do is done once, or not at all."""
    hub, number, came_to_it = make_node(), 0, True
    hub.publish("n", "first")
    while came_to_it:
        came_to_it = struck(number, partial(hub.publish, "n", number))
        assert aside(partial(hub.publish, "n", "next")).wait(1) == [None]
        number += 7
    records = [fields[b"event"].rpartition(b'"payload":')[2] for _, fields in client.xrange(f"{KEYS}log")]
    assert number > 200
    assert records.count(b'"next","type":"event"}') == number // 7
    assert max(Counter(each for each in records if b"next" not in each).values()) == 1
    # An interrupt inside of redis-py may leave a connection in its pool as one that is in use.
    hub._redis_bus._link.client.connection_pool.disconnect()


@pytest.mark.stress
def test_an_interrupt_leaves_no_answer_to_the_next_operation(make_node: MakeRedisHub, client: Any) -> None:
    """Redis may answer a command only after the next one was sent."""
    hub, number, came_to_it = make_node(), 0, True
    hub.count("owls")
    while came_to_it:
        client.client_pause(5)
        came_to_it = struck(number, partial(hub.count, "owls"))
        assert (hub.servers(), hub.count("owls")) == ([], 0)
        number += whole(23, 4)
    hub._redis_bus._link.client.connection_pool.disconnect()


def test_a_signal_handler_publishes_within_a_publication(make_node: MakeRedisHub, client: Any) -> None:
    """Wherever it interrupts the thread: both are published once."""
    hub, number, came_to_it = make_node(), 0, True
    hub.publish("n", "first")
    while came_to_it:
        came_to_it = struck(number, partial(hub.publish, "n", number), partial(hub.publish, "n", -number - 1))
        number += 13
    records = [fields[b"event"].rpartition(b'"payload":')[2] for _, fields in client.xrange(f"{KEYS}log")]
    count = number // 13
    assert len(records) == len(set(records)) == 1 + 2 * count - 1
