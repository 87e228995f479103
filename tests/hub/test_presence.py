"""Presence: who joins and who leaves is told once, in order, whatever handlers do and threads race for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from owlsocket_sync.hub import Gap, Hub, Member, MemoryHub, PresenceChange
from support.helpers import Collector, eventually, scaled, whole
from support.linked import aside
from support.seats import FakeServer, client_of, run_together
from support.strikes import struck

RACES = whole(60, 2_000)


def test_changes_are_told_in_order(hubs: tuple[Hub, Hub]) -> None:
    """On each node: a join, another info, and the leave of a connection that ended."""
    seen = [Collector() for _ in hubs]
    for hub, collector in zip(hubs, seen, strict=True):
        hub.on_presence(collector)
    server = FakeServer(hubs[0])
    ann = server.connect("u1")
    ann.join("owls", 1)
    ann.join("owls", 2)
    ann.join("mice", None)
    ann.leave("mice")
    ann.end()
    first, second, mice = (Member(ann.id, "u1", server.name, info) for info in (1, 2, None))
    expected = [
        PresenceChange("join", "owls", first),
        PresenceChange("update", "owls", second),
        PresenceChange("join", "mice", mice),
        PresenceChange("leave", "mice", mice),
        PresenceChange("leave", "owls", second),
    ]
    for collector in seen:
        assert collector.wait(5) == expected


def test_a_handler_that_raises_is_logged_and_keeps_nothing(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """The next handler, and the next change, come to their turn."""
    seen = Collector()

    @hub.on_presence
    def fail(change: PresenceChange) -> None:
        raise ValueError("no such\nroom")

    hub.on_presence(seen)
    ann = FakeServer(hub).connect()
    ann.join("owls", None)
    ann.leave("owls")
    assert [change.kind for change in seen.wait(2)] == ["join", "leave"]
    assert caplog.text.count("(on_presence for the room 'owls'): no such\\nroom") == 1  # once a second


def test_a_handler_may_call_back(hub: Hub) -> None:
    """It publishes, asks for members, joins, calls and closes the hub."""
    server, seen = FakeServer(hub), Collector()
    ann, bob = server.connect(), server.connect()
    client_of(ann).perform = lambda method: "answer"

    def answer(change: PresenceChange) -> None:
        if change.room == "owls":
            bob.join("watchers", None)
            hub.publish("joined", change.member.id, room="owls")
            eventually(lambda: client_of(ann).got)
            seen(hub.call(ann.id, "x"), len(hub.members("owls")), hub.count("watchers"))
            hub.close()

    hub.on_presence(answer)
    ann.join("owls", None)
    assert seen.wait(1) == [("answer", 1, 1)]
    assert client_of(ann).got == [ann.id]


def test_a_handler_that_was_unsubscribed_is_called_no_more(hub: Hub) -> None:
    """Nor is anything kept for it."""
    seen, other = Collector(), Collector()
    subscription = hub.on_presence(seen)
    ann = FakeServer(hub).connect()
    ann.join("owls", None)
    seen.wait(1)
    subscription()
    hub.on_presence(other)
    ann.leave("owls")
    other.wait(1)
    assert len(seen.items) == 1


def test_handlers_are_checked(hub: Hub) -> None:
    """Where they are registered."""

    def take_nothing() -> None:
        """Fit no change."""

    for handler in (5, take_nothing):
        for register in (hub.on_presence, hub.on_gap):
            with pytest.raises(TypeError):
                register(handler)  # type: ignore[arg-type]


def test_a_gap_reaches_its_handlers(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """As a bus tells it."""
    seen = Collector()
    hub.on_gap(seen)
    hub._node.gap(Gap("the log was trimmed", 7))
    assert seen.wait(1) == [Gap("the log was trimmed", 7)]
    assert "the log was trimmed" in caplog.text


def _ledger(changes: list[Any]) -> dict[str, int]:
    """Return the members that the changes leave, and check that each change follows from those before it."""
    present: dict[str, int] = {}
    for change in changes:
        key = f"{change.room} {change.member.id}"
        assert (change.kind == "join") is (key not in present), change
        if change.kind == "leave":
            del present[key]
        else:
            present[key] = change.member.info
    return present


def test_a_connection_that_ends_while_it_joins_leaves_no_ghost(hub: Hub) -> None:
    """Whichever thread is first; each leave is told once."""
    seen, server = Collector(), FakeServer(hub)
    hub.on_presence(seen)

    def race(seat: Any) -> None:
        def join() -> None:
            for number in range(3):
                try:
                    seat.join(f"room {number % 2}", number)
                except ConnectionError:
                    return

        run_together(join, partial(seat.leave, "room 0"), seat.end)

    for _ in range(RACES):
        race(server.connect())
    server.connect().join("last", None)
    eventually(lambda: seen.items and seen.items[-1].room == "last")
    assert [key.split()[0] for key in _ledger(seen.items)] == ["last"]
    assert [hub.count(f"room {number}") for number in range(2)] == [0, 0]
    assert list(hub.table._rooms) == ["last"]


def test_threads_join_and_leave_the_same_room(hub: Hub) -> None:
    """In the end the bus knows what the connection knows, and so do those who followed the changes."""
    seen, server = Collector(), FakeServer(hub)
    hub.on_presence(seen)
    seats = [server.connect() for _ in range(3)]

    def work(number: int) -> None:
        for turn in range(RACES):
            seat = seats[(turn + number) % len(seats)]
            seat.join("owls", turn) if (turn * 7 + number) % 3 else seat.leave("owls")

    run_together(*(partial(work, number) for number in range(4)))
    server.connect().join("last", None)
    eventually(lambda: seen.items and seen.items[-1].room == "last")
    here = {f"owls {member.id}": member.info for member in hub.members("owls")}
    assert here == {f"owls {seat.id}": seat.members["owls"].info for seat in seats if seat.rooms}
    assert {key: info for key, info in _ledger(seen.items).items() if key.startswith("owls")} == here


def test_a_hub_closes_while_others_join_and_publish(make_hub: Callable[[], Hub]) -> None:
    """They get an error that says so, or succeed; nothing hangs."""
    for _ in range(RACES // 6):
        hub = make_hub()
        server = FakeServer(hub)
        seats = [server.connect() for _ in range(2)]

        def work(hub: Hub, seat: Any, refusals: set[str]) -> None:
            try:
                for number in range(50):
                    seat.join(f"room {number}", None)
                    hub.publish("n", number, room=f"room {number}")
            except ConnectionError as error:
                refusals.add(str(error))

        refusals: set[str] = set()
        run_together(*(partial(work, hub, seat, refusals) for seat in seats), hub.close)
        assert refusals <= {"the hub is closed"}
        for seat in seats:
            seat.end()


def test_clients_that_do_not_answer_a_close_hold_up_no_handler(hub: Hub) -> None:
    """However many they are."""
    server, seen, go_on = FakeServer(hub), Collector(), Collector()
    hub.on_presence(seen)
    seats = [server.connect() for _ in range(10)]
    for seat in seats:
        client_of(seat).on_close = lambda: go_on.wait(1, scaled(10))
        hub.disconnect(seat.id, 4000)
    seats[0].join("owls", None)
    seen.wait(1)
    assert not go_on.items
    go_on(None)


def test_a_slow_handler_holds_up_no_join(hub: Hub) -> None:
    """Handlers run on a worker of the hub."""
    reached, go_on = Collector(), Collector()

    @hub.on_presence
    def wait(change: PresenceChange) -> None:
        reached(change)
        go_on.wait(1, scaled(10))

    ann = FakeServer(hub).connect()
    assert aside(partial(ann.join, "owls", None)).wait(1) == [None]
    reached.wait(1)
    assert aside(partial(ann.leave, "owls")).wait(1) == [None]
    go_on(None)
    reached.wait(2)


def test_an_interrupt_of_a_leave_leaves_no_ghost(hub: Hub) -> None:
    """At any moment: to leave once more, or the end of the connection, makes up for it."""
    server, number, came_to_it = FakeServer(hub), 0, True
    while came_to_it:
        ann, bob = server.connect(), server.connect()
        for seat in (ann, bob):
            seat.join("owls", None)
            came_to_it = struck(number, partial(seat.leave, "owls"))
        ann.leave("owls")
        bob.end()
        eventually(lambda: hub.members("owls") == [])
        number += 3
        ann.end()


def test_an_interrupt_anywhere_tells_each_change_once() -> None:
    """In order: a member joins before it leaves, and no change is told twice, or never."""
    with MemoryHub() as hub:
        changes = list[tuple[str, str]]()
        hub.on_presence(lambda change: changes.append((change.member.id, change.kind)))
        server, number, came_to_it = FakeServer(hub), 0, True
        while came_to_it:
            came_to_it = False
            ann, bob = server.connect(), server.connect()
            came_to_it |= struck(number, partial(ann.join, "owls", None))
            ann.join("owls", None)
            bob.join("owls", None)
            came_to_it |= struck(number, partial(bob.leave, "owls"))
            bob.leave("owls")
            ann.end()
            allowed = {ann.id: [["join", "leave"], ["join", "update", "leave"]], bob.id: [["join", "leave"]]}
            for id, orders in allowed.items():
                eventually(lambda id=id: (id, "leave") in changes)  # type: ignore[misc]
                assert [kind for of, kind in changes if of == id] in orders, number
            changes.clear()
            number += 1
        assert number > 50
