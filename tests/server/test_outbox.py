"""`Outbox`: the queue for one client is bounded; broadcasts are counted exactly, and drops are reported once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterator

import pytest

from owlsocket_sync import Connection, Instrument, Limits
from owlsocket_sync.protocol.hooks import Hooks
from owlsocket_sync.runtime import link as link_module
from owlsocket_sync.server.outbox import BROADCAST_TIMEOUT, Outbox
from owlsocket_sync.states import CloseInfo
from support.helpers import eventually
from support.linked import Run, aside
from support.pair import make_pair
from support.strikes import struck

BUFFERS = 16_384
BIG = b"x" * 1_000_000


class Watching(Instrument):
    """Keeps the sizes of messages that were sent."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def on_message(self, connection: Connection, direction: str, size: int) -> None:
        """Keep a size."""
        self.sizes.append(size)


class Client:
    """A client that reads when the test does, and its outbox."""

    def __init__(self, limits: Limits) -> None:
        self.run = Run(buffers=BUFFERS)
        self.conn, _, _, _ = make_pair()
        self.is_reading = True
        self.reported: list[str] = []
        self.conn.on_error(lambda error, context: self.reported.append(context.source))
        self.tasks: list[Callable[[], object]] = []
        self.outbox = Outbox(self.conn._core, self, self.run.link.writer, limits)

    def submit(self, key: Hashable, function: Callable[[], object]) -> bool:
        """Keep a task."""
        self.tasks.append(function)
        return True

    def broadcast(self, *messages: bytes) -> None:
        """Send each message."""
        for message in messages:
            self.outbox.send(*self.outbox.frame(message))

    def read(self, count: int) -> list[bytes]:
        """Return the payloads of the next frames."""
        return [self.run.peer.read_frame().payload for _ in range(count)]

    def caught_up(self) -> bool:
        """Return whether nothing is queued or unfinished."""
        return not (self.outbox.sizes or self.outbox.frames or self.run.link.writer.has_unsent)


Come = Callable[..., Client]


@pytest.fixture
def come() -> Iterator[Come]:
    """Brings clients, and ends them."""
    clients: list[Client] = []

    def one_more(*, accepted: bool = True, **limits: int) -> Client:
        clients.append(Client(Limits(**limits)))
        if accepted:
            clients[-1].outbox.accept()
        return clients[-1]

    yield one_more
    for client in clients:
        client.run.stop()


@pytest.mark.parametrize(
    "limits", [{"dispatch_messages": 3}, {"dispatch_bytes": len(BIG) + 20}], ids=["messages", "bytes"]
)
def test_broadcasts_above_the_limit_are_dropped(come: Come, limits: dict[str, int]) -> None:
    """Two episodes, each reported once; once the client has caught up there is room again."""
    client = come(**limits)
    client.broadcast(BIG, *(b"number %02d." % number for number in range(6)))
    assert (client.conn.stats.dropped, client.reported) == (4, ["broadcast"])
    assert client.read(3) == [BIG, b"number 00.", b"number 01."]
    eventually(client.caught_up)
    client.broadcast(BIG, *(b"number %02d." % number for number in range(6, 11)))
    assert (client.conn.stats.dropped, client.reported) == (7, ["broadcast"] * 2)
    assert client.read(3) == [BIG, b"number 06.", b"number 07."]
    eventually(client.caught_up)
    assert client.conn.stats.messages_out == 6


def test_a_broadcast_larger_than_the_limit_is_sent_alone(come: Come) -> None:
    """An empty queue takes any broadcast, whether or not another thread writes."""
    client = come(dispatch_bytes=10)
    client.broadcast(BIG, b"dropped")
    assert client.read(1) == [BIG]
    eventually(client.caught_up)
    with client.run.link.writer._write_lock:
        assert aside(lambda: client.broadcast(b"y" * 100, b"y" * 100)).wait(1) == [None]
    client.run.link.writer.flush_or_wake()
    assert client.read(1) == [b"y" * 100]
    assert client.conn.stats.dropped == 2


def test_each_broadcast_is_counted_once_it_is_sent(come: Come) -> None:
    """Those that are queued or begun only afterwards, by counters and instruments."""
    client, watching = come(), Watching()
    hooks: Hooks = client.conn._core.hooks
    hooks.observe_by((watching,))
    client.broadcast(b"1")
    assert (client.conn.stats.messages_out, watching.sizes) == (1, [1])
    client.broadcast(BIG, b"22", b"333")
    assert (client.conn.stats.messages_out, watching.sizes) == (1, [1])
    assert client.read(4) == [b"1", BIG, b"22", b"333"]
    eventually(lambda: len(watching.sizes) == 4)
    assert watching.sizes == [1, len(BIG), 2, 3]
    assert (client.conn.stats.messages_out, client.conn.stats.bytes_out) == (4, len(BIG) + 6)
    assert client.outbox.sizes == []
    assert client.outbox._size == 0


def test_an_instrument_holds_nobody_up(come: Come) -> None:
    """What it does while it is shown a broadcast finds no lock of the writer taken."""
    client, taken = come(), []

    class Writing(Instrument):
        def on_message(self, connection: Connection, direction: str, size: int) -> None:
            taken.append(client.run.link.writer._write_lock._is_owned())  # type: ignore[attr-defined]

    client.conn._core.hooks.observe_by((Writing(),))
    client.broadcast(b"at once", BIG, b"later")
    client.read(3)
    eventually(lambda: len(taken) == 3)
    assert taken == [False] * 3


def test_the_first_of_the_queue_expires(come: Come, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its time from the moment on at which it is the first; what was begun is finished."""
    monkeypatch.setattr(Outbox, "expire", lambda self, now: math.inf)  # that of the reader
    client = come()
    monkeypatch.undo()
    assert client.outbox.expire(100.0) == math.inf
    client.broadcast(BIG, b"1", b"22", b"333")
    assert client.outbox.expire(100.0) == 100.0 + BROADCAST_TIMEOUT
    client.outbox.expire(99.9 + BROADCAST_TIMEOUT)
    assert len(client.outbox.frames) == 3
    client.outbox.expire(100.0 + BROADCAST_TIMEOUT)
    assert client.outbox.sizes == [len(BIG), 2, 3]
    assert client.outbox.expire(110.0 + BROADCAST_TIMEOUT) == 100.0 + 2 * BROADCAST_TIMEOUT
    client.outbox.expire(99.9 + 2 * BROADCAST_TIMEOUT)
    assert client.read(3) == [BIG, b"22", b"333"]
    eventually(client.caught_up)
    assert client.outbox.expire(300.0) == math.inf
    assert (client.conn.stats.messages_out, client.outbox._size) == (3, 0)


def test_the_first_of_the_queue_expires_after_a_thread_that_writes(come: Come, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile the reader looks again and again, but not without a pause."""
    monkeypatch.setattr(Outbox, "expire", lambda self, now: math.inf)
    client = come()
    monkeypatch.undo()
    client.broadcast(BIG, b"1")
    late = client.outbox.expire(100.0)
    with client.run.link.writer._write_lock:
        outcome = aside(lambda: client.outbox.expire(late))
        assert outcome.wait(1)[0] > late
    client.run.link.writer.flush_or_wake()
    assert len(client.outbox.frames) == 1
    # The thread that was woken may have the lock for a moment.
    moments = itertools.count(late + 1.0)
    eventually(lambda: client.outbox.expire(next(moments)) == math.inf)
    assert len(client.outbox.frames) == 0


def test_before_the_client_is_accepted_nothing_is_written(come: Come) -> None:
    """The response to its upgrade comes first; the queue is sent once the client is accepted."""
    client = come(accepted=False)
    client.broadcast(b"1", b"2")
    assert len(client.outbox.frames) == 2
    client.outbox.accept()
    client.broadcast(b"3")
    assert client.read(3) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("looks", range(40))
def test_a_client_that_is_accepted_at_this_moment(come: Come, looks: int) -> None:
    """Wherever that interrupts a broadcast, it is sent."""
    client = come(accepted=False)
    if struck(looks, lambda: client.broadcast(b"1"), client.outbox.accept):
        assert client.read(1) == [b"1"]
    else:
        assert looks > 10
        assert len(client.outbox.frames) == 1


@pytest.mark.parametrize("accepted", [True, False])
def test_a_client_that_is_gone_gets_nothing(come: Come, accepted: bool) -> None:
    """Nothing is raised."""
    client = come(accepted=accepted)
    client.run.link.abort(CloseInfo(1006, "gone"))
    client.run.ended()  # until then its reader may hold the write lock, and a broadcast be queued
    client.broadcast(b"1", b"2")
    assert len(client.outbox.frames) == (0 if accepted else 2)
    client.outbox.accept()
    client.outbox.end()
    assert client.conn.stats.messages_out == 0


def test_a_worker_sends_while_nothing_reads(come: Come, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only for a client that is behind; it ends once the queue is sent, or a thread reads."""
    monkeypatch.setattr(link_module, "FLUSH_RETRY", 600.0)
    client = come()
    client.is_reading = False
    client.broadcast(b"1")
    assert client.tasks == []
    client.broadcast(BIG, b"2")
    assert client.tasks
    outcomes = [aside(task) for task in client.tasks]
    assert client.read(3) == [b"1", BIG, b"2"]
    for outcome in outcomes:
        assert outcome.wait(1) == [None]
    client.tasks.clear()
    client.broadcast(BIG)
    client.is_reading = True
    client.tasks[0]()
    assert client.outbox.sizes == [len(BIG)]
