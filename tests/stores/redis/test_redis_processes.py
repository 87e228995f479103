"""Processes that share a Redis, fork with an open store, or are killed while they work."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import StoreError
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.stores import RedisStore, redis_owner
from support.child_processes import Child, environment
from support.figures import Figure
from support.helpers import eventually, scaled, whole
from support.redis_servers import RedisServer
from support.store_processes import check_ghost, check_poison

pytestmark = pytest.mark.slow

APPS = Path(__file__).parents[1] / "apps"
USE = """
import os, signal, sys, time
from owlsocket_sync.stores import RedisStore
store = RedisStore(sys.argv[1])
queue = store.queue("jobs")
"""


def using(server: RedisServer, source: str) -> Child:
    """A process of its own that uses a store by this source."""
    return Child([sys.executable, "-c", USE + source, server.url], environment())


def test_what_a_killed_process_worked_on_is_free_at_once(
    server: RedisServer, store: RedisStore, figure: Figure
) -> None:
    """For a process that waits already; however long the lease was meant to last."""
    queue = store.queue("jobs")
    with using(server, "d = queue.get(timeout=20); print('has it', flush=True); time.sleep(600)") as child:
        queue.put("work")
        assert child.line() == "has it"
        assert queue.get() is None
        child.send(9)
        killed = time.monotonic()
        again = queue.get(timeout=scaled(10))
        figure("free after the death of its worker", time.monotonic() - killed, scaled(1.0), "s")
        assert again is not None
        assert again.attempts == 2
        again.ack()
        assert queue.stats.in_flight == 0


@pytest.mark.stress
def test_nothing_is_lost_when_workers_are_killed(server: RedisServer, store: RedisStore) -> None:
    """At any moment, those that put and those that work: each message is worked on, again only as a repetition."""
    kills, per_life = whole((8, 60), (200, 120))
    with Child([sys.executable, str(APPS / "kills.py"), server.url, str(kills), str(per_life)], environment()) as child:
        done = child.finish(whole(60, 600))
    assert (done.code, done.complaints) == (0, "")
    seen = json.loads(done.out)
    safe, worked = seen["safe"], seen["worked"]
    assert set(safe) <= {number for number, _ in worked}
    assert len({tuple(each) for each in worked}) == len(worked)
    first = list(dict.fromkeys(number for number, _ in worked))
    assert first == sorted(first)
    # A worker may die after Redis has given it a message, and before it knows.
    assert sum(attempts == 1 for _, attempts in worked) >= len(first) - kills


def test_a_new_process_begins_with_what_a_killed_one_left(server: RedisServer, store: RedisStore) -> None:
    """So the messages stay in their order."""
    queue = store.queue("jobs")
    queue.put_many([1, 2, 3])
    with using(server, "d = queue.get(); print('has it', flush=True); time.sleep(600)") as child:
        assert child.line() == "has it"
        child.send(9)
        child.finish()
    with RedisStore(server.url) as other:
        seen = [(each.payload, each.attempts) for each in other.queue("jobs").messages(timeout=0)]
    assert seen == [(1, 2), (2, 1), (3, 1)]


def test_a_message_that_kills_its_worker_becomes_a_dead_letter(
    server: RedisServer, store: RedisStore, figure: Figure
) -> None:
    """After exactly so many deliveries; those behind it go on."""
    check_poison(store.queue("jobs"), partial(using, server), figure)


def test_what_a_killed_process_worked_on_is_not_in_flight_any_more(
    server: RedisServer, store: RedisStore, figure: Figure
) -> None:
    """In all figures, and for purge, before anybody asks for a message."""
    check_ghost(store.queue("jobs"), partial(using, server), figure)


def test_what_a_killed_process_sent_can_be_taken_at_once(server: RedisServer, store: RedisStore) -> None:
    """Its right to send is over, although Redis keeps it for seconds."""
    queue = store.queue("jobs")
    source = "lead = queue.stored.take_lead(); print(lead is not None, flush=True); time.sleep(600)"
    uses: list[Callable[[], object]] = [lambda: queue.get() is not None, lambda: queue.purge() == 1]
    for use in uses:
        queue.put(1)
        with using(server, source) as child:
            assert child.line() == "True"
            with pytest.raises(StoreError, match="outbox of a connection"):
                use()
            child.send(9)
            child.finish()
        assert use()


def test_a_forked_child_has_connections_and_leases_of_its_own(server: RedisServer, store: RedisStore) -> None:
    """What its parent works on stays the parent's; and each of them is heard."""
    source = """
queue.put_many(range(20))
held = queue.get()
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        mine = store.queue("jobs")
        taken = mine.get(timeout=20)
        mine.put([os.getpid(), taken.payload])
        taken.ack()
        del held
        os._exit(0)
    children.append(child)
for number in range(100):
    queue.put(number)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
assert queue.stats.in_flight == 1, queue.stats
held.ack()
print(len(queue), queue.stats.in_flight)
store.close()
"""
    with using(server, source) as child:
        done = child.finish()
    assert (done.code, done.complaints) == (0, "")
    assert done.out.split() == [str(19 - 8 + 8 + 100), "0"]


def test_a_process_that_is_suspended_keeps_its_lease_as_long_as_it_lasts(
    server: RedisServer, store: RedisStore
) -> None:
    """It lives, so that others wait for the clock; its late answer counts."""
    queue = store.queue("jobs")
    with using(server, "d = queue.get(timeout=20); print('has it', flush=True); time.sleep(600)") as child:
        queue.put("work")
        assert child.line() == "has it"
        child.send(19)
        assert queue.get(timeout=1.2) is None
        child.send(18)


def test_an_owner_is_known_by_its_process_and_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process id is used again; and those of another machine, or container, say nothing here."""
    own = redis_owner.make_owner()
    machine, pid, start, unique = own.split("/")
    assert not redis_owner.is_dead(own)
    assert redis_owner.is_dead(f"{machine}/{pid}/{int(start) + 1}/{unique}")
    assert not redis_owner.is_dead(f"elsewhere/{pid}/{int(start) + 1}/{unique}")
    assert not redis_owner.is_dead(f"{machine}/{pid}/-/{unique}")
    child = os.posix_spawn("/bin/true", ["true"], {})
    eventually(lambda: redis_owner._start_of(child) is None)  # a zombie has ended
    os.waitpid(child, 0)
    assert redis_owner._start_of(child) is None
    monkeypatch.setattr(redis_owner, "_machine", lambda: "")
    assert not redis_owner.is_dead(own)


def test_a_wait_costs_a_lost_message_of_the_bell_half_a_second(store: RedisStore, client: Any) -> None:
    """As where the thread that took it has died before it claimed."""
    queue = store.queue("jobs")
    queue.put(1)
    client.delete("owlsocket:{jobs}:bell")
    entry = queue.stored.claim(60, None, Deadline(0))
    assert entry is not None
    assert queue.stored.release(entry, 0.2)
    client.delete("owlsocket:{jobs}:bell")
    began = time.monotonic()
    delivery = queue.get(timeout=scaled(10))
    assert delivery is not None
    assert time.monotonic() - began < scaled(1.5)
    delivery.ack()
