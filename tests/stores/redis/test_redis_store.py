"""What is particular to queues in Redis: their keys, limits, errors, and the state of a Redis that was restarted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from fakeredis import FakeRedis

from owlsocket_sync import StoreError, StoreFull
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.redis import client as redis_client
from owlsocket_sync.redis import link
from owlsocket_sync.redis.link import Script
from owlsocket_sync.stores import Draft, Entry, Position, RedisStore
from owlsocket_sync.stores import redis_scripts as scripts
from owlsocket_sync.stores.base import START, PositionMoved
from owlsocket_sync.stores.redis_queue import RedisQueue
from owlsocket_sync.stores.redis_tools import KEYS
from support.helpers import eventually, scaled
from support.redis_servers import RedisServer, free_port


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The errors that were logged."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def losing_answers(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None) -> list[Script]:
    """Scripts whose next answer is lost: Redis has done them; and what happens before they are tried again."""
    lose: list[Script] = []
    execute: Any = redis.Redis.execute_command

    def losing(self: Any, *words: Any, **options: Any) -> Any:
        answer = execute(self, *words, **options)
        if lose and {lose[0].digest, lose[0].text} & set(words):
            lose.pop()
            meanwhile()
            raise redis.ConnectionError("the answer is lost")
        return answer

    monkeypatch.setattr(redis.Redis, "execute_command", losing)
    return lose


def test_nothing_is_left_in_redis_of_messages_that_are_done(store: RedisStore, client: Any) -> None:
    """But the numbers of the queue, and the last append of each writer."""
    queue = store.queue("jobs")
    queue.put_many(range(100))
    queue.put("late", delay=0.01)
    for number, delivery in enumerate(queue.messages(timeout=scaled(1), limit=101)):
        if number == 50:
            delivery.reject("odd")
    assert queue.purge(dead=True) == 1
    left = {key.decode().rpartition(":")[2] for key in client.keys("owlsocket:{jobs}:*")}
    assert left <= {"meta", "log", "writers", "bell"}
    assert client.xlen("owlsocket:{jobs}:log") == 0
    assert client.hget("owlsocket:{jobs}:meta", "bytes") == b"0"


def test_all_keys_of_a_queue_have_one_hash_tag(tmp_path: Path) -> None:
    """So it lives in one slot of a cluster, whatever its name is."""
    with RedisServer(tmp_path, None, "--cluster-enabled", "yes") as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), 20)
        names = ["jobs", "a}b{c", "{}", "100 %"]
        connect_to_cluster: Any = redis.RedisCluster
        with connect_to_cluster(host="127.0.0.1", port=server.port) as cluster, RedisStore(cluster) as store:
            for name in names:
                queue = store.queue(name)
                queue.put(name, delay=0.01)
                delivery = queue.get(timeout=scaled(5))
                assert delivery is not None
                delivery.ack()
            assert store.queues() == sorted(names)
            assert len(set(cluster.keys("owlsocket:*"))) > len(names)
            slots = {cluster.execute_command("CLUSTER KEYSLOT", f"owlsocket:{{jobs}}:{key}") for key in KEYS}
            assert len(slots) == 1


def test_stores_with_other_prefixes_are_apart(store: RedisStore, server: RedisServer) -> None:
    """As two programs that share a Redis want it."""
    store.queue("jobs").put(1)
    with RedisStore(server.url, prefix="other") as other:
        assert other.queues() == []
        assert other.queue("jobs").get() is None


def test_an_append_whose_answer_was_lost_is_not_repeated(
    server: RedisServer, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a claim: the message would be leased to nobody. Redis has done both."""
    with RedisStore(server.url) as store:
        queue = store.queue("jobs")
        queue.put("before")
        lose = losing_answers(monkeypatch)
        lose.append(scripts.APPEND)
        id = queue.put("once")
        assert not lose
        assert len(queue) == 2
        lose.append(scripts.CLAIM)
        entry = queue.stored.claim(60, None, Deadline(0))
        assert not lose
        assert entry is not None
        assert (entry.payload, entry.attempts, entry.remaining) == (b'"before"', 1, 1)
        assert queue.stats.in_flight == 1
        lose.append(scripts.RELEASE)
        assert queue.stored.release(entry, 0)
        again = queue.stored.claim(60, None, Deadline(0))
        assert again is not None
        lose.append(scripts.BURY)
        assert queue.stored.bury(again, "odd")
        delivery = queue.get()
        assert delivery is not None
        assert (delivery.payload, delivery.id) == ("once", id)
        lose.append(scripts.REMOVE)
        delivery.ack()
        assert not lose
        assert client.xlen("owlsocket:{jobs}:log") == 0


def test_an_end_of_a_connection_whose_answer_was_lost_is_told_what_came_of_it(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it stored itself is no other link's; and what it buried is buried."""
    inbox: Any = store.queue("inbox").stored
    lose = losing_answers(monkeypatch)
    lose.append(scripts.RECEIVE)
    assert inbox.receive("5" * 32, [Entry(1, "a", b"1"), Entry(2, "b", b"2")], START) == Position(2, "b")
    lose.append(scripts.RECEIVE)
    with pytest.raises(PositionMoved):
        inbox.receive("5" * 32, [Entry(2, "another", b"2"), Entry(3, "c", b"3")], Position(1, "a"))
    lose.append(scripts.BURY_AT)
    assert inbox.bury_at(1, "odd")
    assert not lose
    assert [entry.id for entry in inbox.read_after(0, 9)] == ["b"]


@pytest.mark.parametrize("remove", ["delete_to", "bury_at"])
def test_a_number_of_before_removes_nothing_from_an_emptied_redis(
    store: RedisStore, server: RedisServer, client: Any, monkeypatch: pytest.MonkeyPatch, remove: str
) -> None:
    """Where it came back empty, and got other messages, before it answered."""
    outbox: Any = store.queue("outbox").stored
    outbox.append([Draft("old", b"1")])

    def lose_all() -> None:
        client.flushall()
        with RedisStore(server.url) as other:
            other.queue("outbox").put("new")

    lose = losing_answers(monkeypatch, lose_all)
    lose.append(scripts.DELETE_TO if remove == "delete_to" else scripts.BURY_AT)
    assert not (outbox.delete_to(1) if remove == "delete_to" else outbox.bury_at(1, "odd"))
    assert [entry.payload for entry in outbox.read_after(0, 9)] == [b'"new"']


def test_a_full_memory_is_a_full_store_and_can_be_worked_off(store: RedisStore, client: Any) -> None:
    """What makes room goes on, though Redis refuses whatever may need memory."""
    queue = store.queue("jobs")
    queue.put_many(["x" * 1000] * 50)
    client.config_set("maxmemory", 1)
    for add in (
        lambda: queue.put("more"),
        lambda: queue.stored.receive("5" * 32, [Entry(1, "a", b"1")]),  # type: ignore[attr-defined]
        lambda: queue.stored.move_to("5" * 32, Position(3, "c")),  # type: ignore[attr-defined]
    ):
        with pytest.raises(StoreFull, match="maxmemory"):
            add()
    first = queue.get()
    assert first is not None
    first.nack(0)
    second = queue.get()
    assert second is not None
    second.extend(30)
    second.reject("no")
    assert len(list(queue.messages(timeout=0))) == 49
    assert queue.stats.dead == 1
    assert queue.purge(dead=True) == 1
    client.config_set("maxmemory", 0)
    queue.put("there is room")
    assert len(queue) == 1


def test_an_emptied_redis_is_noticed_and_used(store: RedisStore, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With one report for each queue, another stream id, and a name that is listed again."""
    queue = store.queue("jobs")
    queue.put_many([1, 2])
    before = queue.stored.stream
    client.flushall()
    assert queue.get() is None
    queue.put(3)
    delivery = queue.get()
    assert delivery is not None
    assert delivery.payload == 3
    assert queue.stored.stream != before
    assert store.queues() == ["jobs"]
    (report,) = errors(caplog)
    assert "the queue 'jobs'" in report
    assert "has lost what it had" in report


def test_a_redis_with_an_older_state_gives_no_number_twice(
    store: RedisStore, server: RedisServer, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What it has gets another stream id and new numbers, under which a peer knows nothing else."""
    queue = store.queue("jobs")
    queue.put_many([1, 2])
    client.save()
    queue.put_many([3, 4, 5])
    before = queue.stored.stream
    server.kill()
    server.start()
    assert queue.stored.append([Draft("new", b"6")])[0].seq > 5
    assert queue.stored.stream != before
    assert [delivery.payload for delivery in queue.messages(timeout=0)] == [1, 2, 6]
    assert "at least 3 messages" in errors(caplog)[-1]
    assert sum("has lost what it had" in error for error in errors(caplog)) == 1


def test_a_renewed_stream_is_no_loss(store: RedisStore, caplog: pytest.LogCaptureFixture) -> None:
    """The caller has asked for it."""
    queue = store.queue("jobs")
    queue.put(1)
    queue.stored.renew_stream()  # type: ignore[attr-defined]
    assert len(queue) == 1
    assert errors(caplog) == []


def test_redis_that_does_not_answer_is_reported_once(
    store: RedisStore, server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And raised, once patience is over; the next use works where it is back."""
    monkeypatch.setattr(link, "PATIENCE", 0.3)
    queue = store.queue("jobs")
    queue.put(1)
    server.kill()
    for _ in range(2):
        with pytest.raises(StoreError, match=f"127.0.0.1:{server.port}") as caught:
            queue.put(2)
        assert isinstance(caught.value.__cause__, redis.ConnectionError)
    assert len(errors(caplog)) == 1
    assert "does not answer" in errors(caplog)[0]
    monkeypatch.setattr(link, "PATIENCE", scaled(10.0))
    server.start()
    queue.put(3)
    assert "answers again" in caplog.records[-2].getMessage() + caplog.records[-1].getMessage()


def test_secrets_of_the_url_are_shown_nowhere(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in an error, nor in the text of the store."""
    monkeypatch.setattr(link, "PATIENCE", 0.1)
    port = free_port()
    shown = []
    for url in (
        f"redis://me:hunter2@127.0.0.1:{port}/0",
        f"redis://127.0.0.1:{port}/0?password=hunter2",
        server.url.replace("redis://", "redis://me:hunter2@"),
    ):
        with RedisStore(url) as store:
            with pytest.raises(StoreError) as caught:
                store.queue("jobs").put(1)
            shown += [str(caught.value), repr(store)]
    with pytest.raises(ValueError, match="URL") as refused:
        RedisStore("http://me:hunter2@localhost")
    shown += [str(refused.value), str(refused.value.__cause__)]
    assert "hunter2" not in " ".join(shown)


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": ""},
        {"prefix": "a{b}"},
        {"prefix": 3},
        {"max_messages": 0},
        {"max_bytes": 0},
        {"replicas": -1},
        {"replicas": True},
        {"url_or_client": "http://localhost"},
        {"url_or_client": 7},
        {"url_or_client": FakeRedis(decode_responses=True)},
    ],
)
def test_a_wrong_option_is_refused_at_once(options: dict[str, Any]) -> None:
    """Before anything is connected."""
    with pytest.raises((ValueError, TypeError)):
        RedisStore(**{"url_or_client": "redis://localhost", **options})


def test_every_timeout_and_retry_is_ours() -> None:
    """Those of redis-py differ from version to version; and it would repeat an append."""
    client = redis_client.make_client("valkey://localhost/3")
    options = client.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"], options["db"]) == (5, 5, 3)
    assert options["retry"]._retries == 0  # redis-py 5 has no method for it
    client.close()


def test_a_lease_is_renewed_while_its_holder_works(store: RedisStore, client: Any) -> None:
    """Longer than it was meant to last, and by a thread that ends with the work."""
    queue = store.queue("jobs")
    queue.put("long")
    delivery = queue.get(visibility_timeout=0.05)
    assert delivery is not None
    leases = store._queues["jobs"].leases
    leases.holds[1] = leases.holds[1]._replace(renewal=0.0)  # as after two seconds
    ends = client.zscore("owlsocket:{jobs}:leases", 1)
    eventually(lambda: client.zscore("owlsocket:{jobs}:leases", 1) > ends)
    delivery.ack()
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "owlsocket-leases"])
    queue.put("again")
    again = queue.get()
    assert again is not None
    assert [each for each in threading.enumerate() if each.name == "owlsocket-leases"]
    again.ack()


def test_what_a_process_of_another_machine_left_is_free_by_the_clock(store: RedisStore, client: Any) -> None:
    """Nobody here can know that it is dead."""
    queue = store.queue("jobs")
    queue.put("far")
    entry = queue.stored.claim(60, None, Deadline(0))
    assert entry is not None
    store._queues["jobs"].leases.begin()  # nobody renews it
    client.hset("owlsocket:{jobs}:owners", "1", "elsewhere/1/1/x 0")
    client.delete("owlsocket:{jobs}:holders")
    client.hset("owlsocket:{jobs}:holders", "elsewhere/1/1/x", "1")
    assert queue.get(timeout=0.6) is None
    client.zadd("owlsocket:{jobs}:leases", {"1": 1})
    delivery = queue.get()
    assert delivery is not None
    assert delivery.attempts == 2
    delivery.ack()
    assert client.exists("owlsocket:{jobs}:holders") == 0


def test_a_closed_store_gives_back_what_was_in_flight(server: RedisServer, store: RedisStore) -> None:
    """At once, to those that wait elsewhere."""
    store.queue("jobs").put(1)
    with RedisStore(server.url) as other:
        assert other.queue("jobs").stored.claim(60, None, Deadline(0)) is not None
        assert store.queue("jobs").get() is None
    delivery = store.queue("jobs").get()
    assert delivery is not None
    assert delivery.attempts == 2
    delivery.ack()


def test_a_closed_store_frees_a_thread_that_waits_in_redis(server: RedisServer, client: Any) -> None:
    """Within half a second, and without a connection that is left open."""
    store = RedisStore(server.url)
    caught: list[str] = []

    def wait() -> None:
        try:
            store.queue("jobs").get(timeout=scaled(60))
        except StoreError as error:
            caught.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: client.info("clients")["blocked_clients"] == 1)
    store.close()
    thread.join(scaled(2))
    assert caught == ["the store is closed"]
    eventually(lambda: client.info("clients")["connected_clients"] == 1)


def test_the_lead_of_an_outbox_ends_with_its_process(
    server: RedisServer, store: RedisStore, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Or with its store; it is renewed meanwhile, and who has lost it knows."""
    stored: Any = store.queue("outbox").stored
    with RedisStore(server.url) as other:
        theirs: Any = other.queue("outbox").stored
        assert theirs.take_lead() is not None
        assert stored.take_lead() is None
    lead = stored.take_lead()
    assert lead is not None
    client.pexpire("owlsocket:{outbox}:lead", 60_000)
    stored.leases.leads = dict.fromkeys(stored.leases.leads, 0.0)  # as after two seconds
    eventually(lambda: client.pttl("owlsocket:{outbox}:lead") < 10_000)
    machine, pid, start, unique = store._leases.owner.split("/")
    client.set("owlsocket:{outbox}:lead", f"{machine}/{pid}/{int(start) + 1}/{unique} 7")
    stored.leases.leads = dict.fromkeys(stored.leases.leads, 0.0)
    eventually(lambda: not stored.leases.leads and errors(caplog))  # it is logged afterwards
    assert "another process sends the messages of the queue 'outbox'" in errors(caplog)[0]
    lead.release()
    assert client.exists("owlsocket:{outbox}:lead")
    again = stored.take_lead()
    assert again is not None  # that process is dead
    again.release()
    assert not client.exists("owlsocket:{outbox}:lead")


def test_a_lead_is_given_up_though_its_store_closes_at_this_moment(
    store: RedisStore, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the exit of a process, where the thread of the connection comes late."""
    stored: Any = store.queue("outbox").stored
    lead = stored.take_lead()
    run = RedisQueue._run

    def close_first(queue: RedisQueue, script: Script, *arguments: Any, **options: Any) -> Any:
        if script is scripts.LEAVE_LEAD:
            store.close()
        return run(queue, script, *arguments, **options)

    monkeypatch.setattr(RedisQueue, "_run", close_first)
    lead.release()
    assert not client.exists("owlsocket:{outbox}:lead")


def test_a_claim_that_was_interrupted_is_given_back(
    store: RedisStore, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the next look, though its lease is long: no consumer knows of it."""
    queue = store.queue("jobs")
    queue.put(1)
    with monkeypatch.context() as patched:
        patched.setattr(store._leases, "wake", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            queue.get()
    assert client.zcard("owlsocket:{jobs}:leases") == 1
    again = queue.get()
    assert again is not None
    assert again.attempts == 2
    again.ack()
    assert client.exists("owlsocket:{jobs}:holders") == 0


@pytest.mark.parametrize(("policy", "warnings"), [("allkeys-lru", 1), ("noeviction", 0)])
def test_a_redis_that_throws_messages_away_is_warned_of(
    server: RedisServer, client: Any, caplog: pytest.LogCaptureFixture, policy: str, warnings: int
) -> None:
    """Once: what it would do with a full memory is no error before."""
    client.config_set("maxmemory", 100_000_000)
    client.config_set("maxmemory-policy", policy)
    with RedisStore(server.url) as store:
        store.queue("jobs").put(1)
        store.queue("others").put(1)
    assert sum("maxmemory-policy" in record.getMessage() for record in caplog.records) == warnings


def test_many_messages_are_moved_and_deleted_page_by_page(store: RedisStore, client: Any) -> None:
    """No script holds Redis up for long, and no use sees a queue half renewed: those that come meanwhile help."""
    queue = store.queue("jobs")
    stored: Any = queue.stored
    ids = queue.put_many(range(2500))
    assert len(ids) == len(queue) == 2500
    queue.put("late", delay=0.2)
    first = queue.get()
    assert first is not None
    first.nack(60)
    before = stored.stream
    after = stored.renew_stream()
    assert after == stored.stream != before
    assert not client.exists("owlsocket:{jobs}:old")
    assert stored.bounds() == (2502, 2502 + 2501, 2501, "")
    assert len(stored.read_after(0, 3000)) == 2501
    (head,) = stored.read_after(0, 1)
    assert (head.seq, head.id, head.attempts) == (2502, ids[0], 1)
    second = queue.get()
    assert second is not None
    assert (second.payload, second.attempts) == (1, 1)  # the first one is delayed as before
    assert stored.delete_to(2501 + 1200) == 1200
    dead = [queue.get() for _ in range(3)]
    for delivery in dead:
        assert delivery is not None
        delivery.reject()
    assert queue.purge() == 2501 - 1200 - 3
    assert queue.purge(dead=True) == 3
    assert (queue.stats.bytes, queue.stats.depth, queue.stats.in_flight, queue.stats.dead) == (0, 0, 0, 0)


def test_writers_of_long_ago_are_forgotten(store: RedisStore, client: Any) -> None:
    """Each process is one, so there would be ever more."""
    client.hset("owlsocket:{jobs}:writers", mapping={f"w{n}": f"1 1 {n}" for n in range(600)})
    store.queue("jobs").put(1)
    assert client.hlen("owlsocket:{jobs}:writers") == 1


def test_there_is_no_key_but_those_that_are_named(store: RedisStore, client: Any) -> None:
    """A script that uses another one would fail in a cluster."""
    queue = store.queue("jobs")
    queue.put_many([1, 2, 3])
    queue.put(4, delay=60)
    held = queue.get()
    dead = queue.get()
    assert held is not None
    assert dead is not None
    dead.reject()
    queue.stored.move_to("5" * 32, Position(3, "c"))  # type: ignore[attr-defined]
    names = {key.decode() for key in client.keys("*")}
    assert names <= {"owlsocket:queues", *(f"owlsocket:{{jobs}}:{key}" for key in KEYS)}
    held.ack()
