"""Many rooms, and many members: what a room and a join cost."""

from __future__ import annotations

import gc
import time
import tracemalloc

import pytest

from owlsocket_sync.hub import MemoryHub
from support.helpers import scaled
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
