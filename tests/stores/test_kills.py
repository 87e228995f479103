"""Processes that die while they use a store: nothing is lost, and their messages are free at once."""

from __future__ import annotations

import gc
import json
import sqlite3
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from owlsocket_sync import Backoff
from owlsocket_sync.stores import SqliteStore
from support.child_processes import Child, environment
from support.figures import Figure
from support.helpers import eventually, scaled, whole
from support.store_processes import check_ghost, check_poison

pytestmark = pytest.mark.slow

APPS = Path(__file__).parent / "apps"
AT_ONCE = Backoff(initial=0, cap=0)

USE = """
import os, signal, sys, time
from owlsocket_sync.stores import SqliteStore
store = SqliteStore(sys.argv[1])
queue = store.queue("jobs")
"""


def using(path: Path, source: str) -> Child:
    """A process of its own that uses a store by this source."""
    return Child([sys.executable, "-c", USE + source, str(path)], environment())


@pytest.mark.stress
def test_nothing_is_lost_when_workers_are_killed(tmp_path: Path) -> None:
    """At any moment, those that put and those that work: each message is worked on, again only as a repetition."""
    kills, per_life = whole((8, 60), (200, 120))
    path = tmp_path / "queue.db"
    command = [sys.executable, str(APPS / "kills.py"), str(path), str(kills), str(per_life)]
    with Child(command, environment()) as child:
        done = child.finish(whole(60, 600))
    assert (done.code, done.complaints) == (0, "")
    seen = json.loads(done.out)
    safe, worked = seen["safe"], seen["worked"]
    assert set(safe) <= {number for number, _ in worked}
    assert len({tuple(each) for each in worked}) == len(worked)
    first = list(dict.fromkeys(number for number, _ in worked))
    assert first == sorted(first)
    # A worker may be killed between the claim and its note: then the first note is of the second attempt.
    last: dict[int, int] = {}
    for number, attempts in worked:
        assert attempts > last.get(number, 0)
        last[number] = attempts
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_what_a_killed_process_worked_on_is_free_at_once(tmp_path: Path, figure: Figure) -> None:
    """Within a second of its death, for a process that waits already; however long the lease was meant to last."""
    path = tmp_path / "queue.db"
    with (
        SqliteStore(path) as store,
        using(path, "d = queue.get(); print('has it', flush=True); time.sleep(600)") as child,
    ):
        store.queue("jobs").put("work")
        assert child.line() == "has it"
        assert store.queue("jobs").get() is None
        assert child.send(9) > 0
        killed = time.monotonic()
        again = store.queue("jobs").get(timeout=scaled(10))
        figure("free after the death of its worker", time.monotonic() - killed, scaled(1.0), "s")
        assert again is not None
        assert again.attempts == 2
        again.ack()
        assert store.queue("jobs").stats.in_flight == 0


def test_a_message_that_kills_its_worker_becomes_a_dead_letter(tmp_path: Path, figure: Figure) -> None:
    """After exactly so many deliveries; those behind it go on within a second."""
    path = tmp_path / "queue.db"
    with SqliteStore(path) as store:
        check_poison(store.queue("jobs"), partial(using, path), figure)


def test_what_a_killed_process_worked_on_is_not_in_flight_any_more(tmp_path: Path, figure: Figure) -> None:
    """In all figures, and for purge, before anybody asks for a message."""
    path = tmp_path / "queue.db"
    with SqliteStore(path) as store:
        check_ghost(store.queue("jobs"), partial(using, path), figure)


def test_another_process_puts_and_this_one_takes(tmp_path: Path) -> None:
    """Without a wait of seconds; and what a process forgets, it leaves to the others while it lives."""
    path = tmp_path / "queue.db"
    source = """
queue.put("hello")
delivery = store.queue("late").get(timeout=30, visibility_timeout=0.05)
del delivery
print("forgot", flush=True)
time.sleep(600)
"""
    with SqliteStore(path) as store, using(path, source) as child:
        queue = store.queue("jobs")
        delivery = queue.get(timeout=scaled(20))
        assert delivery is not None
        delivery.ack()
        store.queue("late").put("forgotten")
        assert child.line() == "forgot"
        again = store.queue("late").get(timeout=scaled(5))
        assert again is not None
        assert (again.payload, again.attempts) == ("forgotten", 2)
        again.ack()


@pytest.mark.stress
def test_processes_that_share_a_queue_get_each_message_once(tmp_path: Path) -> None:
    """Whichever of them puts it, and whichever takes it."""
    path, (processes, count) = tmp_path / "queue.db", whole((2, 60), (4, 2_000))
    put = f"for n in range({count}): queue.put([os.getpid(), n])\nprint('put', flush=True); store.close()"
    take = """
for delivery in queue.messages(timeout=20):
    print(delivery.payload, flush=True)
    if delivery.payload is None:
        delivery.ack()
        break
store.close()
"""
    with ExitStack() as stack:
        queue = stack.enter_context(SqliteStore(path)).queue("jobs")
        consumers = [stack.enter_context(using(path, take)) for _ in range(processes)]
        producers = [stack.enter_context(using(path, put)) for _ in range(processes)]
        assert [producer.finish().out for producer in producers] == ["put\n"] * processes
        queue.put_many([None] * processes)
        taken = [line for consumer in consumers for line in consumer.finish().out.splitlines() if line != "None"]
        assert len(queue) == queue.stats.in_flight == 0
    assert len(taken) == len(set(taken)) == processes * count


def test_the_next_process_sends_an_outbox_when_its_sender_dies(tmp_path: Path) -> None:
    """Both may add to it; the lead is free within a second."""
    path = tmp_path / "queue.db"
    source = "lead = queue.stored.take_lead(); queue.put(1); print(lead is not None, flush=True); time.sleep(600)"
    with SqliteStore(path) as store, using(path, source) as child:
        assert child.line() == "True"
        stored = store.queue("jobs").stored
        assert stored.take_lead() is None  # type: ignore[attr-defined]
        store.queue("jobs").put(2)
        child.send(9)
        leads: list[object] = []
        eventually(lambda: leads.extend(filter(None, [stored.take_lead()])) or leads, 1.0)  # type: ignore[attr-defined]
        leads[0].release()  # type: ignore[attr-defined]
        assert [entry.payload for entry in stored.read_after(0, 10)] == [b"1", b"2"]


def test_a_lead_that_is_forgotten_is_free(tmp_path: Path) -> None:
    """Without a warning of the file that it locks: no one could close that."""
    with SqliteStore(tmp_path / "queue.db") as store:
        stored = store.queue("jobs").stored
        circle: list[object] = [stored.take_lead()]  # type: ignore[attr-defined]
        assert circle[0] is not None
        circle.append(circle)  # found by the collector, which finalizes a file before or after its owner
        del circle
        gc.collect()
        lead = stored.take_lead()  # type: ignore[attr-defined]
        assert lead is not None
        lead.release()
