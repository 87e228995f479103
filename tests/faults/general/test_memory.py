"""Whatever a peer sends, and wherever it is kept, a process takes no more memory than `Limits` allow."""

from __future__ import annotations

import contextlib
import json
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from owlsocket_sync import Connection, SocketTimeout, connect
from support.helpers import eventually, scaled, whole
from support.loads import MIB, program
from support.sockets import TEXT, frame, knock
from support.variants import kinds

pytestmark = [pytest.mark.slow, pytest.mark.stress, pytest.mark.timeout(600)]

LIMIT = 16 * MIB
LIMITS = {"message_size": MIB, "inbox_bytes": LIMIT, "dispatch_bytes": LIMIT}
ALLOWED = 80 * MIB
"""The limit, one message more, what parsing a message takes, and what the allocator does not return."""

MESSAGE_CHARACTERS = 256 * 1024
DENSE = {
    "nested lists": "[" * 500 + "]" * 500,
    "empty lists": "[]",
    "objects": '{"":0}',
    "short texts": '"éé"',
}
FIELDS: dict[str, dict[str, Any]] = {
    "inbox": {"type": "message"},
    "observer": {"type": "event", "event": "kept"},
    "iterator": {"type": "event", "event": "kept"},
    "listener": {"type": "event", "event": "kept"},
    "performer": {"type": "call", "method": "keep", "id": "1"},
    "acknowledger": {"type": "request", "id": "1"},
    "stream": {"type": "response"},
    "reports": {"type": "event", "event": 5},
}


class Hoarder:
    """A server in another process, and a client that sends to it.

    Attributes:
        url: the address of the server.
        conn: the client.
        requests: the ids of the requests of the server.
    """

    def __init__(self, process: Any) -> None:
        self._process = process
        self.requests: queue.Queue[Any] = queue.Queue()
        self.url = process.stdout.readline().strip()
        self.conn = connect(self.url, reconnect=None, call_timeout=scaled(1.0), heartbeat=None, setup=self._prepare)

    def _prepare(self, conn: Connection) -> None:
        conn.acknowledge(lambda id, payload: self.requests.put(id) or True)

    def ask(self, broadcasts: int = 0) -> dict[str, int]:
        """Have it broadcast, and return what it tells."""
        self._process.stdin.write(f"{broadcasts}\n")
        self._process.stdin.flush()
        report: dict[str, int] = json.loads(self._process.stdout.readline())
        return report

    def flood(self, text: str, count: int) -> int:
        """Send a message so often, or until it is read no further; return how often that was."""
        for number in range(count):
            try:
                self.conn.send(text)
            except SocketTimeout:
                return number
        eventually(lambda: self.ask()["received"] >= count, 60)
        return count


@contextmanager
def hoarder(place: str) -> Iterator[Hoarder]:
    """Return one that keeps what it gets in this place."""
    with program("hoarder", place, json.dumps(LIMITS)) as process:
        keeper = Hoarder(process)
        try:
            yield keeper
        finally:
            process.kill()
            keeper.conn.close(timeout=scaled(0.5))


def dense(fields: dict[str, Any], entry: str) -> str:
    """Return a message that takes as much memory for its text as there is."""
    payload = ",".join([entry] * (MESSAGE_CHARACTERS // (len(entry) + 1)))
    return json.dumps(fields)[:-1] + f',"payload":[{payload}]}}'


@pytest.mark.parametrize("entry", [*DENSE][: whole(1, len(DENSE))])
@pytest.mark.parametrize("place", kinds(FIELDS, "observer", "performer", "stream"))
def test_the_densest_messages_stay_within_the_limits(place: str, entry: str) -> None:
    """Two GiB of lists and objects arrive before one is handled: they are not read, or dropped and counted."""
    count = whole(60, 300)
    with hoarder(place) as keeper:
        fields = (
            FIELDS[place] if place != "stream" else {**FIELDS[place], "id": keeper.requests.get(timeout=scaled(10))}
        )
        sent = keeper.flood(dense(fields, DENSE[entry]), count)
        report = keeper.ask()
    assert report["grown"] < ALLOWED
    assert report["received"] >= 2, "some of them are kept"
    assert sent < count or report["dropped"] > 0, "and some are not"


def test_replies_that_nobody_reads_stay_within_the_limits() -> None:
    """Each call has a large result, and the client reads none: as many results wait as there are workers."""
    with hoarder("replies") as keeper:
        peer, _ = knock(int(keeper.url.rpartition(":")[2].strip("/")))
        call = frame(TEXT, b'{"type":"call","method":"large","payload":[],"id":"1"}', masked=True)
        peer.sock.settimeout(scaled(1.0))
        with contextlib.suppress(TimeoutError):
            for _ in range(whole(20, 200)):
                peer.send(call * 1000)
        eventually(lambda: keeper.ask()["received"] >= 1000, 20)
        report = keeper.ask()
        peer.sock.close()
    assert report["grown"] < ALLOWED


def test_broadcasts_that_nobody_reads_stay_within_the_limits() -> None:
    """They wait up to the limit, and are dropped and counted above it."""
    with hoarder("outbound") as keeper:
        peer, _ = knock(int(keeper.url.rpartition(":")[2].strip("/")))
        report = keeper.ask(whole(200, 1000))
        peer.sock.close()
    assert report["dropped"] > 0
    assert report["grown"] < ALLOWED
