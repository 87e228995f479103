"""Queues in stores at both ends of a connection in memory: promises that need no socket and no second thread."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest

from owlsocket_sync import (
    Backoff,
    Connection,
    Limits,
    MessagesLost,
    SocketMessageError,
    SocketTimeout,
    SocketUnsupported,
    StoreError,
    StoreFull,
)
from owlsocket_sync.core import exchange_steps, queue_exchange
from owlsocket_sync.core.stored_ends import InboxEnd
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.protocol.hello import StreamPosition
from owlsocket_sync.protocol.incoming_stream import MovePosition, Numbered, StoreMessages, StoreOutcome
from owlsocket_sync.states import CloseInfo
from owlsocket_sync.stores import Delivery, MemoryStore, Position, Queue, SqliteStore
from support.durable import DurablePair, received, tick
from support.pair import make_pair


@pytest.fixture
def stores(tmp_path: Any) -> Any:
    """A store of each end, on disk: an ack means that a message is there."""
    with SqliteStore(str(tmp_path / "a.db")) as client, SqliteStore(str(tmp_path / "b.db")) as server:
        yield client, server


def sent_events(frames: list[bytes]) -> list[str]:
    """The system messages that an end sent, by their names."""
    messages = [json.loads(frame) for frame in frames]
    return [message["event"] for message in messages if message["type"] == "system"]


def one_way(stores: Any, **options: Any) -> tuple[DurablePair, Queue, Queue]:
    """A client with an outbox, and a server with an inbox."""
    outbox, inbox = stores[0].queue("out"), stores[1].queue("in")
    return DurablePair((None, outbox), (inbox, None), **options), outbox, inbox


def renew(outbox: Queue) -> str:
    """Let an outbox have another stream id, as one in a Redis that was emptied, or has an older state."""
    return outbox.stored.renew_stream()  # type: ignore[attr-defined, no-any-return]


# -- what is put arrives -----------------------------------------------------------------------------------------------


def test_what_is_enqueued_is_stored_at_the_peer_and_deleted_here(stores: Any) -> None:
    """In order; listeners see the messages, and nothing of the frames by which the ends agree."""
    pair, outbox, inbox = one_way(stores)
    for number in range(10):
        pair.client.connection.enqueue({"n": number}, id=f"order-{number}")
    pair.client.connection.flush(1)
    assert len(outbox) == 0
    assert [(each.id, each.payload) for each in inbox.peek(99)] == [(f"order-{n}", {"n": n}) for n in range(10)]
    assert {message.type.value for message in pair.server.heard} == {"message"}
    assert not pair.client.heard
    assert [*pair.client.errors, *pair.server.errors] == []


def test_both_directions_work_on_one_link(stores: Any) -> None:
    """Each end has an outbox and an inbox."""
    client, server = stores
    pair = DurablePair((client.queue("in"), client.queue("out")), (server.queue("in"), server.queue("out")))
    pair.client.connection.enqueue("up")
    pair.server.connection.enqueue("down")
    assert received(server.queue("in")) == ["up"]
    assert received(client.queue("in")) == ["down"]
    assert pair.client.connection.enqueued() == 0


def test_without_a_link_it_is_stored_and_sent_later(stores: Any) -> None:
    """`enqueue` returns when the message is in the store."""
    pair, outbox, inbox = one_way(stores)
    pair.cut()
    pair.client.connection.enqueue(1)
    assert len(outbox) == 1
    pair.restore()
    assert received(inbox) == [1]
    assert len(outbox) == 0


def test_what_another_thread_puts_into_the_outbox_is_sent(stores: Any) -> None:
    """The queue stands alone: a worker without a connection adds to it."""
    pair, outbox, inbox = one_way(stores)
    outbox.put("from elsewhere")
    tick(pair.client)
    assert received(inbox) == ["from elsewhere"]


def test_a_batch_does_not_hold_up_what_is_stored(stores: Any) -> None:
    """It is on disk when `enqueue` returns, inside of a batch as well."""
    pair, outbox, inbox = one_way(stores)
    with pair.client.connection.batch():
        pair.client.connection.enqueue(1)
        assert len(inbox) == 1


def test_one_ack_stands_for_what_one_read_brought(stores: Any) -> None:
    """At most one for 64 messages."""
    pair, outbox, inbox = one_way(stores)
    pair.cut()
    outbox.put_many(range(200))
    before = len(sent_events(pair.server.carrier.sent))
    pair.restore()
    acks = sent_events(pair.server.carrier.sent)[before:].count("ack")
    assert len(inbox) == 200
    assert 1 <= acks <= 200


# -- a default connection ----------------------------------------------------------------------------------------------


def test_a_default_connection_sends_nothing_new() -> None:
    """No hello, in either direction, and no answer to one."""
    left, right, carrier, other = make_pair()
    left.enqueue(1)
    assert carrier.sent == [b'{"type":"message","payload":1}']
    right.receive('{"type":"system","event":"hello","payload":{"v":1}}')
    assert not other.sent


@pytest.mark.parametrize("what", ["ack", "visibility", "attempts", "flush"])
def test_what_needs_a_store_is_refused_without_one(what: str) -> None:
    """Nothing is accepted and ignored."""
    connection: Connection = make_pair()[0]
    with pytest.raises((ValueError, SocketUnsupported), match=r"inbox|outbox"):
        if what == "ack":
            connection.consume(ack=False)
        elif what == "visibility":
            connection.messages(visibility_timeout=5)
        elif what == "attempts":
            connection.messages(max_attempts=None)
        else:
            connection.flush(1)


def test_half_a_store_leaves_the_other_half_as_it_was(stores: Any) -> None:
    """An outbox alone keeps what arrives in memory, and an inbox alone sends at once."""
    pair, _, inbox = one_way(stores)
    pair.server.connection.enqueue("plain", id="7")
    assert json.loads(pair.server.carrier.sent[-1]) == {"type": "message", "payload": "plain", "id": "7"}
    assert pair.client.connection.consume() == ("plain", "7", 0)
    assert list(pair.client.connection.messages(timeout=0)) == []
    with pytest.raises(SocketUnsupported, match="outbox"):
        pair.server.connection.flush(1)


# -- consuming ---------------------------------------------------------------------------------------------------------


def test_consuming_acknowledges_at_once_or_leaves_it_to_the_caller(stores: Any) -> None:
    """A message that was not acknowledged is delivered again."""
    pair, _, inbox = one_way(stores)
    for number in (1, 2):
        pair.client.connection.enqueue(number)
    server = pair.server.connection
    assert server.enqueued() == server.stats.queued == 2
    first = server.consume(ack=False)
    assert isinstance(first, Delivery)
    assert (first.payload, first.attempts, first.answered) == (1, 1, False)
    second = server.consume()
    assert isinstance(second, Delivery)
    assert (second.payload, second.answered) == (2, True)
    first.nack(delay=0)
    again = server.consume(ack=False)
    assert isinstance(again, Delivery)
    assert (again.payload, again.attempts) == (1, 2)
    again.reject("enough")
    assert server.consume() is None
    assert [letter.reason for letter in inbox.dead_letters()] == ["enough"]


@pytest.mark.parametrize("make_inbox", [MemoryStore, None], ids=["in memory", "in a file"])
def test_a_message_of_an_iterator_that_was_dropped_is_given_back(stores: Any, make_inbox: Any) -> None:
    """One that wanted a single message learns how to take it."""
    inbox = (make_inbox() if make_inbox else stores[1]).queue("in")
    pair = DurablePair((None, stores[0].queue("out")), (inbox, None))
    pair.client.connection.enqueue(1)
    delivery = next(pair.server.connection.messages(retry_delay=Backoff(initial=0)))
    gc.collect()
    with pytest.raises(StoreError, match=r"ended; for a single message use .* consume\(ack=False\)"):
        delivery.ack()  # type: ignore[attr-defined]
    assert received(inbox) == [1]


def test_a_round_of_the_loop_acknowledges_and_a_break_gives_back(stores: Any) -> None:
    """As `messages` of a queue does."""
    pair, _, inbox = one_way(stores)
    for number in range(3):
        pair.client.connection.enqueue(number)
    for message in pair.server.connection.messages(timeout=0):
        if message.payload == 1:
            break
    assert inbox.stats.depth == 2
    assert [message.payload for message in pair.server.connection.messages(timeout=0, limit=1)] == [2]


def test_a_message_that_fails_each_time_becomes_a_dead_letter(stores: Any) -> None:
    """Those behind it go on."""
    pair, _, inbox = one_way(stores)
    for number in (1, 2):
        pair.client.connection.enqueue(number)
    tries = []
    delay = Backoff(initial=0.001, factor=1, cap=0.001)
    while len(inbox):
        try:
            for message in pair.server.connection.messages(timeout=0, max_attempts=2, retry_delay=delay):
                tries.append(message.payload)
                if message.payload == 1:
                    raise RuntimeError("poison")
        except RuntimeError:
            pass
    assert tries.count(1) == 2
    assert tries.count(2) == 1
    assert [letter.payload for letter in inbox.dead_letters()] == [1]


def test_payloads_are_converted_and_a_wrong_one_is_a_dead_letter(stores: Any) -> None:
    """`payload_type` works as on a queue in memory, and blocks nothing."""
    pair, _, inbox = one_way(stores)
    for payload in ("no number", 5):
        pair.client.connection.enqueue(payload)
    with pytest.raises(SocketMessageError):
        pair.server.connection.consume(payload_type=int)
    consumed = pair.server.connection.consume(payload_type=int)
    assert consumed is not None
    assert consumed.payload == 5
    assert len(inbox.dead_letters()) == 1


def test_a_filter_is_refused_with_an_inbox(stores: Any) -> None:
    """Its messages are taken in their order."""
    pair, _, _ = one_way(stores)
    with pytest.raises(ValueError, match="filter"):
        pair.server.connection.consume(lambda payload: True)
    with pytest.raises(ValueError, match="filter"):
        pair.server.connection.messages(lambda payload: True)


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_full_outbox_raises_and_stores_nothing() -> None:
    """Nothing is dropped silently."""
    outbox = MemoryStore(max_messages=2).queue("out")
    pair = DurablePair((None, outbox), (None, None))
    pair.cut()
    for number in (1, 2):
        pair.client.connection.enqueue(number)
    with pytest.raises(StoreFull):
        pair.client.connection.enqueue(3)
    assert len(outbox) == 2


def test_a_full_inbox_holds_up_the_sender_and_nothing_else(tmp_path: Any) -> None:
    """Calls go on; once there is room, all the rest arrives, in order."""
    with SqliteStore(str(tmp_path / "a.db")) as a, SqliteStore(str(tmp_path / "b.db"), max_messages=3) as b:
        outbox, inbox = a.queue("out"), b.queue("in")
        pair = DurablePair((None, outbox), (inbox, None))
        pair.server.connection.perform("double", lambda number: 2 * number)
        for number in range(8):
            pair.client.connection.enqueue(number)
        assert (len(inbox), len(outbox)) == (3, 5)
        assert pair.client.connection.call("double", 4) == 8
        with pytest.raises(SocketTimeout, match=r"^5 messages were not acknowledged within 0.01 s$"):
            pair.client.connection.flush(0.01)
        arrived: list[int] = []
        while len(arrived) < 8:
            arrived += received(inbox)
            tick(pair.server)
        assert arrived == list(range(8))
        assert len(outbox) == 0
        assert [*pair.client.errors, *pair.server.errors] == []


def test_a_message_that_is_too_large_is_refused_by_enqueue(stores: Any) -> None:
    """It could never be sent."""
    pair, outbox, _ = one_way(stores, limits=Limits(message_size=2000))
    with pytest.raises(SocketMessageError, match="message_size"):
        pair.client.connection.enqueue("x" * 2000)
    assert len(outbox) == 0


def test_a_stored_message_that_cannot_be_sent_is_a_dead_letter_of_the_outbox(stores: Any) -> None:
    """It is reported, and those behind it go on."""
    pair, outbox, inbox = one_way(stores, limits=Limits(message_size=2000))
    outbox.put_many([1, "x" * 3000, 3])
    tick(pair.client)
    assert received(inbox) == [1, 3]
    assert len(outbox.dead_letters()) == 1
    assert len(pair.client.errors) == 1


def test_a_message_that_no_inbox_of_that_size_can_store_is_a_dead_letter_of_the_outbox(tmp_path: Any) -> None:
    """The peer says so, and waits for it no longer."""
    with SqliteStore(str(tmp_path / "a.db")) as a, SqliteStore(str(tmp_path / "b.db"), max_bytes=100) as b:
        outbox, inbox = a.queue("out"), b.queue("in")
        pair = DurablePair((None, outbox), (inbox, None))
        pair.client.connection.enqueue("x" * 200)
        pair.client.connection.enqueue(2)
        assert received(inbox) == [2]
        assert len(outbox) == 0
        assert len(outbox.dead_letters()) == 1
        assert len(pair.client.errors) == 1


# -- hooks -------------------------------------------------------------------------------------------------------------


def test_the_prepare_hook_sees_what_is_sent_and_what_arrives(stores: Any) -> None:
    """Messages from a store are no exception; the frames of the queues are."""
    pair, _, inbox = one_way(stores)
    seen = []

    def prepare(message: Any, is_request: bool) -> Any:
        seen.append((is_request, message.type.value))
        message.payload = [message.payload]
        return message

    pair.client.connection.prepare = prepare
    pair.server.connection.prepare = prepare
    pair.client.connection.enqueue(1)
    pair.client.connection.flush(1)
    assert received(inbox) == [[[1]]]
    assert seen == [(False, "message"), (True, "message")]


def test_a_prepare_hook_that_raises_makes_a_dead_letter(stores: Any) -> None:
    """It is reported, and those behind it go on."""
    pair, outbox, inbox = one_way(stores)

    def prepare(message: Any, is_request: bool) -> Any:
        if message.payload == 1:
            raise ValueError("no")
        return message

    pair.client.connection.prepare = prepare
    pair.client.connection.enqueue(1)
    pair.client.connection.enqueue(2)
    assert received(inbox) == [2]
    assert len(outbox.dead_letters()) == len(pair.client.errors) == 1


# -- peers that keep no rules ------------------------------------------------------------------------------------------


def test_a_default_connection_gets_plain_messages(stores: Any) -> None:
    """They are deleted once it answered a ping behind them; nothing is numbered."""
    outbox = stores[0].queue("out")
    pair = DurablePair((None, outbox), (None, None))
    for number in (1, 2):
        pair.client.connection.enqueue(number, id=str(number))
    pair.client.connection.flush(1)
    assert [pair.server.connection.consume() for _ in range(2)] == [(1, "1", 1), (2, "2", 0)]
    assert b"seq" not in b"".join(pair.client.carrier.sent)
    assert len(outbox) == 0


def test_a_default_client_gets_plain_messages_of_a_server(stores: Any) -> None:
    """The server sends it no hello: a WebSocket ping is what any client answers."""
    outbox = stores[1].queue("out")
    pair = DurablePair((None, None), (None, outbox))
    pair.server.connection.enqueue("down")
    assert pair.client.connection.consume() is not None
    assert len(outbox) == 0
    assert sent_events(pair.server.carrier.sent) == []


def test_a_plain_message_that_arrives_is_stored_in_the_inbox(stores: Any) -> None:
    """Where there is no room it is dropped, as it would be in memory, and reported once."""
    inbox = MemoryStore(max_messages=2).queue("in")
    pair = DurablePair((None, None), (inbox, None))
    for number in range(4):
        pair.client.connection.enqueue(number)
    assert received(inbox) == [0, 1]
    assert [type(error) for error in pair.server.errors] == [StoreFull]
    assert pair.server.connection.stats.dropped == 2


@pytest.mark.parametrize(
    "payload", [None, 5, {}, {"v": "1"}, {"v": 1, "queue": {"stream": "s", "first": 5, "next": 1}}], ids=str
)
def test_a_hello_that_is_not_valid_is_reported_and_passed_over(stores: Any, payload: Any) -> None:
    """The link lives, and listeners do not get it."""
    pair, _, _ = one_way(stores)
    text = json.dumps({"type": "system", "event": "hello", "payload": payload})
    pair.server.connection.receive(text)
    assert len(pair.server.errors) == 1
    assert pair.server.connection.stats.malformed == 1
    assert not pair.server.heard
    pair.client.connection.enqueue(1)
    assert len(stores[1].queue("in")) == 1


# -- cuts and backups --------------------------------------------------------------------------------------------------


def test_cuts_lose_nothing_and_store_nothing_twice(stores: Any) -> None:
    """Also where the ack was lost with the link."""
    pair, outbox, inbox = one_way(stores)
    for number in range(30):
        if number % 3 == 0:
            pair.client.carrier.message_filter = lambda frame: b"seq" not in frame
        if number % 5 == 0:
            pair.server.carrier.message_filter = lambda frame: b'"ack"' not in frame
        pair.client.connection.enqueue(number)
        if number % 3 == 2:
            pair.cut()
            pair.client.carrier.message_filter = pair.server.carrier.message_filter = None
            pair.restore()
    pair.client.connection.flush(1)
    assert received(inbox) == list(range(30))


def test_an_inbox_that_was_restored_tells_how_many_it_lost(stores: Any) -> None:
    """As an error to `on_error`, never silently."""
    pair, outbox, inbox = one_way(stores)
    for number in range(5):
        pair.client.connection.enqueue(number)
    pair.cut()
    stored: Any = inbox.stored
    stored.move_to(outbox.stored.stream, Position(2, ""))
    pair.restore()
    assert [type(error) for error in pair.server.errors] == [MessagesLost]
    error = pair.server.errors[0]
    assert isinstance(error, MessagesLost)
    assert error.count == 3
    assert error.code == "MESSAGES_LOST"
    pair.client.connection.enqueue(5)
    assert received(inbox)[-1] == 5


def test_an_outbox_that_was_restored_begins_a_new_stream(stores: Any) -> None:
    """The peer has another message at its position, which its id tells."""
    pair, outbox, inbox = one_way(stores)
    pair.client.connection.enqueue(0)
    pair.cut()
    stream = outbox.stored.stream
    stored: Any = inbox.stored
    stored.move_to(stream, Position(2, "another"))
    for number in (1, 2, 3):
        pair.client.connection.enqueue(number)
    pair.restore()
    assert outbox.stored.stream != stream
    assert received(inbox) == [0, 1, 2, 3]
    assert len(outbox) == 0


@pytest.mark.parametrize("sender", ["client", "server"])
@pytest.mark.parametrize("moment", ["between", "held", "cut", "greeting", "acknowledging"])
def test_an_outbox_that_changes_by_itself_is_greeted_again(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, sender: str, moment: str
) -> None:
    """Whatever its exchange is about to do; what it has, and what is put since, arrives, and `on_error` is told."""
    room, count = (3, 5) if moment == "held" else (100, 3)
    with SqliteStore(tmp_path / "out.db") as near, SqliteStore(tmp_path / "in.db", max_messages=room) as far:
        outbox, inbox = near.queue("out"), far.queue("in")
        sending, storing = (None, outbox), (inbox, None)
        pair = DurablePair(sending, storing) if sender == "client" else DurablePair(storing, sending)
        end = pair.client if sender == "client" else pair.server
        for number in range(count):
            end.connection.enqueue(number)
        moments = {"greeting": "position", "acknowledging": "store"}
        if moment in moments:
            original, done = getattr(InboxEnd, moments[moment]), list[str]()

            def changing(self: InboxEnd, step: Any) -> Any:
                if not done:
                    done.append(renew(outbox))
                return original(self, step)

            monkeypatch.setattr(InboxEnd, moments[moment], changing)
        else:
            renew(outbox)
        if moment in ("cut", "greeting"):
            pair.cut()
            pair.restore()
        end.connection.enqueue("last")
        arrived = received(inbox)
        for _ in range(5):
            tick(pair.client)
            tick(pair.server)
            arrived += received(inbox)
        # What the peer was about to store has no ack any more: that is of a stream that the outbox does not have.
        repeated: dict[str, list[Any]] = {"acknowledging": ["last"], "held": [3]}
        expected: list[Any] = [*range(count), *repeated.get(moment, []), "last"]
        assert arrived == sorted(expected, key=str)
        assert len(outbox) == 0
        (error,) = end.errors
        assert "the outbox has another stream id" in str(error)
        assert outbox.stored.take_lead() is None  # type: ignore[attr-defined]
        pair.close()


def test_a_memory_inbox_acknowledges_what_was_worked_on(stores: Any) -> None:
    """The outbox of the peer is the one that lasts: until then it keeps the message."""
    outbox, inbox = stores[0].queue("out"), MemoryStore().queue("in")
    pair = DurablePair((None, outbox), (inbox, None))
    for number in range(4):
        pair.client.connection.enqueue(number)
    assert (len(inbox), len(outbox)) == (4, 4)
    taken = [pair.server.connection.consume(ack=False) for _ in range(2)]
    taken[1].ack()  # type: ignore[union-attr]
    assert len(outbox) == 4  # the first is not done, and acks are cumulative
    taken[0].ack()  # type: ignore[union-attr]
    assert len(outbox) == 2
    pair.cut()
    pair.restore()
    assert (len(inbox), len(outbox)) == (2, 2)  # known by their numbers, and not stored again
    received(inbox)
    tick(pair.server)
    assert len(outbox) == 0


# -- who sends ---------------------------------------------------------------------------------------------------------


def test_of_two_connections_with_one_outbox_one_sends(stores: Any) -> None:
    """The other one adds to it, and goes on when the first is closed."""
    outbox, inbox = stores[0].queue("out"), stores[1].queue("in")
    first = DurablePair((None, outbox), (inbox, None))
    second = DurablePair((None, stores[0].queue("out")), (inbox, None))
    second.client.connection.enqueue(1)
    assert len(inbox) == 0
    tick(first.client)
    assert len(inbox) == 1
    first.close()
    second.client.connection.enqueue(2)
    assert received(inbox) == [1, 2]


def test_on_a_server_the_newest_link_sends_and_the_older_one_later_again(stores: Any) -> None:
    """A client that connects again does not wait for the end of a link that nobody uses any more."""
    outbox = stores[1].queue("out")
    older = DurablePair((stores[0].queue("older"), None), (None, outbox))
    newer = DurablePair((stores[0].queue("newer"), None), (None, stores[1].queue("out")))
    outbox.put(1)
    tick(older.server)
    tick(newer.server)
    assert received(stores[0].queue("newer")) == [1]
    newer.close()
    outbox.put(2)
    tick(older.server)
    assert received(stores[0].queue("older")) == [2]


def test_a_link_whose_stream_a_newer_one_greets_is_closed(stores: Any) -> None:
    """A client has one link; the other end of an older one may not know of its end."""
    outbox, inbox = stores[0].queue("out"), stores[1].queue("in")
    old = DurablePair((None, outbox), (inbox, None))
    old.client.connection.enqueue(1)
    old.client.core.durable.exchange.evict("out/")  # type: ignore[union-attr]
    new = DurablePair((None, outbox), (inbox, None))
    tick(new.client)
    new.client.connection.enqueue(2)
    assert received(inbox) == [1, 2]
    assert old.server.carrier.wait_closed(Deadline(0.0)) == CloseInfo(1000, "taken over")


def test_streams_of_two_identities_are_two_streams(stores: Any) -> None:
    """Nobody moves the position of another one by naming its stream."""
    inbox = stores[1].queue("in")
    ann, ben = InboxEnd(inbox, "ann"), InboxEnd(inbox, "ben")
    assert ann.move(MovePosition(None, StreamPosition("s", 5, "x")))
    assert ann.position("s") == StreamPosition("s", 5, "x")
    assert ben.position("s") is None


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_store_that_fails_is_reported_and_tried_again(stores: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost meanwhile; once for each second, not for each message."""
    monkeypatch.setattr(queue_exchange, "RETRY_INTERVAL", 0.0)
    pair, outbox, inbox = one_way(stores)
    stored = pair.server.core.durable.exchange.inbox.stored  # type: ignore[union-attr]

    def fail(*_: object) -> None:
        raise StoreError("the disk is on fire")

    with monkeypatch.context() as broken:
        broken.setattr(stored, "receive", fail)
        for number in (1, 2):
            pair.client.connection.enqueue(number)
        assert {type(error) for error in pair.server.errors} == {StoreError}
        assert len(outbox) == 2
    tick(pair.server)
    tick(pair.server)
    assert received(inbox) == [1, 2]


def test_flush_raises_when_the_connection_is_closed(stores: Any) -> None:
    """Its messages stay in the store."""
    pair, outbox, _ = one_way(stores)
    pair.cut()
    pair.client.connection.enqueue(1)
    pair.close()
    with pytest.raises(ConnectionError):
        pair.client.connection.flush(1)
    with pytest.raises(ConnectionError):
        pair.client.connection.enqueue(2)
    assert len(outbox) == 1


# -- messages that cannot be read --------------------------------------------------------------------------------------


def deep(levels: int) -> Any:
    """A payload of so many nested lists."""
    payload: Any = 1
    for _ in range(levels):
        payload = [payload]
    return payload


def test_a_message_that_the_peer_cannot_read_becomes_a_dead_letter_of_the_outbox(stores: Any) -> None:
    """Nested deeper than the peer allows: it is not sent again and again, and those behind it go on."""
    outbox, inbox = stores[0].queue("out"), stores[1].queue("in")
    pair = DurablePair((None, outbox), (inbox, None), limits=Limits(json_depth=8))
    for payload in (1, deep(20), 3):
        outbox.put(payload)
    tick(pair.client)
    assert received(inbox) == [1, 3]
    assert [letter.payload for letter in outbox.dead_letters()] == [deep(20)]
    assert len(outbox) == 0


@pytest.mark.parametrize("result", ["raises", "no JSON"])
def test_a_message_that_the_hook_of_the_peer_does_not_let_in_becomes_a_dead_letter(stores: Any, result: str) -> None:
    """As one that cannot be read."""
    pair, outbox, inbox = one_way(stores)

    def prepare(message: Any, is_request: bool) -> Any:
        if message.payload == 2:
            if result == "raises":
                raise ValueError("not this one")
            message.payload = object()
        return message

    pair.server.connection.prepare = prepare
    for number in (1, 2, 3):
        pair.client.connection.enqueue(number)
    assert received(inbox) == [1, 3]
    assert [letter.payload for letter in outbox.dead_letters()] == [2]
    assert len(pair.server.errors) == 1


def test_a_message_larger_than_the_peer_receives_is_not_sent(stores: Any) -> None:
    """It would end each link: the peer says what it receives at most."""
    outbox, inbox = stores[0].queue("out"), stores[1].queue("in")
    pair = DurablePair((None, outbox), (inbox, None))
    server = pair.server.core.durable
    assert server is not None
    server.exchange._frames.message_size = 1000
    pair.cut()
    pair.restore()
    outbox.put_many(["x" * 2000, 2])
    tick(pair.client)
    assert received(inbox) == [2]
    assert len(outbox.dead_letters()) == 1


def test_plain_messages_that_arrive_together_are_stored_together(stores: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sync of the disk counts."""
    inbox = stores[1].queue("in")
    pair = DurablePair((None, None), (inbox, None))
    durable = pair.server.core.durable
    assert durable is not None
    stored: Any = durable.exchange.inbox.stored  # type: ignore[union-attr]
    sizes: list[int] = []
    append = stored.append

    def count(drafts: list[Any]) -> Any:
        sizes.append(len(drafts))
        return append(drafts)

    monkeypatch.setattr(stored, "append", count)
    wake, durable.exchange.wake = durable.exchange.wake, lambda: None
    for number in range(10):
        pair.client.connection.enqueue(number)
    durable.exchange.wake = wake
    tick(pair.server)
    assert sizes == [10]
    assert received(inbox) == list(range(10))


# -- a store that fails for a while ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bounds", "take_lead", "position", "read_after", "delete_to", "move_to", "append"])
def test_whatever_of_a_store_fails_for_a_while_nothing_is_lost(
    stores: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """While the ends greet, and afterwards; neither takes the other one for a plain peer meanwhile."""
    now = [100.0]
    for module in (queue_exchange, exchange_steps):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])

    def retry(pair: DurablePair) -> None:
        for _ in range(3):
            now[0] += 2.0
            tick(pair.client)
            tick(pair.server)

    outbox, inbox = stores[0].queue("out"), stores[1].queue("in")
    outbox.put_many([1, 2])

    def fail(*_: object, **__: object) -> None:
        raise StoreError("the disk is on fire")

    with monkeypatch.context() as broken:
        for each in (outbox, inbox):
            broken.setattr(type(each.stored), method, fail)
        pair = DurablePair((None, outbox), (inbox, None))
        retry(pair)
    retry(pair)
    pair.client.connection.enqueue(3)
    assert received(inbox) == [1, 2, 3]
    pair.cut()
    pair.restore()
    pair.client.connection.flush(1)
    assert received(inbox) == []
    assert {type(error) for error in [*pair.client.errors, *pair.server.errors]} <= {StoreError}


def test_a_store_that_is_closed_after_its_connection_is_no_failure(tmp_path: Any) -> None:
    """Nor is one that is closed first reported once the connection has ended."""
    with SqliteStore(str(tmp_path / "b.db")) as far:
        near = SqliteStore(str(tmp_path / "a.db"))
        pair = DurablePair((None, near.queue("out")), (far.queue("in"), None))
        pair.client.connection.enqueue(1)
        pair.close()
        near.close()
        tick(pair.client)
        assert [*pair.client.errors, *pair.server.errors] == []


def test_a_queue_that_was_full_for_a_moment_buries_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though a consumer has emptied it when this end looks again: the message is stored later."""
    with MemoryStore() as store:
        inbox = InboxEnd(store.queue("in"), "")
        full = StoreFull("the queue was full")

        def refuse(*arguments: object) -> Position:
            raise full

        monkeypatch.setattr(type(inbox.stored), "receive", refuse)
        step = StoreMessages(StreamPosition("s", 0), (Numbered(1, "id-1", b"1"),))
        assert inbox.store(step) == (0, StoreOutcome.FULL)
        full.retryable = False
        assert inbox.store(step) == (0, StoreOutcome.INVALID)
