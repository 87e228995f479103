"""Owners of leases: dead as soon as their lock is free, or the system knows of no such process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from owlsocket_sync import StoreError
from owlsocket_sync.sqlite.owners import FileOwner, OwnFile, is_dead, owner_path, process_start, read_dropped

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="this system has no /proc")


def owner_of(file: OwnFile, started: str | None = None, pid: int | None = None) -> FileOwner:
    """The row of an owner."""
    return FileOwner(1, file.token, file.pid if pid is None else pid, file.started if started is None else started)


def test_an_owner_lives_until_its_file_is_gone(tmp_path: Path) -> None:
    """Or is not locked any more; then the file is deleted."""
    path = str(tmp_path / "queue.db")
    file = OwnFile(path, 0o600)
    owner = owner_of(file)
    assert not is_dead(path, owner)
    file.leave()  # as the system does it at the end of the process
    assert is_dead(path, owner)
    assert not os.path.exists(owner_path(path, owner.token))
    assert is_dead(path, owner)


def test_what_an_owner_forgot_is_in_its_file(tmp_path: Path) -> None:
    """As long as it is there; a note after its end is none."""
    path = str(tmp_path / "queue.db")
    file = OwnFile(path, 0o600)
    assert read_dropped(path, owner_of(file)) == set()
    file.note_dropped(17, 1)
    file.note_dropped(18, 3)
    assert read_dropped(path, owner_of(file)) == {(17, 1), (18, 3)}
    file.remove()
    file.note_dropped(19, 1)
    assert read_dropped(path, owner_of(file)) == set()


@needs_proc
def test_a_lock_that_a_child_has_copied_does_not_keep_an_owner_alive(tmp_path: Path) -> None:
    """Where the process is gone, or its number is another one's by now; unless it is in another container."""
    path = str(tmp_path / "queue.db")
    file = OwnFile(path, 0o600)
    started, _, space = file.started.partition(" ")
    assert not is_dead(path, owner_of(file, started=""))
    assert not is_dead(path, owner_of(file, started=f"1 {space}x"))
    assert is_dead(path, owner_of(file, started=f"{int(started) - 1} {space}"))
    file.remove()
    file = OwnFile(path, 0o600)
    assert is_dead(path, owner_of(file, pid=2**22 + 1))
    file.remove()


@needs_proc
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_has_ended_has_no_start() -> None:
    """Also one whose parent has not been told yet."""
    assert process_start(os.getpid())
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert process_start(child) == ""
    os.waitpid(child, 0)
    assert process_start(child) == ""


def test_without_a_place_for_its_file_there_is_no_owner(tmp_path: Path) -> None:
    """An error of the store, and not one of the system."""
    with pytest.raises(StoreError, match="cannot be made"):
        OwnFile(str(tmp_path / "missing" / "queue.db"), 0o600)
