"""Acknowledged delivery between two ends, promise by promise; in one thread, without sockets and without files."""

from __future__ import annotations

import pytest

from owlsocket_sync.errors import SocketMessageMalformed
from owlsocket_sync.protocol.hello import (
    EVENTS,
    Ack,
    Frame,
    Hello,
    Nack,
    NackReason,
    QueueTerms,
    Skip,
    StreamBounds,
    StreamPosition,
    Window,
    read_frame,
    write_frame,
)
from owlsocket_sync.protocol.incoming_stream import IncomingStream, Numbered, StoreMessages, StoreOutcome, TellLost
from owlsocket_sync.protocol.outgoing_stream import (
    DeleteTo,
    GreetAgain,
    OutgoingStream,
    RenewStream,
    SendState,
    Waiting,
)
from owlsocket_sync.protocol.reliable import MAX_RENEWALS, BarrierPing, EndLink, ReliableEnd
from support.reliable import POISON, Inbox, Legacy, Link, Outbox, Side, restore, snapshot

S = "0" * 32
FRAMES: list[Frame] = [
    Hello(),
    Hello(is_answer=True),
    Hello(QueueTerms(StreamBounds(S, 101, 141), accepts=True)),
    Hello(QueueTerms(StreamBounds(S, 101, 141, "a hundred"))),
    Hello(QueueTerms(None, True, largest=16_777_216)),
    Hello(QueueTerms(None, True, StreamPosition(S, 120, "a"), Window(1000, 8388608)), is_answer=True),
    Hello(QueueTerms(StreamBounds(S, 1, 1), True, StreamPosition(S, 0), Window(1, 1)), is_answer=True),
    Ack(StreamPosition(S, 184)),
    Ack(StreamPosition(S, 6, "six"), greets=True),
    Ack(StreamPosition(S, 6), greets=True),
    *(Nack(S, 121, reason) for reason in NackReason),
    Skip(S, 3, 5),
]


def filled(count: int, first: int = 1) -> Outbox:
    """An outbox with so many messages, which are numbers."""
    outbox = Outbox()
    for number in range(first, first + count):
        outbox.put(number)
    return outbox


def stream_of(machine: ReliableEnd) -> str:
    """The stream that an end greets with."""
    assert machine.outgoing is not None
    return machine.outgoing.stream


def side_state(side: Side) -> SendState:
    """The state of a sender: as it is now, and not as it was."""
    return side.state


def connected(outbox: Outbox, inbox: Inbox) -> Link:
    """A link from a sender that connects to a receiver, after all that they have to say."""
    link = Link(Side(outbox, None, asks=True), Side(None, inbox, asks=False))
    link.run()
    return link


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", FRAMES, ids=[f"{index}-{type(frame).__name__}" for index, frame in enumerate(FRAMES)])
def test_a_frame_is_read_as_it_was_written(frame: Frame) -> None:
    """Its payload is an object always: a listener of the reference dies of anything else."""
    event, payload = write_frame(frame)
    assert event in EVENTS
    assert isinstance(payload, dict)
    assert read_frame(event, payload) == frame
    assert read_frame(event, {**payload, "more": 1}) == frame


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("hello", None),
        ("hello", []),
        ("hello", {}),
        ("hello", {"v": 0}),
        ("hello", {"v": True}),
        ("hello", {"v": 1, "queue": []}),
        ("hello", {"v": 1, "queue": {"stream": S}}),
        ("hello", {"v": 1, "queue": {"stream": S, "first": 2, "next": 1}}),
        ("hello", {"v": 1, "queue": {"stream": S, "first": 0, "next": 1}}),
        ("hello", {"v": 1, "queue": {"stream": "x" * 200, "first": 1, "next": 1}}),
        ("hello", {"v": 1, "queue": {"ack": 3}}),
        ("hello", {"v": 1, "queue": {"ack": {"stream": S, "offset": -1}}}),
        ("hello", {"v": 1, "queue": {"ack": {"stream": S, "offset": 1, "last": 1}}}),
        ("hello", {"v": 1, "queue": {"window": [0, 1]}}),
        ("hello", {"v": 1, "queue": {"window": [1]}}),
        ("hello", {"v": 1, "queue": {"max": 0}}),
        ("ack", {"stream": S, "offset": 2**53}),
        ("ack", {"stream": 1, "offset": 1}),
        ("ack", {"offset": 1}),
        ("nack", {"stream": S, "expected": 1, "reason": "else"}),
        ("nack", {"stream": S, "expected": 0, "reason": "gap"}),
        ("nack", {"stream": S, "expected": 1}),
        ("skip", {"stream": S, "after": 5, "to": 5}),
    ],
    ids=str,
)
def test_a_frame_that_is_not_valid_is_refused(event: str, payload: object) -> None:
    """By an error that names the frame, never by another one."""
    with pytest.raises(SocketMessageMalformed, match=event):
        read_frame(event, payload)


def test_the_hello_of_a_sender_is_the_one_of_the_protocol() -> None:
    """Names and places as other implementations expect them."""
    event, payload = write_frame(Hello(QueueTerms(StreamBounds(S, 101, 141), accepts=True)))
    assert event == "hello"
    assert payload.pop("agent").startswith("owlsocket-sync/")
    assert payload == {"v": 1, "queue": {"stream": S, "first": 101, "next": 141, "accept": True}}


# -- greeting ----------------------------------------------------------------------------------------------------------


def test_what_waits_is_sent_deleted_and_stored_in_order() -> None:
    """From the first message to the last."""
    outbox, inbox = filled(5), Inbox()
    connected(outbox, inbox)
    assert inbox.log == [1, 2, 3, 4, 5]
    assert not outbox.rows


def test_both_directions_of_one_link_are_independent() -> None:
    """Each end has an outbox and an inbox; the server sends once it was asked."""
    up, down, at_client, at_server = filled(3), filled(3, 11), Inbox(), Inbox()
    Link(Side(up, at_client, asks=True), Side(down, at_server, asks=False)).run()
    assert (at_server.log, at_client.log) == ([1, 2, 3], [11, 12, 13])
    assert not up.rows
    assert not down.rows


def test_a_server_never_begins_with_a_hello() -> None:
    """A client of the reference sees none."""
    server = Side(filled(3), Inbox(), asks=False)
    server.do(server.machine.greet())
    assert list(server.out) == [BarrierPing.PING]


def test_an_answer_is_never_answered() -> None:
    """There is no storm, whatever a peer answers."""
    for asks in (True, False):
        machine = ReliableEnd(filled(3), Inbox(), asks=asks)
        assert not machine.receive(Hello(is_answer=True))
        answers = machine.receive(Hello(QueueTerms(None, True, None, Window(9, 9)), is_answer=True))
        assert not [each for each in answers if isinstance(each, Hello)]


def test_a_hello_may_be_repeated() -> None:
    """The second is answered as the first."""
    machine = ReliableEnd(None, Inbox(), asks=False)
    hello = Hello(QueueTerms(StreamBounds(S, 1, 5)))
    first, second = machine.receive(hello)[-1], machine.receive(hello)[-1]
    assert first == second
    assert isinstance(first, Hello)
    assert first.is_answer


def test_a_peer_that_answers_a_ping_before_a_hello_is_plain() -> None:
    """What it takes in before a ping is deleted once the ping is answered, and not before."""
    outbox, inbox = filled(3), Inbox()
    link = Link(Side(outbox, None, asks=True), Legacy(inbox))
    while link.step(True):
        pass
    assert side_state(link.client) is SendState.GREETING
    assert link.step(False)
    assert side_state(link.client) is SendState.PLAIN
    assert link.step(True)
    assert len(outbox.rows) == 3
    link.run()
    assert inbox.log == [1, 2, 3]
    assert not outbox.rows


def test_a_hello_before_the_pong_makes_it_one_of_ours() -> None:
    """Even one that only says that more will follow, while the peer authenticates."""
    server = Side(filled(3), None, asks=False)
    server.do(server.machine.greet())
    server.take(write_frame(Hello()))
    server.take("pong")
    assert side_state(server) is SendState.GREETING


def test_a_hello_after_the_pong_still_begins_acks() -> None:
    """A plain peer that turns out to keep the rules gets numbers from then on."""
    outbox, inbox = filled(2), Inbox()
    server = Side(outbox, None, asks=False)
    server.do(server.machine.greet())
    server.take("pong")
    assert side_state(server) is SendState.PLAIN
    link = Link(Side(None, inbox, asks=True), server)
    link.run()
    assert side_state(server) is SendState.FLOWING
    assert set(inbox.log) == {1, 2}
    assert not outbox.rows


def test_a_peer_without_an_inbox_is_sent_plain_messages() -> None:
    """It says so; the answer to an earlier ping proves nothing about what was sent since."""
    outbox = filled(2)
    client, server = Side(outbox, None, asks=True), Side(filled(0), None, asks=False)
    link = Link(client, server)
    for _ in range(3):
        assert link.step(True)  # two hellos, and the ping of the greeting
    while link.step(False):
        pass
    assert side_state(client) is SendState.PLAIN
    assert len(outbox.rows) == 2


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_message_whose_ack_was_lost_is_not_stored_twice() -> None:
    """It is passed over by its number."""
    outbox, inbox = filled(3), Inbox()
    link = Link(Side(outbox, None, asks=True), Side(None, inbox, asks=False))
    while link.step(True) or (link.client.state is SendState.GREETING and link.step(False)):
        pass
    assert len(outbox.rows) == 3  # the acks are on their way, and lost with the link
    outbox.put(4)
    connected(outbox, inbox)
    assert inbox.log == [1, 2, 3, 4]
    assert not outbox.rows


def test_a_gap_is_sent_again_from_there() -> None:
    """The peer says once what it waits for, however much it gets meanwhile."""
    stream = IncomingStream()
    stream.greet(StreamBounds(S, 1, 9), None)
    assert stream.messages([Numbered(3, "c", 3), Numbered(4, "d", 4)]) == (None, [Nack(S, 1, NackReason.GAP)])
    step, answers = stream.messages([Numbered(1, "a", 1), Numbered(2, "b", 2)])
    assert step is not None
    assert [message.seq for message in step.messages] == [1, 2]
    assert not answers
    outgoing = OutgoingStream()
    outgoing.begin(StreamBounds(S, 1, 9))
    outgoing.greeted(StreamPosition(S, 0), StreamBounds(S, 1, 9), lambda _: None)
    outgoing.send([Waiting(seq, 1) for seq in range(1, 9)], 9)
    outgoing.nack(Nack(S, 4, NackReason.GAP))
    assert outgoing.sent == 3


def test_each_gap_is_told_once() -> None:
    """What arrived in order between two gaps ends the first."""
    stream = IncomingStream()
    stream.greet(StreamBounds(S, 1, 9), None)
    assert stream.messages([Numbered(2, "b", 2)])[1] == [Nack(S, 1, NackReason.GAP)]
    step, answers = stream.messages([Numbered(1, "a", 1), Numbered(3, "c", 3), Numbered(4, "d", 4)])
    assert step is not None
    assert len(step.messages) == 1
    assert answers == [Nack(S, 2, NackReason.GAP)]


def test_a_nack_that_fits_nothing_greets_again_and_a_late_one_is_passed_over() -> None:
    """The peer waits for what was never sent, or has it meanwhile."""
    outgoing = OutgoingStream()
    outgoing.begin(StreamBounds(S, 1, 9))
    outgoing.greeted(StreamPosition(S, 0), StreamBounds(S, 1, 9), lambda _: None)
    outgoing.send([Waiting(seq, 1) for seq in range(1, 5)], 9)
    outgoing.ack(S, 3)
    assert outgoing.nack(Nack(S, 3, NackReason.INVALID)) == []
    assert outgoing.sent == 4
    assert [type(step) for step in outgoing.nack(Nack(S, 6, NackReason.GAP))] == [GreetAgain]


def test_a_peer_that_falls_back_is_greeted_again() -> None:
    """It lost what it had: with the bounds it knows how many, and says so to its user."""
    outgoing = OutgoingStream()
    outgoing.begin(StreamBounds(S, 1, 9))
    outgoing.greeted(StreamPosition(S, 4), StreamBounds(S, 1, 9), lambda _: None)
    steps = outgoing.greeted(StreamPosition(S, 2), StreamBounds(S, 5, 9), lambda _: None)
    assert [type(step) for step in steps] == [GreetAgain]


def test_a_store_that_changed_after_the_hello_is_greeted_again() -> None:
    """The answer is about numbers that it does not have any more."""
    outgoing = OutgoingStream()
    outgoing.begin(StreamBounds(S, 1, 9))
    steps = outgoing.greeted(StreamPosition(S, 0), StreamBounds("another", 1, 1), lambda _: None)
    assert [type(step) for step in steps] == [GreetAgain]


def test_a_peer_that_claims_to_be_ahead_of_each_stream_loses_its_link() -> None:
    """It cannot keep the store busy for as long as it likes."""
    outbox = filled(2)
    side = Side(outbox, None, asks=True)
    side.do(side.machine.greet())
    actions: list[object] = []
    for _ in range(MAX_RENEWALS + 1):
        actions = [*side.machine.receive(Ack(StreamPosition(outbox.stream, 99, "x"), greets=True))]
        if isinstance(actions[-1], RenewStream):
            side.do(actions)  # type: ignore[arg-type]
    assert isinstance(actions[-1], EndLink)


def test_a_full_inbox_holds_the_sender_until_there_is_room() -> None:
    """Nothing is dropped, and nothing overtakes."""
    outbox, inbox = filled(6), Inbox(room=2)
    link = connected(outbox, inbox)
    assert side_state(link.client) is SendState.HELD
    assert inbox.log == [1, 2]
    outbox.put(7)
    link.run()
    assert inbox.log == [1, 2]
    inbox.room = 100
    link.server.do(link.server.machine.room())  # type: ignore[union-attr]
    link.run()
    assert inbox.log == [1, 2, 3, 4, 5, 6, 7]
    assert not outbox.rows


def test_a_message_that_cannot_be_stored_becomes_a_dead_letter_of_the_sender() -> None:
    """Those behind it go on, and its number is never waited for again, also after the link was cut."""
    outbox, inbox = Outbox(), Inbox()
    for payload in (1, POISON, 3, POISON):
        outbox.put(payload)
    connected(outbox, inbox)
    assert inbox.log == [1, 3]
    assert outbox.dead == [POISON, POISON]
    outbox.put(5)
    link = connected(outbox, inbox)
    assert inbox.log == [1, 3, 5]
    assert not link.server.losses  # type: ignore[union-attr]


def test_numbers_without_a_message_are_skipped() -> None:
    """What was purged is not waited for, at the beginning, in between, and at the end."""
    outbox, inbox = filled(6), Inbox()
    for seq in (1, 3, 6):
        del outbox.rows[seq]
    link = connected(outbox, inbox)
    assert inbox.log == [2, 4, 5]
    assert outbox.acked.offset == 6
    assert not link.server.losses  # type: ignore[union-attr]


def test_the_window_limits_what_is_on_its_way() -> None:
    """By number and by size; a message larger than the window goes alone."""
    outgoing = OutgoingStream()
    outgoing.begin(StreamBounds(S, 1, 9))
    outgoing.greeted(StreamPosition(S, 0), StreamBounds(S, 1, 9), lambda _: None)
    outgoing.window = Window(3, 10)
    waiting = [Waiting(1, 50), Waiting(2, 5), Waiting(3, 5), Waiting(4, 1)]
    assert outgoing.send(waiting, 9) == [Waiting(1, 50)]
    assert outgoing.room() == 0
    assert outgoing.send([], 9) == []  # nothing was looked up: nothing is skipped
    outgoing.ack(S, 1)
    assert outgoing.send(waiting[1:], 9) == [Waiting(2, 5), Waiting(3, 5)]
    outgoing.ack(S, 3)
    assert outgoing.room() == 3


def test_an_ack_deletes_nothing_that_was_not_sent_on_this_link() -> None:
    """A peer that claims more is greeted once more."""
    machine = ReliableEnd(filled(3), None, asks=True)
    machine.greet()
    assert machine.receive(Hello(QueueTerms(None, True, StreamPosition(stream_of(machine), 0)), is_answer=True)) == []
    actions = machine.receive(Ack(StreamPosition(stream_of(machine), 2)))
    assert [type(action) for action in actions] == [Hello]


def test_frames_of_another_stream_are_passed_over() -> None:
    """They belong to an earlier hello."""
    outgoing = OutgoingStream()
    outgoing.begin(StreamBounds(S, 1, 9))
    assert outgoing.greeted(StreamPosition("other", 3), StreamBounds(S, 1, 9), lambda _: None) == []
    assert outgoing.ack("other", 3) == []
    assert outgoing.nack(Nack("other", 3, NackReason.GAP)) == []
    assert outgoing.state is SendState.GREETING


# -- backups -----------------------------------------------------------------------------------------------------------


def test_a_sender_restored_from_a_backup_loses_nothing_that_it_sends_since() -> None:
    """The peer is ahead of it: it gets a new stream."""
    outbox, inbox = filled(2), Inbox()
    (backup,) = snapshot(outbox)
    connected(outbox, inbox)
    for number in (3, 4):
        outbox.put(number)
    connected(outbox, inbox)
    restore(outbox, backup)
    outbox.put(5)
    connected(outbox, inbox)
    assert inbox.log[-1] == 5
    assert not outbox.rows


def test_a_restored_sender_that_wrote_past_the_old_end_is_found_out_by_an_id() -> None:
    """The number that the peer has exists again, and is another message: numbers alone would lose it in silence."""
    outbox, inbox = filled(2), Inbox()
    connected(outbox, inbox)
    (backup,) = snapshot(outbox)
    outbox.put(3)
    connected(outbox, inbox)
    restore(outbox, backup)
    for number in (30, 40, 50):
        outbox.put(number)
    connected(outbox, inbox)
    assert inbox.log == [1, 2, 3, 30, 40, 50]


def test_both_ends_restored_one_after_the_other_lose_nothing_in_silence() -> None:
    """The receiver lost a message, and says so; then the sender forgets it, and gives its number to another one."""
    outbox, inbox = Outbox(), Inbox()
    sender_backup, receiver_backup = snapshot(outbox, inbox)
    outbox.put(1)
    connected(outbox, inbox)
    restore(inbox, receiver_backup)
    assert connected(outbox, inbox).server.losses  # type: ignore[union-attr]
    restore(outbox, sender_backup)
    outbox.put(2)
    connected(outbox, inbox)
    assert inbox.log == [2]


def test_a_number_that_was_skipped_does_not_stand_for_a_message_of_a_restored_sender() -> None:
    """The position holds the id of the last message before the number."""
    outbox, inbox = filled(1), Inbox()
    connected(outbox, inbox)
    (backup,) = snapshot(outbox)
    outbox.put(POISON)
    connected(outbox, inbox)
    restore(outbox, backup)
    outbox.put(2)
    connected(outbox, inbox)
    assert inbox.log == [1, 2]
    assert not outbox.rows


def test_a_message_with_the_same_id_at_the_same_number_is_the_same_message() -> None:
    """A user who names the messages, and puts them again after the backup, finds nothing twice."""
    outbox, inbox = Outbox(), Inbox()
    (backup,) = snapshot(outbox)
    for number in (1, 2):
        outbox.put(number, f"order-{number}")
    connected(outbox, inbox)
    restore(outbox, backup)
    for number in (1, 2, 3):
        outbox.put(number, f"order-{number}")
    connected(outbox, inbox)
    assert inbox.log == [1, 2, 3]


def test_a_receiver_restored_from_a_backup_says_how_many_it_lost() -> None:
    """The sender has deleted them: nobody has them any more."""
    outbox, inbox = filled(2), Inbox()
    connected(outbox, inbox)
    (backup,) = snapshot(inbox)
    for number in (3, 4, 5):
        outbox.put(number)
    connected(outbox, inbox)
    restore(inbox, backup)
    outbox.put(6)
    link = connected(outbox, inbox)
    assert inbox.log == [1, 2, 6]
    assert link.server.losses == [TellLost(3, is_certain=True)]  # type: ignore[union-attr]


def test_a_new_inbox_at_an_old_outbox_is_told_where_the_stream_begins() -> None:
    """It is information: perhaps another inbox got what was before."""
    outbox = filled(4)
    connected(outbox, Inbox())
    outbox.put(5)
    inbox = Inbox()
    link = connected(outbox, inbox)
    assert inbox.log == [5]
    assert link.server.losses == [TellLost(4, is_certain=False)]  # type: ignore[union-attr]
    assert not connected(outbox, inbox).server.losses  # type: ignore[union-attr]


def test_messages_of_an_older_link_do_not_stand_for_those_of_a_restored_sender() -> None:
    """Two links at once: what the older one still stores moves the position, and the ids are compared once more."""
    outbox, inbox = filled(0), Inbox()
    (backup,) = snapshot(outbox)
    for number in (1, 2):
        outbox.put(number)
    old = Link(Side(outbox, None, asks=True), Side(None, inbox, asks=False))
    old.step(True)
    old.step(True)
    while old.step(False):
        pass  # the messages of the old link are on their way now
    restore(outbox, backup)
    for number in (10, 20, 30):
        outbox.put(number)
    new = Link(Side(outbox, None, asks=True), Side(None, inbox, asks=False))
    new.step(True)
    new.step(True)
    while old.step(True):
        pass
    new.run()
    assert inbox.log == [1, 2, 10, 20, 30]
    assert not outbox.rows


# -- an inbox that does not outlive its process ------------------------------------------------------------------------


def test_a_memory_inbox_acknowledges_what_its_consumer_is_done_with() -> None:
    """The outbox of the sender is the durable one: the process may end with messages that nobody has looked at."""
    stream = IncomingStream(acks_when_done=True)
    stream.greet(StreamBounds(S, 1, 9), None)
    step, _ = stream.messages([Numbered(seq, f"id-{seq}", seq) for seq in (1, 2, 3)])
    assert isinstance(step, StoreMessages)
    assert stream.stored(step, 3, StoreOutcome.STORED) == []
    assert stream.acknowledged == StreamPosition(S, 0)
    assert stream.done(StreamPosition(S, 2, "id-2")) == [Ack(StreamPosition(S, 2, "id-2"))]
    assert stream.done(StreamPosition(S, 2, "id-2")) == []
    assert stream.has_undone
    assert stream.acknowledged == StreamPosition(S, 2, "id-2")


def test_after_a_cut_a_memory_inbox_passes_over_what_it_has() -> None:
    """What is not done yet comes again, and is not stored again."""
    stream = IncomingStream(acks_when_done=True)
    steps = stream.greet(StreamBounds(S, 3, 9), StreamPosition(S, 5, "id-5"), StreamPosition(S, 3, "id-3"))
    assert not steps
    assert stream.acknowledged == StreamPosition(S, 3, "id-3")
    assert stream.messages([Numbered(4, "id-4", 4)]) == (None, [Ack(StreamPosition(S, 3, "id-3"))])


def test_deleting_follows_the_acks() -> None:
    """Never before, never twice."""
    outgoing = OutgoingStream()
    outgoing.begin(StreamBounds(S, 1, 9))
    outgoing.greeted(StreamPosition(S, 0), StreamBounds(S, 1, 9), lambda _: None)
    outgoing.send([Waiting(seq, 1) for seq in range(1, 9)], 9)
    assert outgoing.ack(S, 4) == [DeleteTo(S, 4)]
    assert outgoing.ack(S, 4) == []
    assert outgoing.ack(S, 3) == []
    assert outgoing.greeted(StreamPosition(S, 99), StreamBounds(S, 5, 9), lambda _: None) == [RenewStream(S)]


# -- who sends from the outbox -----------------------------------------------------------------------------------------


def sending_later(asks: bool) -> tuple[Side, Outbox, Inbox, Link]:
    """A link on which one end may not send from its outbox yet, because another link does."""
    outbox, inbox = filled(3), Inbox()
    late, other = Side(outbox, None, asks=asks), Side(None, inbox, asks=not asks)
    late.machine.sends = False
    link = Link(late, other) if asks else Link(other, late)
    link.run()
    assert not inbox.log
    return late, outbox, inbox, link


@pytest.mark.parametrize("asks", [True, False], ids=["client", "server"])
def test_an_end_that_may_send_later_greets_then(asks: bool) -> None:
    """When the link that sends from the outbox has ended, another one goes on."""
    late, outbox, inbox, link = sending_later(asks)
    late.do(late.machine.start_sending())
    link.run()
    assert inbox.log == [1, 2, 3]
    assert not outbox.rows
    late.machine.stop_sending()
    outbox.put(4)
    link.run()
    assert len(outbox.rows) == 1


def test_a_server_that_opens_after_the_hello_of_its_client_sends_all_the_same() -> None:
    """The handler of a server may take its time, and the client has greeted meanwhile."""
    outbox, inbox = filled(3), Inbox()
    client, server = Side(None, inbox, asks=True), Side(outbox, None, asks=False)
    server.machine.sends = False
    client.do([*client.machine.announce(), *client.machine.greet()])
    while client.out:
        server.take(client.out.popleft())
    server.machine.sends = True
    server.do(server.machine.greet())
    link = Link.__new__(Link)
    link.client, link.server = client, server
    link.run()
    assert inbox.log == [1, 2, 3]
