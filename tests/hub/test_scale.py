"""Many rooms, and many members: what a room and a join cost."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable

import pytest

from owlsocket_sync import connect
from owlsocket_sync.hub import Hub, MemoryHub
from owlsocket_sync.server import serve
from support.handlers import echo
from support.helpers import eventually, scaled, whole
from support.seats import FakeServer, client_of

ROOMS, FEWER = 10_000, 1_000


@pytest.mark.timing
def test_row_b7_ten_thousand_rooms_and_joins() -> None:
    """Within a second or so."""
    with MemoryHub() as hub:
        server = FakeServer(hub)
        seats = [server.connect() for _ in range(100)]
        began = time.monotonic()
        for number in range(ROOMS):
            seats[number % 100].join(f"room {number}", number)
        assert time.monotonic() - began < scaled(2)
        hub.publish("n", 1, room="room 4711")
        assert [client_of(seat).got for seat in seats].count([1]) == 1


def test_a_room_takes_bounded_memory_until_it_is_empty() -> None:
    """Nothing is left of it then, but the free places of two tables."""
    with MemoryHub() as hub:
        seat = FakeServer(hub).connect()
        assert seat.id
        gc.collect()
        tracemalloc.start()
        for number in range(FEWER):
            seat.join(f"room {number}", number)
        each = tracemalloc.get_traced_memory()[0] / FEWER
        seat.end()
        gc.collect()
        left = tracemalloc.get_traced_memory()[0] / FEWER
        tracemalloc.stop()
        assert (hub.table._rooms, hub.count("room 1")) == ({}, 0)
        assert each < 2_000  # two tables of 232 bytes, a member, and the name
        assert left < 150


def test_ten_thousand_members_of_one_room() -> None:
    """To join and to leave cost the same however many are there."""
    with MemoryHub() as hub:
        server = FakeServer(hub)
        seats = [server.connect() for _ in range(ROOMS)]
        for seat in seats:
            seat.join("owls", None)
        assert hub.count("owls") == len(hub.members("owls")) == ROOMS
        hub.publish("n", 1, room="owls", exclude=[seats[0].id])
        assert [client_of(seat).got for seat in seats] == [[], *([[1]] * (ROOMS - 1))]
        for seat in seats:
            seat.leave("owls")
        assert hub.count("owls") == 0


@pytest.mark.stress
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the descriptors of a process there")
def test_hubs_that_are_opened_and_closed_leave_nothing(make_hub: Callable[[], Hub]) -> None:
    """No thread and no descriptor, with a server or without, however often."""

    def cycle(number: int) -> None:
        with make_hub() as hub:
            hub.on_presence(lambda change: None)
            if number % 5:
                FakeServer(hub).connect().join("owls", number)
            else:
                with serve(echo, hub=hub) as server, connect(server.url) as conn:
                    assert conn.call("echo", number) == number
            hub.publish("n", number, room="owls")

    def in_use() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    kept = make_hub()
    kept.publish("n", 1)
    for number in range(6):
        cycle(number)
    before = in_use()
    for number in range(whole(15, 500)):
        cycle(number)
    eventually(lambda: in_use() <= before)
    assert (kept.count("owls"), kept.servers()) == (0, [])
