"""Sites of several workers, whose views put messages into one outbox; and what has to come of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from owlsocket_sync.server import Server, serve
from owlsocket_sync.stores import Queue, SqliteStore
from support.browsers import WORKERS, Browsers
from support.child_processes import Child
from support.helpers import eventually, whole


def queue_url(folder: Path, name: str) -> str:
    """The URL of a queue in the store of a site."""
    return f"sqlite:///{folder / 'site.db'}?queue={name}"


@contextmanager
def backend(folder: Path, port: int = 0) -> Iterator[tuple[Server, SqliteStore]]:
    """A server whose inbox is the queue ``orders`` of a store, and whose outbox is ``answers`` there."""
    with (
        SqliteStore(folder / "backend.db") as store,
        serve(
            lambda conn, request: None,
            port=port,
            inbox=store.queue("orders"),
            outbox=lambda request: store.queue("answers"),
        ) as server,
    ):
        yield server, store


def payloads(queue: Queue, count: int) -> list[Any]:
    """The payloads of a queue once it has so many messages."""
    eventually(lambda: len(queue) >= count, 60)
    return [message.payload for message in queue.peek(count + 10)]


def check_orders(site: Browsers, orders: Queue, loaded: int) -> None:
    """What any worker put arrives, once, also when those that send are killed; and the site ends in order.

    Args:
        site: of the workers.
        orders: where it arrives.
        loaded: messages that the site put while it was loaded.
    """
    site.storm(whole(1, 20))
    workers = site.ask_until_all_answered()
    first = payloads(orders, len(site.answered) + loaded)
    victims = sorted(workers)[: WORKERS - 1]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    site.ask_until_all_answered(but=set(victims))
    # A request that a killed worker had accepted may have put its message, or not.
    arrived = payloads(orders, len(site.answered) + loaded)
    assert arrived[: len(first)] == first
    numbers = [payload for payload in arrived if payload != "loaded"]
    assert set(site.answered) <= set(numbers) <= set(site.answered) | site.dropped
    assert len(numbers) == len(set(numbers))
    assert len(arrived) == len(numbers) + loaded
    site.child.send(signal.SIGTERM)
    done = site.child.finish()
    assert (done.code, "Traceback" in done.complaints) == (0, False), done.complaints


def check_worker(command: list[str], env: dict[str, str], answers: Queue) -> None:
    """A process takes what the server puts, before and after a worker was killed in the middle; in order."""
    count = whole(20, 500)
    answers.put_many(range(count))
    with Child([*command, str(count * 2)], env) as first:
        taken = [int(first.line()) for _ in range(count)]
        first.send(signal.SIGKILL)
    answers.put_many(range(count, 2 * count))
    with Child([*command, str(count)], env) as second:
        done = second.finish(60)
    taken += map(int, done.words)
    assert (done.code, done.complaints) == (0, "")
    # What was printed and not acknowledged yet comes once more.
    assert sorted(set(taken)) == list(range(max(taken) + 1))
    assert len(taken) - len(set(taken)) <= 1
