"""Wake files: a byte wakes the thread that waits, and those that are gone are passed over."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest

from owlsocket_sync import StoreError
from owlsocket_sync.sqlite.wake import WakeFile, remove_wake_file, wake
from support.helpers import scaled
from support.linked import aside


def test_a_thread_waits_until_it_is_woken(tmp_path: Path) -> None:
    """However often; a wake-up that came before the wait ends it."""
    path = str(tmp_path / "hub.db")
    file = WakeFile(path, "a", 0o600)
    waiting = aside(partial(file.wait, scaled(30)))
    wake(path, ["gone", "a"])
    waiting.wait(1)
    for _ in range(100_000):
        wake(path, ["a"])  # the last ones find no room, and need none
    began = time.monotonic()
    file.wait(scaled(30))
    assert time.monotonic() - began < scaled(10)
    file.wait(0.01)
    file.remove()
    assert os.listdir(tmp_path) == []
    wake(path, ["a"])
    assert os.listdir(tmp_path) == []


def test_the_file_of_a_process_that_died_is_removed(tmp_path: Path) -> None:
    """By another one; and a file that cannot be made is an error."""
    path = str(tmp_path / "hub.db")
    file = WakeFile(path, "a", 0o600)
    with pytest.raises(StoreError, match="cannot be made"):
        WakeFile(path, "a", 0o600)
    for _ in range(2):
        remove_wake_file(path, "a")
    file.leave()
    file.remove()
