"""One order for all clients of a hub, whichever threads publish, and whatever holds one of them up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from owlsocket_sync.hub import Hub, MemoryHub, delivery_log
from support.helpers import eventually, scaled, whole
from support.linked import aside
from support.seats import FakeServer, client_of, received, run_together
from support.strikes import struck

THREADS, BURST = 5, whole(2_000, 20_000)


def publish_burst(hubs: list[Hub], rooms: list[str]) -> None:
    """Publish a row of events to the rooms from each of some threads."""

    def publish(thread: int) -> None:
        for number in range(BURST // THREADS):
            hubs[thread % len(hubs)].publish("n", [thread, number], room=rooms[number % len(rooms)])

    run_together(*(partial(publish, thread) for thread in range(THREADS)))


@pytest.mark.parametrize("nodes", [1, 2])
def test_row_b6_a_burst_has_one_order_everywhere(make_hub: Callable[[], Hub], nodes: int) -> None:
    """None is lost, on any server of any node; those of one thread are in its order."""
    hubs = [make_hub() for _ in range(nodes)]
    seats = [FakeServer(hub, "s").connect() for hub in hubs for _ in range(4)]
    for seat in seats:
        seat.join("owls", None)
    publish_burst(hubs, ["owls"])
    first, *others = received(*seats)
    assert len(first) == BURST
    assert all(other == first for other in others)
    for thread in range(THREADS):
        assert [number for sender, number in first if sender == thread] == list(range(BURST // THREADS))


def test_what_was_published_is_on_its_way_when_the_call_returns() -> None:
    """Also where another thread has the turn."""
    with MemoryHub() as hub:
        ann = FakeServer(hub).connect()

        def publish(thread: int) -> None:
            for number in range(200):
                hub.publish("n", [thread, number])
                assert [thread, number] in client_of(ann).got

        run_together(*(partial(publish, thread) for thread in range(THREADS)))


def test_a_delivery_inside_of_a_delivery() -> None:
    """What a client's delivery publishes on the same thread is there when that goes on; nothing comes twice."""
    with MemoryHub() as hub:
        server = FakeServer(hub)
        clients = [client_of(server.connect()) for _ in range(3)]

        def publish_more(payload: Any) -> None:
            if payload == "outer":
                hub.publish("n", "inner")
                assert clients[2].got[-1] == "inner"

        clients[0].on_send = publish_more
        hub.publish("n", "outer")
        assert [sorted(client.got) for client in clients] == [["inner", "outer"]] * 3
        assert clients[2].got == ["outer", "inner"]


def test_a_delivery_that_is_held_up_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread that waits; the order of the other clients stays, and nothing comes twice."""
    monkeypatch.setattr(delivery_log, "HELD_UP_SECONDS", 0.02)
    with MemoryHub() as hub:
        server = FakeServer(hub)
        clients = [client_of(server.connect()) for _ in range(3)]
        reached, go_on = threading.Event(), threading.Event()

        def hold_up(payload: Any) -> None:
            if payload == 1:
                reached.set()
                assert go_on.wait(scaled(10))

        clients[1].on_send = hold_up
        first = aside(partial(hub.publish, "n", 1))
        assert reached.wait(scaled(5))
        hub.publish("n", 2)  # waits for the first, which waits for this one to return
        go_on.set()
        assert first.wait(1) == [None]
        hub.publish("n", 3)
        assert [client.got for client in clients] == [[1, 2, 3], [2, 1, 3], [1, 2, 3]]


def test_an_error_of_one_client_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the others get the event, and all get the next one."""
    with MemoryHub() as hub:
        server = FakeServer(hub)
        clients = [client_of(server.connect()) for _ in range(3)]

        def fail(payload: Any) -> None:
            if payload == 1:
                raise RuntimeError("broken outlet")

        clients[1].on_send = fail
        hub.publish("n", 1)
        hub.publish("n", 2)
        assert [client.got for client in clients] == [[1, 2], [2], [1, 2]]
        assert "a delivery of the hub failed" in caplog.text


def test_an_audience_that_cannot_be_found_stops_no_entry(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is logged once."""
    with MemoryHub() as hub:
        ann = client_of(FakeServer(hub).connect())
        audience = hub.table.audience
        monkeypatch.setattr(hub.table, "audience", lambda publication: 1 / 0)
        hub.publish("n", 1)
        monkeypatch.setattr(hub.table, "audience", audience)
        hub.publish("n", 2)
        assert ann.got == [2]
        assert caplog.text.count("a delivery of the hub failed") == 1


def test_an_interrupt_anywhere_leaves_the_hub_as_it_was() -> None:
    """The next event of another thread reaches all, after the rest of the one that was interrupted."""
    with MemoryHub() as hub:
        server = FakeServer(hub)
        seats = [server.connect() for _ in range(2)]
        for seat in seats:
            seat.join("owls", None)
        number, came_to_it = 0, True
        while came_to_it:
            came_to_it = struck(number, partial(hub.publish, "n", number, room="owls"))
            assert aside(partial(hub.publish, "n", "next", room="owls")).wait(1) == [None]
            for seat in seats:
                client = client_of(seat)
                assert client.got in ([number, "next"], ["next"])
                client.got.clear()
            number += 1
        assert number > 20


def test_a_signal_handler_publishes_within_a_publication() -> None:
    """Wherever it interrupts the thread: both reach every client once."""
    with MemoryHub() as hub:
        clients = [client_of(FakeServer(hub).connect()) for _ in range(2)]
        number, came_to_it = 0, True
        while came_to_it:
            came_to_it = struck(number, partial(hub.publish, "n", "thread"), partial(hub.publish, "n", "handler"))
            for client in clients:
                assert sorted(client.got) == (["handler", "thread"] if came_to_it else ["thread"])
                client.got.clear()
            number += 1
        assert number > 20


def test_a_slow_delivery_that_goes_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes progress, so it keeps its turn, and the order."""
    monkeypatch.setattr(delivery_log, "HELD_UP_SECONDS", 0.05)
    with MemoryHub() as hub:
        server = FakeServer(hub)
        clients = [client_of(server.connect()) for _ in range(10)]
        tick = threading.Event()
        for client in clients:
            client.on_send = lambda payload: payload == 1 and tick.wait(0.01)
        first = aside(partial(hub.publish, "n", 1))
        eventually(lambda: clients[0].got)
        hub.publish("n", 2)
        assert first.wait(1) == [None]
        assert [client.got for client in clients] == [[1, 2]] * 10
