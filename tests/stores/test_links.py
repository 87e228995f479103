"""What the two ends of a connection need from a store: numbers without gaps, and positions."""

from __future__ import annotations

import pytest

from owlsocket_sync import StoreError, StoreFull
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.stores import Bounds, Draft, Entry, Incoming, Outgoing, Position, Store, Stored
from owlsocket_sync.stores.base import START, PositionMoved
from support.helpers import scaled

from .conftest import LINKED, MakeStore

pytestmark = pytest.mark.parametrize("make_store", LINKED, indirect=True)

STREAM = "5" * 32


def outgoing(store: Store) -> Outgoing:
    """A queue as an outbox sees it."""
    stored = store.queue("outbox").stored
    stored.append([Draft(None, b"%d" % n) for n in range(1, 6)])
    return stored  # type: ignore[return-value]


def incoming(store: Store) -> Incoming:
    """A queue as an inbox sees it."""
    return store.queue("inbox").stored  # type: ignore[return-value]


def received(*numbers: int) -> list[Entry]:
    """Messages of a peer with these numbers."""
    return [Entry(n, f"id-{n}", b"%d" % n) for n in numbers]


def contents(store: Store) -> list[tuple[str, object]]:
    """The ids and payloads of an inbox."""
    return [(message.id, message.payload) for message in store.queue("inbox").peek(100)]


def test_an_outbox_reads_its_messages_in_order_without_taking_them(store: Store) -> None:
    """From any number on, and so many as it asks for."""
    stored = outgoing(store)
    assert [entry.seq for entry in stored.read_after(0, 100)] == [1, 2, 3, 4, 5]
    assert [entry.payload for entry in stored.read_after(2, 2)] == [b"3", b"4"]
    assert stored.read_after(0, 1)[0].id == f"{stored.stream}:1"
    assert stored.read_after(5, 10) == []
    assert stored.append([Draft("mine", b"6")]) == [Stored(6, "mine")]
    assert stored.read_after(5, 10) == [Entry(6, "mine", b"6")]


def test_a_stream_id_belongs_to_one_queue(store: Store) -> None:
    """Two outboxes of one store may have the same peer."""
    first, second = store.queue("one").stored, store.queue("two").stored
    assert len(first.stream) == len(second.stream) == 32
    assert first.stream != second.stream
    assert int(first.stream, 16) >= 0
    assert store.queue("one").stored.stream == first.stream


def test_what_was_acknowledged_is_deleted_and_its_last_id_is_known(store: Store) -> None:
    """By the id at an offset a restored backup is noticed."""
    stored = outgoing(store)
    assert stored.bounds() == Bounds(1, 6, 0, "")
    assert stored.delete_to(3) == 3
    assert stored.bounds() == Bounds(4, 6, 3, f"{stored.stream}:3")
    assert stored.delete_to(3) == stored.delete_to(1) == 0
    assert [stored.id_of(seq) for seq in (0, 2, 3, 4, 6)] == [
        None,
        None,
        f"{stored.stream}:3",
        f"{stored.stream}:4",
        None,
    ]
    assert store.queue("outbox").stats.depth == 2
    assert stored.delete_to(100) == 2
    assert stored.bounds() == Bounds(6, 6, 5, f"{stored.stream}:5")
    assert store.queue("outbox").stats.bytes == 0


def test_numbers_are_never_used_again(store: Store) -> None:
    """A message that is acknowledged late must not be another one."""
    stored = outgoing(store)
    stored.delete_to(5)
    assert stored.append([Draft(None, b"6")])[0].seq == 6
    store.queue("outbox").purge()
    assert stored.append([Draft(None, b"7")])[0].seq == 7


def test_a_claimed_message_is_deleted_as_well(store: Store) -> None:
    """The peer has it."""
    stored = outgoing(store)
    assert stored.claim(60, None, Deadline(0)) is not None
    assert stored.delete_to(1) == 1
    assert store.queue("outbox").stats.in_flight == 0
    assert store.queue("outbox").stats.depth == 4


def test_a_renewed_stream_has_other_numbers_and_the_same_ids(store: Store) -> None:
    """Without gaps; a peer knows the messages by their ids."""
    stored = outgoing(store)
    before = stored.stream
    entry = stored.claim(60, None, Deadline(0))
    assert entry is not None
    stored.bury(entry, "invalid")
    held = stored.claim(60, None, Deadline(0))
    assert held is not None
    stored.ack(3)
    stored.append([Draft("mine", b"6")])
    after = stored.renew_stream()
    assert after == stored.stream != before
    bounds = stored.bounds()
    assert bounds == Bounds(bounds.first, bounds.first + 4, bounds.first - 1, "")
    entries = stored.read_after(0, 10)
    assert [entry.seq for entry in entries] == list(range(bounds.first, bounds.next))
    assert [entry.id for entry in entries] == [f"{before}:2", f"{before}:4", f"{before}:5", "mine"]
    assert not stored.release(held, 0)
    assert store.queue("outbox").stats.in_flight == 0
    (added,) = stored.append([Draft(None, b"7")])
    assert stored.id_of(added.seq) == added.id == f"{after}:{added.seq}"
    assert [delivery.payload for delivery in store.queue("outbox").messages(timeout=0)] == [2, 4, 5, 6, 7]
    assert [letter.payload for letter in store.queue("outbox").dead_letters()] == [1]


def test_messages_and_their_position_are_stored_together(store: Store) -> None:
    """What is sent again is passed over."""
    stored = incoming(store)
    assert stored.position(STREAM) == START == Position(0, "")
    assert stored.receive(STREAM, received(1, 2)) == Position(2, "id-2")
    assert stored.receive(STREAM, received(1, 2, 3)) == Position(3, "id-3")
    assert stored.receive(STREAM, received(2)) == Position(3, "id-3")
    assert stored.receive(STREAM, []) == stored.position(STREAM) == Position(3, "id-3")
    assert contents(store) == [("id-1", 1), ("id-2", 2), ("id-3", 3)]


def test_nothing_behind_a_gap_is_stored(store: Store) -> None:
    """The position tells what is expected next."""
    stored = incoming(store)
    assert stored.receive(STREAM, received(1, 3)) == Position(1, "id-1")
    assert stored.receive(STREAM, received(5)) == Position(1, "id-1")
    assert contents(store) == [("id-1", 1)]


def test_each_stream_has_its_position(store: Store) -> None:
    """And it can be set: the first message of a stream that is not known may have any number."""
    stored = incoming(store)
    stored.move_to(STREAM, Position(100, "id-100"))
    assert stored.position(STREAM) == Position(100, "id-100")
    assert stored.receive(STREAM, received(100, 101)) == Position(101, "id-101")
    assert stored.receive("other", received(1)) == Position(1, "id-1")
    assert stored.position(STREAM) == Position(101, "id-101")
    assert store.queues() == ["inbox"]


def test_an_inbox_takes_what_has_room(make_store: MakeStore) -> None:
    """And it raises where not even the first new message has."""
    store = make_store(max_messages=2)
    stored = incoming(store)
    assert stored.receive(STREAM, received(1, 2, 3)) == Position(2, "id-2")
    assert stored.receive(STREAM, received(1, 2)) == Position(2, "id-2")
    with pytest.raises(StoreFull):
        stored.receive(STREAM, received(2, 3))
    assert stored.position(STREAM) == Position(2, "id-2")
    assert contents(store) == [("id-1", 1), ("id-2", 2)]
    delivery = store.queue("inbox").get()
    assert delivery is not None
    delivery.ack()
    assert stored.receive(STREAM, received(3)) == Position(3, "id-3")


def test_one_at_a_time_sends_the_messages_of_an_outbox(store: Store) -> None:
    """Though any may add to it; whoever gives it up leaves it to the next."""
    stored = outgoing(store)
    lead = stored.take_lead()
    assert lead is not None
    again: Outgoing = store.queue("outbox").stored  # type: ignore[assignment]
    assert stored.take_lead() is again.take_lead() is None
    other: Outgoing = store.queue("another").stored  # type: ignore[assignment]
    second = other.take_lead()
    assert second is not None
    lead.release()
    third = again.take_lead()
    assert third is not None
    lead.release()
    assert stored.take_lead() is None
    for each in (second, third):
        each.release()


def test_a_lead_is_given_up_while_its_store_is_closed(store: Store) -> None:
    """By a thread that is late, such as that of a connection at the exit: the store has given it up, or it does so."""
    lead = outgoing(store).take_lead()
    assert lead is not None
    store.close()
    lead.release()


def test_a_message_that_the_peer_cannot_take_becomes_a_dead_letter(store: Store) -> None:
    """Claimed or not; those around it stay where they are, and keep their numbers."""
    stored = outgoing(store)
    assert stored.bury_at(3, "too large")
    assert not stored.bury_at(3, "again")
    assert [entry.seq for entry in stored.read_after(0, 9)] == [1, 2, 4, 5]
    assert [(entry.seq, entry.payload, entry.reason) for entry in stored.dead()] == [(3, b"3", "too large")]
    claimed = stored.claim(60.0, None, Deadline(0.0))
    assert claimed is not None
    assert stored.bury_at(claimed.seq, "claimed")
    assert (store.queue("outbox").stats.in_flight, store.queue("outbox").stats.dead) == (0, 2)


def test_nothing_is_stored_where_another_link_moved_the_position(store: Store) -> None:
    """Numbers that another link stored may be other messages: the receiver finds out before it adds to them."""
    stored = incoming(store)
    assert stored.receive(STREAM, received(1, 2), START) == Position(2, "id-2")
    for known in (START, Position(1, "id-1"), Position(2, "another")):
        with pytest.raises(PositionMoved):
            stored.receive(STREAM, received(3), known)
    assert len(contents(store)) == 2
    assert stored.receive(STREAM, received(3), Position(2, "id-2")) == Position(3, "id-3")


def test_an_outbox_that_is_sent_has_no_other_consumer(store: Store) -> None:
    """Whoever takes a message would keep it from the peer; and what a worker has finished before is removed."""
    queue, stored = store.queue("outbox"), outgoing(store)
    rounds = queue.messages()
    assert next(rounds).payload == 1
    held = queue.get()
    assert held is not None
    lead = stored.take_lead()
    assert lead is not None
    for use in (lambda: next(rounds), queue.get, queue.purge, lambda: queue.get(timeout=scaled(5))):
        with pytest.raises(StoreError, match="'outbox' is the outbox of a connection"):
            use()
    assert [entry.payload for entry in stored.read_after(0, 100)] == [b"2", b"3", b"4", b"5"]
    held.reject()
    assert queue.purge(dead=True) == 1
    lead.release()
    assert [message.payload for message in queue.messages(timeout=0)] == [3, 4, 5]


def test_half_a_character_in_ids_and_streams_is_kept(store: Store) -> None:
    """The peer chooses its ids, and whoever authenticates it the name before its stream."""
    half, owned = "half \ud83d", f"ann \udc00/{STREAM}"
    stored = incoming(store)
    assert stored.receive(owned, [Entry(1, half, b"1")]) == Position(1, half)
    assert (
        stored.receive(owned, [Entry(2, half, b"2")], Position(1, half)) == stored.position(owned) == Position(2, half)
    )
    stored.move_to(owned, Position(7, half))
    assert (stored.position(owned), stored.position(STREAM)) == (Position(7, half), START)
    outbox = store.queue("outbox").stored
    outbox.append([Draft(half, b"1"), Draft("x", b"2")])
    assert outbox.id_of(1) == half  # type: ignore[attr-defined]
    assert outbox.delete_to(1) == 1  # type: ignore[attr-defined]
    assert (outbox.bounds(), outbox.id_of(1)) == (Bounds(2, 3, 1, half), half)  # type: ignore[attr-defined]
    outbox.renew_stream()  # type: ignore[attr-defined]
    assert [entry.id for entry in outbox.read_after(0, 9)] == ["x"]


def test_no_room_is_for_ever_in_an_empty_queue_alone(make_store: MakeStore) -> None:
    """So that a good message is not taken for one that never fits, when a consumer empties the queue meanwhile."""
    with make_store(max_messages=1, max_bytes=100) as store:
        stored = incoming(store)
        large = [Entry(1, "id-1", b'"' + b"x" * 200 + b'"')]
        with pytest.raises(StoreFull) as caught:
            stored.receive(STREAM, large, START)
        assert not caught.value.retryable
        stored.receive(STREAM, received(1), START)
        with pytest.raises(StoreFull) as caught:
            stored.receive(STREAM, received(2), Position(1, "id-1"))
        assert caught.value.retryable
