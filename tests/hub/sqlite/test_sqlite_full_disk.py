"""A disk that is full under a hub in a file: what cannot be written is refused, and later all goes on."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from owlsocket_sync import StoreFull
from owlsocket_sync.hub import SqliteHub
from support.helpers import eventually, scaled
from support.seats import FakeServer, client_of, received

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB; the test is skipped where it cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a file system, and not everywhere")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave no room on a disk."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


def test_a_disk_without_room_refuses_and_loses_nothing(small_disk: Path) -> None:
    """Nothing is half written, and no file is set aside: events and presence go on in order."""
    path = small_disk / "hub.db"
    with SqliteHub(path) as hub, SqliteHub(path) as other:
        here, there = FakeServer(hub), FakeServer(other)
        ann, bob, eve = here.connect(), there.connect(), here.connect()
        for seat in (ann, bob):
            seat.join("owls", None)
        other.publish("n", 0, room="owls")
        received(ann, bob)
        fill(small_disk)
        published, refused = [0], 0
        began = time.monotonic()
        for number in range(1, 101):
            try:
                hub.publish("n", [number, "x" * 20_000], room="owls")
            except StoreFull:
                refused += 1
            else:
                published.append(number)
        with pytest.raises(StoreFull, match=r"hub\.db: there is no room"):
            eve.join("owls", "y" * 200_000)
        assert time.monotonic() - began < scaled(5.0)
        assert refused > 0
        assert eve.rooms == []
        bob.end()
        (small_disk / "filler").unlink()
        eventually(lambda: [member.id for member in other.members("owls")] == [ann.id])
        eve.join("owls", None)
        other.publish("n", 101, room="owls")
        received(ann, eve)
        got = [payload if isinstance(payload, int) else payload[0] for payload in client_of(ann).got]
        assert got == [*published, 101]
        assert client_of(eve).got == [101]
        assert [member.id for member in hub.members("owls")] == [ann.id, eve.id]
        assert not [name for name in os.listdir(small_disk) if "corrupt" in name]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_hub_that_is_opened_on_a_full_disk_says_so(small_disk: Path, is_there: bool) -> None:
    """Whether its file has to be made, or only those beside it; it works once there is room."""
    path = small_disk / "hub.db"
    if is_there:
        with SqliteHub(path) as before:
            before.publish("n", 1)
    fill(small_disk)
    with SqliteHub(path) as hub:
        uses: list[Callable[[], object]] = [hub.listen, lambda: hub.publish("n", 1), lambda: hub.members("owls")]
        for use in uses:
            with pytest.raises(StoreFull, match="there is no room on the disk"):
                use()
        (small_disk / "filler").unlink()
        seat = FakeServer(hub).connect()
        seat.join("owls", None)
        hub.publish("n", 2, room="owls")
        assert received(seat) == [[2]]
