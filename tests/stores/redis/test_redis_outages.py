"""A Redis that is killed, comes back empty, or is followed by its replica, while messages pass."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from owlsocket_sync import Backoff, StoreError
from owlsocket_sync.redis import link
from owlsocket_sync.stores import RedisStore
from support.figures import Figure
from support.helpers import eventually, scaled, whole
from support.redis_servers import RedisServer

pytestmark = pytest.mark.slow

AT_ONCE = Backoff(initial=0, cap=0)


class Traffic:
    """One thread that puts numbers, and one that works on them, until it is stopped; a context manager.

    Attributes:
        safe: the numbers for which ``put`` has returned, with the moments.
        worked: the numbers that were worked on, with their attempts and the moments.
        failed: the errors of ``put``.
    """

    def __init__(self, store: RedisStore) -> None:
        self.queue = store.queue("jobs")
        self.safe: list[tuple[int, float]] = []
        self.worked: list[tuple[int, int, float]] = []
        self.failed: list[StoreError] = []
        self._stop = threading.Event()
        self._putting = threading.Thread(target=self._put)
        self._working = threading.Thread(target=self._work)

    def _put(self) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                self.queue.put(number)
            except StoreError as error:
                self.failed.append(error)
            else:
                self.safe.append((number, time.monotonic()))
            number += 1

    def _work(self) -> None:
        for delivery in self.queue.messages(max_attempts=None, retry_delay=AT_ONCE):
            if delivery.payload is None:
                return
            self.worked.append((delivery.payload, delivery.attempts, time.monotonic()))

    def __enter__(self) -> Traffic:
        self._putting.start()
        self._working.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._putting.join(scaled(30))
        self.queue.put(None)
        self._working.join(scaled(60))  # it may be far behind
        assert not self._putting.is_alive()
        assert not self._working.is_alive()

    def goes_on(self, seconds: float = 20.0) -> float:
        """Wait until a message is put, and one is worked on, from now on; the moment at which both have been."""
        now, put, worked = time.monotonic(), len(self.safe), len(self.worked)
        eventually(lambda: self._since(now, put, worked), seconds)
        return max(self._since(now, put, worked) or (now,))

    def _since(self, now: float, put: int, worked: int) -> tuple[float, float] | None:
        first_put = next((at for _, at in self.safe[put:] if at > now), None)
        first_worked = next((at for _, _, at in self.worked[worked:] if at > now), None)
        return None if first_put is None or first_worked is None else (first_put, first_worked)

    @property
    def lost(self) -> list[tuple[int, float]]:
        """What was safe, and nobody worked on; at the end."""
        worked = {number for number, _, _ in self.worked}
        return [(number, at) for number, at in self.safe if number not in worked]

    @property
    def repeated(self) -> list[int]:
        """The attempts of each repetition of a number."""
        seen: set[int] = set()
        return [tries for number, tries, _ in self.worked if number in seen or seen.add(number)]


@contextmanager
def following(folder: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A master, and a replica of it."""
    for name in ("master", "replica"):
        (folder / name).mkdir()
    with (
        RedisServer(folder / "master", "everysec", "--repl-diskless-sync-delay", "0") as master,
        RedisServer(folder / "replica", "everysec", "--replicaof", "127.0.0.1", str(master.port)) as replica,
    ):
        with master.client() as client:
            eventually(lambda: client.info("replication")["connected_slaves"] == 1 and client.wait(1, 100) == 1, 30)
        yield master, replica


@pytest.mark.stress
@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_row_a16_redis_is_killed_and_comes_back(
    tmp_path: Path, fsync: str, figure: Figure, caplog: pytest.LogCaptureFixture
) -> None:
    """Those who put and who work go on. ``always`` loses nothing; ``everysec`` what it had not written, and says so."""
    kills: list[float] = []
    with RedisServer(tmp_path, fsync) as server, RedisStore(server.url) as store:
        with Traffic(store) as traffic:
            for _ in range(whole(2, 20)):
                traffic.goes_on()
                kills.append(time.monotonic())
                server.kill()
                server.start()
                back = time.monotonic()
                figure(f"{fsync}: back after Redis is", traffic.goes_on() - back, scaled(2.0), "s")
        assert traffic.failed == []
        assert store.queue("jobs").stats.in_flight == 0
    first = list(dict.fromkeys(number for number, _, _ in traffic.worked))
    assert first == sorted(first)
    ages = [min(kill - at for kill in kills if kill > at - scaled(0.1)) for _, at in traffic.lost]
    if fsync == "always":
        figure("always: messages lost", len(traffic.lost), 0, "messages")
        assert all(tries > 1 for tries in traffic.repeated)
        figure("always: worked on twice, for each kill", len(traffic.repeated) / len(kills), 1, "messages")
    else:
        # Redis writes up to two seconds later where the disk is slow, and then some acknowledgements are lost as well.
        figure("everysec: put before the kill, and lost", max(ages, default=0.0), scaled(2.5), "s")
        reports = sum("lost what it had" in record.getMessage() for record in caplog.records)
        assert reports <= len(kills)
        assert not ages or reports


def test_row_a16_pending_messages_survive(tmp_path: Path) -> None:
    """With the process that has them, and their attempts."""
    with RedisServer(tmp_path, "always") as server, RedisStore(server.url) as store:
        queue = store.queue("jobs")
        queue.put_many(["a", "b"])
        held = queue.get()
        assert held is not None
        server.restart()
        assert queue.stats.in_flight == 1
        other = queue.get()
        assert other is not None
        assert other.payload == "b"
        held.nack(0)
        again = queue.get()
        assert again is not None
        assert (again.payload, again.attempts) == ("a", 2)
        again.ack()
        other.ack()


def test_row_a17_redis_comes_back_empty(tmp_path: Path, figure: Figure, caplog: pytest.LogCaptureFixture) -> None:
    """Those who wait go on, one report tells the loss, and they ask no more than ten times a second."""
    with RedisServer(tmp_path) as server, RedisStore(server.url) as store, server.client() as client:
        queue = store.queue("jobs")
        queue.put_many(range(1000))
        taken: list[Any] = []
        waiting = threading.Thread(target=lambda: taken.append(queue.get(timeout=scaled(60))))
        queue.purge()
        waiting.start()
        server.restart()
        eventually(lambda: any("lost what it had" in each.getMessage() for each in caplog.records))
        begin, began = client.info("stats")["total_commands_processed"], time.monotonic()
        time.sleep(2)
        calls = client.info("commandstats")
        assert client.info("stats")["total_commands_processed"] > begin
        asked = sum(each["calls"] for name, each in calls.items() if name in ("cmdstat_evalsha", "cmdstat_blpop"))
        figure("commands of one that waits", asked / (time.monotonic() - began), 10, "per second")
        with RedisStore(server.url) as other:
            put = time.monotonic()
            other.queue("jobs").put("new")
            waiting.join(scaled(10))
            figure("a message of another process is there after", time.monotonic() - put, scaled(0.5), "s")
        assert taken[0].payload == "new"
        taken[0].ack()
        reports = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
        assert len([each for each in reports if "lost what it had" in each]) == 1
        assert len([each for each in reports if "does not answer" in each]) <= 1


def test_row_a18_a_replica_has_what_was_put(tmp_path: Path, figure: Figure) -> None:
    """With ``replicas=1``: when its master is dead, and it takes its place."""
    with following(tmp_path) as (master, replica), RedisStore(master.url, replicas=1) as store:
        queue = store.queue("jobs")
        began = time.monotonic()
        for number in range(200):
            queue.put(number)
        figure("put, with one replica", (time.monotonic() - began) / 200 * 1000, scaled(50), "ms")
        master.kill()
        with replica.client() as client:
            client.replicaof("NO", "ONE")
        with RedisStore(replica.url) as heir:
            there = [delivery.payload for delivery in heir.queue("jobs").messages(timeout=0)]
        figure("messages lost with the master", len(set(range(200)) - set(there)), 0, "messages")
        assert there == list(range(200))


def test_row_a18_without_its_replica_nothing_is_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it would not be safe; and once there is a replica, what waited for it is there once."""
    with following(tmp_path) as (master, replica), RedisStore(master.url, replicas=1) as store:
        queue = store.queue("jobs")
        queue.put("before")
        replica.kill()
        with monkeypatch.context() as patched:
            patched.setattr(link, "PATIENCE", 0.5)
            with pytest.raises(StoreError, match="only 0 of 1 replicas have confirmed"):
                queue.put("unsafe")
        putting = threading.Thread(target=lambda: queue.put("waits"))
        putting.start()
        replica.start()
        putting.join(scaled(30))
        assert not putting.is_alive()
        assert [delivery.payload for delivery in queue.messages(timeout=0)] == ["before", "unsafe", "waits"]


def test_row_a18_a_sentinel_replaces_the_master(tmp_path: Path, figure: Figure) -> None:
    """With ``replicas=1``, nothing is lost, and those who put and who work go on with the other one."""
    with following(tmp_path) as (master, replica):
        folder = tmp_path / "sentinel"
        folder.mkdir()
        (folder / "sentinel.conf").write_text(
            f"sentinel monitor owls 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds owls 1000\nsentinel failover-timeout owls 5000\n",
            encoding="utf-8",
        )
        with RedisServer(folder, None, config=folder / "sentinel.conf") as watcher:
            ask_sentinels: Any = Sentinel
            sentinel = ask_sentinels([("127.0.0.1", watcher.port)], socket_timeout=scaled(5))
            with watcher.client() as client:
                eventually(lambda: client.execute_command("SENTINEL", "REPLICAS", "owls"), 30)
            client = sentinel.master_for("owls", socket_timeout=scaled(5), retry=Retry(NoBackoff(), 0))
            with RedisStore(client) as store:
                with Traffic(store) as traffic:
                    traffic.goes_on()
                    master.kill()
                    killed = time.monotonic()
                    figure("back after the death of the master", traffic.goes_on(60) - killed, scaled(10), "s")
                # Without WAIT: on one machine the replica is a moment behind at most.
                figure("messages lost, without WAIT", len(traffic.lost), 1000, "messages")
                assert traffic.failed == []
            client.close()
            for each in sentinel.sentinels:
                each.close()
