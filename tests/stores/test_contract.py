"""The contract of a store standing alone: every store keeps it."""

from __future__ import annotations

import gc
import math
import pickle
import threading
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from owlsocket_sync import Backoff, Consumed, SocketMessageMalformed, StoreError, StoreFull
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.stores import Delivery, Draft, Queue, QueueStats, Store
from support.helpers import eventually, scaled

from .conftest import LINKED, MakeStore

AT_ONCE = Backoff(initial=0, cap=0)
SOON = Backoff(initial=0.05, factor=1, cap=0.05, jitter="none")


def payloads(queue: Queue, **options: Any) -> list[Any]:
    """What is left in a queue, acknowledged."""
    return [delivery.payload for delivery in queue.messages(timeout=0, **options)]


def test_messages_come_in_the_order_in_which_they_were_put(queue: Queue) -> None:
    """One by one, or many at once."""
    ids = [queue.put("first"), *queue.put_many(["second", "third"]), queue.put("last", id="mine")]
    assert len(set(ids)) == 4
    assert ids[-1] == "mine"
    taken = list(queue.messages(timeout=0))
    assert [delivery.payload for delivery in taken] == ["first", "second", "third", "last"]
    assert [delivery.id for delivery in taken] == ids
    assert [delivery.remaining for delivery in taken] == [3, 2, 1, 0]
    assert not len(queue)
    assert queue.put_many([]) == []
    assert len(queue.put_many(number for number in range(2))) == 2


@pytest.mark.parametrize("payload", ["pie", b"pie", bytearray(b"pie"), {"dish": "pie"}])
def test_one_payload_is_not_put_in_pieces(queue: Queue, payload: Any) -> None:
    """A text has characters, and an object has keys, which would be messages."""
    with pytest.raises(TypeError, match=r"put_many takes a list of payloads, not .*; put\(\) takes one"):
        queue.put_many(payload)
    assert not len(queue)


def test_a_delivery_is_the_tuple_that_consume_gives(queue: Queue) -> None:
    """And it has the answers on top; another process gets the tuple alone."""
    queue.put({"order": 7}, id="o-7")
    delivery = queue.get()
    assert isinstance(delivery, Delivery)
    assert isinstance(delivery, Consumed)
    assert (*delivery, delivery.attempts, delivery.answered) == ({"order": 7}, "o-7", 0, 1, False)
    copied = pickle.loads(pickle.dumps(delivery))
    assert copied == delivery
    assert type(copied) is Consumed
    delivery.ack()
    assert delivery.answered


@dataclass
class Order:
    """A payload with a type of its own."""

    number: int
    day: date


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        (None, None),
        ([1, {"a": "ü"}], [1, {"a": "ü"}]),
        (2**80, 2**80),
        ("half \ud83d", "half \ud83d"),
        (Order(7, date(2026, 1, 2)), {"number": 7, "day": "2026-01-02"}),
        ({3: "three"}, {"3": "three"}),
    ],
    ids=["null", "nested", "long integer", "lone surrogate", "dataclass", "numbers as keys"],
)
def test_payloads_are_written_and_read_as_those_of_messages(queue: Queue, payload: Any, read: Any) -> None:
    """Whatever enqueue sends can be put."""
    queue.put(payload)
    assert payloads(queue) == [read]


def test_what_json_cannot_represent_is_refused(queue: Queue) -> None:
    """Before anything is stored, also of many."""
    with pytest.raises(SocketMessageMalformed, match="cannot be stored as JSON"):
        queue.put(object())
    with pytest.raises(SocketMessageMalformed):
        queue.put_many([1, object()])
    assert queue.get() is None


def test_an_empty_queue_gives_none_in_time(queue: Queue) -> None:
    """At once, or after the timeout; and a queue without messages is true nevertheless."""
    assert queue.get() is None
    assert queue.get(timeout=0.02) is None
    assert queue
    assert queue.stats.oldest_age == 0


def test_a_message_wakes_a_thread_that_waits(queue: Queue) -> None:
    """However long its timeout is."""
    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.append(queue.get(timeout=math.inf)))
    thread.start()
    queue.put("now")
    thread.join(scaled(5))
    assert taken[0].payload == "now"
    taken[0].ack()


def test_an_unanswered_message_is_nobody_elses(queue: Queue) -> None:
    """It is in flight, and counted as such, until it is answered."""
    queue.put_many(["a", "b"])
    delivery = queue.get()
    assert delivery is not None
    stats = queue.stats
    assert (stats.depth, stats.in_flight, stats.dead, stats.bytes) == (1, 1, 0, 6)
    assert stats.oldest_age >= 0
    assert payloads(queue) == ["b"]
    delivery.ack()
    delivery.ack()  # a repetition does nothing
    stats = queue.stats
    assert (stats.depth, stats.in_flight, stats.dead, stats.bytes) == (0, 0, 0, 0)


def test_a_message_that_was_given_back_keeps_its_place(queue: Queue) -> None:
    """It is delivered again before those that were put after it, and its attempts are counted."""
    queue.put_many(["a", "b"])
    first = queue.get()
    assert first is not None
    first.nack(delay=0)
    again = queue.get()
    assert again is not None
    assert (again.payload, again.id, again.attempts) == ("a", first.id, 2)
    again.ack()
    assert payloads(queue) == ["b"]


def test_a_delay_holds_one_message_back_and_no_other(queue: Queue) -> None:
    """Of put, and of nack; a thread that waits gets it when it is due."""
    queue.put("much later", delay=60)
    queue.put("now")
    assert payloads(queue) == ["now"]
    assert len(queue) == 1
    queue.put("later", delay=0.05)
    assert [delivery.payload for delivery in queue.messages(timeout=scaled(5), limit=1)] == ["later"]
    queue.put("again")
    delivery = queue.get()
    assert delivery is not None
    delivery.nack(delay=60)
    assert queue.get() is None
    assert len(queue) == 2
    queue.put("soon")
    delivery = queue.get()
    assert delivery is not None
    delivery.nack(delay=0.05)
    again = queue.get(timeout=scaled(5))
    assert again is not None
    assert (again.payload, again.attempts) == ("soon", 2)
    again.ack()


def test_a_nack_without_a_delay_waits_longer_from_attempt_to_attempt(queue: Queue) -> None:
    """So that a message which cannot be worked on does not keep the consumers busy."""
    queue.put("hard")
    delivery = queue.get(retry_delay=Backoff(initial=60, jitter="none"))
    assert delivery is not None
    delivery.nack()
    assert queue.get(timeout=0.02) is None
    assert (len(queue), queue.stats.in_flight) == (1, 0)


def test_a_round_of_the_loop_acknowledges_and_leaving_it_gives_back(queue: Queue) -> None:
    """By break, or by an error, which passes on."""
    queue.put_many([1, 2, 3])
    for delivery in queue.messages(retry_delay=AT_ONCE):
        if delivery.payload == 2:
            break
    with pytest.raises(ZeroDivisionError):
        for delivery in queue.messages(retry_delay=AT_ONCE):
            assert (delivery.payload, delivery.attempts) == (2, 2)
            raise ZeroDivisionError
    assert payloads(queue) == [2, 3]


def test_a_message_of_an_iterator_that_was_dropped_is_given_back(queue: Queue) -> None:
    """One that wanted a single message learns how to take it."""
    queue.put("one")
    delivery = next(queue.messages(retry_delay=AT_ONCE))
    gc.collect()
    with pytest.raises(
        StoreError, match=r"already given back when the loop .* ended; for a single message use get\(\)"
    ):
        delivery.ack()
    assert payloads(queue) == ["one"]


def test_a_body_that_answers_decides(queue: Queue) -> None:
    """The end of its round adds nothing."""
    queue.put_many([1, 2, 3])
    for delivery in queue.messages(timeout=0):
        if delivery.payload == 1:
            delivery.reject("no ones")
        elif delivery.payload == 2 and delivery.attempts == 1:
            delivery.nack(0)
    assert [letter.payload for letter in queue.dead_letters()] == [1]
    assert not len(queue)


def test_a_second_answer_of_another_kind_is_an_error(queue: Queue) -> None:
    """It would be passed over otherwise."""
    queue.put(1)
    delivery = queue.get()
    assert delivery is not None
    delivery.nack(0)
    for answer in (delivery.ack, delivery.nack, delivery.reject, lambda: delivery.extend(1)):
        with pytest.raises(StoreError, match=r"was already given back$"):
            answer()


def test_after_the_last_attempt_a_message_is_a_dead_letter(queue: Queue) -> None:
    """After exactly so many deliveries; and those behind it go on."""
    queue.put_many(["poison", "fine"])
    seen: list[int] = []
    done: list[Any] = []
    while True:
        try:
            for delivery in queue.messages(max_attempts=3, retry_delay=AT_ONCE, timeout=0):
                if delivery.payload == "poison":
                    seen.append(delivery.attempts)
                    raise ValueError
                done.append(delivery.payload)
            break
        except ValueError:
            continue
    assert seen == [1, 2, 3]
    assert done == ["fine"]
    (letter,) = queue.dead_letters()
    assert (letter.payload, letter.attempts, letter.reason) == ("poison", 3, "given back after 3 attempts")
    assert queue.stats.dead == 1
    assert queue.stats.bytes == len('"poison"')


def test_a_backoff_that_ends_makes_a_dead_letter(queue: Queue) -> None:
    """As the attempts of `Backoff` are bounded, too."""
    queue.put(1)
    delivery = queue.get(retry_delay=Backoff(initial=0, max_attempts=1))
    assert delivery is not None
    delivery.nack()
    again = queue.get(retry_delay=Backoff(initial=0, max_attempts=1))
    assert again is not None
    again.nack()
    assert [letter.attempts for letter in queue.dead_letters()] == [2]


def test_attempts_without_an_answer_count(queue: Queue) -> None:
    """They are counted before the work begins: a worker that is killed each time has its limit, too."""
    queue.put("kills")
    for _ in range(2):
        entry = queue.stored.claim(0.01, None, Deadline(scaled(5)))
        assert entry is not None
        queue.stored.drop(entry)
    eventually(lambda: queue.get(max_attempts=2) is None and queue.stats.dead)
    (letter,) = queue.dead_letters()
    assert (letter.attempts, letter.reason) == (2, "no answer after 2 attempts")


def test_a_dead_letter_can_be_put_back(queue: Queue) -> None:
    """At the end, with its id, without attempts, and once."""
    queue.put("bad", id="b")
    delivery = queue.get()
    assert delivery is not None
    delivery.reject("unreadable")
    queue.put("other")
    (letter,) = queue.dead_letters()
    assert (letter.payload, letter.id, letter.attempts, letter.reason) == ("bad", "b", 1, "unreadable")
    queue.requeue(letter)
    assert not queue.dead_letters()
    assert [(each.payload, each.id, each.attempts) for each in queue.messages(timeout=0)][1] == ("bad", "b", 1)
    with pytest.raises(StoreError, match="not among the dead letters"):
        queue.requeue(letter)


def test_a_delivery_is_kept_as_long_as_somebody_has_it(queue: Queue) -> None:
    """Also when its visibility timeout is over: a worker may take its time."""
    queue.put("long")
    delivery = queue.get(visibility_timeout=0.02)
    assert delivery is not None
    assert queue.get(timeout=0.2) is None
    delivery.ack()
    assert queue.stats.depth == queue.stats.in_flight == 0


def test_a_delivery_that_was_forgotten_is_delivered_again(queue: Queue) -> None:
    """After its visibility timeout; to a thread that waits already."""
    queue.put("forgotten")
    first = queue.get(visibility_timeout=0.05)
    assert first is not None
    first = None
    gc.collect()
    again = queue.get(timeout=scaled(5))
    assert again is not None
    assert again.attempts == 2
    again.ack()


def test_a_lease_that_has_ended_answers_nothing_any_more(queue: Queue) -> None:
    """But an acknowledgement: that work is done, and need not be done again."""
    queue.put("slow")
    entry = queue.stored.claim(0.01, None, Deadline(0))
    assert entry is not None
    queue.stored.drop(entry)
    again = queue.get(timeout=scaled(5))
    assert again is not None
    assert not queue.stored.release(entry, 0)
    assert not queue.stored.bury(entry, "late")
    assert not queue.stored.extend(entry, 5)
    queue.stored.ack(entry.seq)
    with pytest.raises(StoreError, match="lease"):
        again.nack()
    again.ack()
    assert queue.stats.depth == queue.stats.in_flight == 0


def test_a_lease_can_be_extended(queue: Queue) -> None:
    """Then it ends later, once its holder forgets it."""
    queue.put(1)
    delivery = queue.get(visibility_timeout=0.01)
    assert delivery is not None
    delivery.extend(60)
    delivery = None
    gc.collect()
    assert queue.get(timeout=0.1) is None
    assert queue.stats.depth + queue.stats.in_flight == 1


def test_a_full_queue_raises_and_stores_nothing(make_store: MakeStore) -> None:
    """By the number of its messages, or by their size; nothing is dropped, and there is room again later."""
    store = make_store(max_messages=3)
    queue = store.queue("jobs")
    queue.put_many([1, 2])
    with pytest.raises(StoreFull, match="'jobs' holds 2 messages"):
        queue.put_many([3, 4])
    queue.put(3)
    with pytest.raises(StoreFull) as caught:
        queue.put(4)
    assert (caught.value.code, caught.value.retryable) == ("STORE_FULL", True)
    store.queue("others").put(1)
    assert payloads(queue) == [1, 2, 3]
    queue.put(4)


@pytest.mark.parametrize("make_store", LINKED, indirect=True)
@pytest.mark.parametrize("count", [0, -1, True, 1.5, "3"])
def test_a_wrong_limit_is_refused(make_store: MakeStore, count: Any) -> None:
    """In words that fit: messages are counted, and not measured."""
    with pytest.raises(ValueError, match=r"^max_messages must be a whole number, 1 or more, not "):
        make_store(max_messages=count)
    with pytest.raises(ValueError, match=r"^max_bytes must be a whole number of bytes, 1 or more, not "):
        make_store(max_bytes=count)


def test_a_queue_is_bounded_by_size_with_its_dead_letters(make_store: MakeStore) -> None:
    """They take room until somebody looks at them."""
    queue = make_store(max_bytes=100).queue("jobs")
    queue.put("x" * 60)
    delivery = queue.get()
    assert delivery is not None
    delivery.reject()
    with pytest.raises(StoreFull, match="dead letters included"):
        queue.put("y" * 60)
    assert queue.purge(dead=True) == 1
    queue.put("y" * 60)


def test_purge_deletes_what_waits_and_nothing_else(queue: Queue) -> None:
    """What is in flight can still be answered; dead letters stay."""
    queue.put_many([1, 2, 3])
    dead, held = queue.get(), queue.get()
    assert dead is not None
    assert held is not None
    dead.reject()
    queue.put("later", delay=60)
    assert queue.purge() == 2
    assert queue.stats.in_flight == queue.stats.dead == 1
    held.nack(0)
    assert payloads(queue) == [2]
    assert queue.purge(dead=True) == 1
    assert queue.stats.bytes == 0


def test_what_was_forgotten_is_in_flight_no_more_before_anybody_asks_for_it(queue: Queue) -> None:
    """The figures say so, and purge deletes it; though no consumer came by."""
    queue.put("forgotten")
    entry = queue.stored.claim(0.01, None, Deadline(scaled(5)))
    assert entry is not None
    queue.stored.drop(entry)
    eventually(lambda: (len(queue), queue.stats.in_flight) == (1, 0))
    entry = queue.stored.claim(0.01, None, Deadline(scaled(5)))
    assert entry is not None
    queue.stored.drop(entry)
    eventually(queue.purge)
    assert queue.get() is None
    assert queue.stats == QueueStats(0, 0, 0.0, 0, 0)


def test_peek_takes_nothing(queue: Queue) -> None:
    """It shows the first ones, as a tuple."""
    queue.put_many(["a", "b", "c"])
    assert [tuple(seen)[::2] for seen in queue.peek(2)] == [("a", 2), ("b", 1)]
    assert payloads(queue) == ["a", "b", "c"]


def test_any_text_is_an_id_and_a_reason(queue: Queue) -> None:
    """Also half a character, which a peer may send, as JSON lets it pass: the others go on."""
    queue.put(1, id="half \ud83d")
    queue.put(2)
    assert [message.id for message in queue.peek(1)] == ["half \ud83d"]
    delivery = queue.get()
    assert delivery is not None
    assert delivery.id == "half \ud83d"
    delivery.reject("no \udc00")
    (letter,) = queue.dead_letters()
    assert (letter.id, letter.reason) == ("half \ud83d", "no \udc00")
    queue.requeue(letter)
    assert [(message.payload, message.id == "half \ud83d") for message in queue.messages(timeout=0)] == [
        (2, False),
        (1, True),
    ]


def test_what_is_not_json_becomes_a_dead_letter(queue: Queue) -> None:
    """Another program may write into the store; the consumer goes on with the next message."""
    queue.stored.append([Draft("bad", b"{broken")])
    queue.put("good")
    assert payloads(queue) == ["good"]
    (letter,) = queue.dead_letters()
    assert (letter.id, letter.payload) == ("bad", "{broken")
    assert "not JSON" in letter.reason


def test_queues_are_apart_and_have_names(store: Store) -> None:
    """A name is any text; the same name is the same queue."""
    store.queue("b ü/1").put(1)
    store.queue("a").put(2)
    store.queue("never used")
    assert store.queues() == ["a", "b ü/1"]
    assert payloads(store.queue("a")) == [2]
    assert len(store.queue("b ü/1")) == 1
    assert repr(store.queue("a")) == "<Queue 'a'>"
    for name in ("", None, 3):
        with pytest.raises(ValueError, match="name of a queue"):
            store.queue(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("make_store", LINKED, indirect=True)
def test_half_a_character_is_no_name(store: Store) -> None:
    """Not every store could keep it."""
    with pytest.raises(ValueError, match="without lone surrogates"):
        store.queue("half \ud800")


@pytest.mark.parametrize(
    "use",
    [
        lambda queue: queue.put(1, id=7),
        lambda queue: queue.put(1, delay=-1),
        lambda queue: queue.put(1, delay=math.inf),
        lambda queue: queue.get(timeout=-1),
        lambda queue: queue.get(visibility_timeout=0),
        lambda queue: queue.get(max_attempts=0),
        lambda queue: queue.messages(visibility_timeout=math.inf),
        lambda queue: queue.messages(max_attempts=True),
        lambda queue: queue.messages(retry_delay=1.0),
        lambda queue: queue.messages(limit=-1),
        lambda queue: queue.requeue("id"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(queue: Queue, use: Any) -> None:
    """Also by an iterator that nobody iterates over yet."""
    with pytest.raises((ValueError, TypeError)):
        use(queue)
    assert not len(queue)


def test_consumers_share_a_queue_and_get_each_message_once(queue: Queue) -> None:
    """Whatever several threads put, and however many take it."""
    per_thread, threads = 25, 4
    taken: list[Any] = []

    def put(number: int) -> None:
        for n in range(per_thread):
            queue.put([number, n])

    def take() -> None:
        for delivery in queue.messages(timeout=scaled(1)):
            taken.append(delivery.payload)
            if len(taken) == per_thread * threads:
                queue.put_many([None] * threads)
            if delivery.payload is None:
                break

    workers = [threading.Thread(target=put, args=(n,)) for n in range(threads)]
    workers += [threading.Thread(target=take) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(scaled(20))
    messages = [payload for payload in taken if payload is not None]
    assert sorted(messages) == [[number, n] for number in range(threads) for n in range(per_thread)]


def test_a_closed_store_refuses_and_frees_those_who_wait(store: Store) -> None:
    """With an error that says so; closing it again does nothing."""
    queue = store.queue("jobs")
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            queue.get(timeout=math.inf)
        except StoreError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    with store:
        pass
    store.close()
    thread.join(scaled(5))
    assert "closed" in str(errors[0])
    with pytest.raises(StoreError, match="closed"):
        queue.put(1)
    with pytest.raises(StoreError, match="closed"):
        store.queue("jobs").put(1)
