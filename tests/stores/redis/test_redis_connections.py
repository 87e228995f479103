"""Connections whose outbox or inbox is in a Redis that comes back empty, or older, while their link stays up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import Connection, MessagesLost, StoreError, connect
from owlsocket_sync.server import Request, serve
from owlsocket_sync.stores import Queue, RedisStore, SqliteStore
from support.helpers import Collector, eventually
from support.redis_servers import RedisServer

pytestmark = pytest.mark.slow


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteStore]:
    """The store of the other end, which loses nothing."""
    with SqliteStore(tmp_path / "file.db") as store:
        yield store


@contextmanager
def sending(outbox: Queue, inbox: Queue, sender: str) -> Iterator[tuple[Connection, Collector]]:
    """A link over which one end sends; the connection of that end, and what both reported."""
    errors, accepted = Collector(), Collector()

    def handler(connection: Connection, request: Request) -> None:
        connection.on_error(lambda error, context: errors(error))
        accepted(connection)

    of_server: dict[str, Any] = {"inbox": inbox} if sender == "client" else {"outbox": lambda request: outbox}
    of_client: dict[str, Any] = {"outbox": outbox} if sender == "client" else {"inbox": inbox}
    with serve(handler, **of_server) as server, connect(server.url, heartbeat=None, **of_client) as connection:
        connection.on_error(lambda error, context: errors(error))
        (other,) = accepted.wait(1)
        yield (connection if sender == "client" else other), errors
        assert server.connections == [other]  # the link was up all the time


def send(connection: Connection, outbox: Queue, *payloads: int) -> None:
    """Send these, and wait until the peer has all that the outbox has."""
    for payload in payloads:
        connection.enqueue(payload)
    eventually(lambda: outbox.stats.depth == 0)


def contents(queue: Queue) -> list[int]:
    """All that is in a queue."""
    return [message.payload for message in queue.peek(1000)]


def empty(server: RedisServer, client: Any) -> None:
    """Let Redis forget everything, as one that keeps nothing does when it restarts."""
    client.flushall()


def go_back(server: RedisServer, client: Any) -> None:
    """Let Redis restart with what it saved last."""
    server.restart()


@pytest.mark.parametrize("sender", ["client", "server"])
@pytest.mark.parametrize(("change", "repeated"), [(empty, []), (go_back, [1, 2])])
def test_an_outbox_in_a_redis_that_changed_is_greeted_again(
    server: RedisServer,
    store: RedisStore,
    client: Any,
    file: SqliteStore,
    sender: str,
    change: Callable[[RedisServer, Any], None],
    repeated: list[int],
) -> None:
    """What is put since arrives, and what Redis has again may arrive twice; numbers that were used before are new."""
    outbox, inbox = store.queue("out"), file.queue("in")
    outbox.put_many([1, 2])
    client.save()
    with sending(outbox, inbox, sender) as (connection, errors):
        send(connection, outbox, 3, 4)
        change(server, client)
        send(connection, outbox, 5)
        send(connection, outbox, 6, 7)
        assert contents(inbox) == [1, 2, 3, 4, *repeated, 5, 6, 7]
        (error,) = errors.wait(1)
        assert isinstance(error, StoreError)
        assert "the outbox" in str(error)
    assert len(errors.items) == 1


@pytest.mark.parametrize("sender", ["client", "server"])
@pytest.mark.parametrize(("change", "left"), [(empty, []), (go_back, [1, 2])])
def test_an_inbox_in_a_redis_that_changed_tells_of_it_and_goes_on(
    server: RedisServer,
    store: RedisStore,
    client: Any,
    file: SqliteStore,
    sender: str,
    change: Callable[[RedisServer, Any], None],
    left: list[int],
) -> None:
    """What is sent since is stored once; what is known to be lost is told with its count."""
    outbox, inbox = file.queue("out"), store.queue("in")
    with sending(outbox, inbox, sender) as (connection, errors):
        send(connection, outbox, 1, 2)
        client.save()
        send(connection, outbox, 3, 4)
        change(server, client)
        send(connection, outbox, 5, 6)
        assert contents(inbox) == [*left, 5, 6]
        reports = errors.wait(2 if left else 1)
        assert isinstance(reports[0], StoreError)
        assert "the inbox" in str(reports[0])
        if left:
            assert isinstance(reports[1], MessagesLost)
            assert reports[1].count == 2
        send(connection, outbox, 7)
    assert len(errors.items) == (2 if left else 1)
