"""The thread of a proxy, when it is kept from its work, told to do what fails, or made to look far ahead."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest
from ends import Ends, holds_back
from helpers import eventually, scaled

from owlsocket_sync.testing import door
from owlsocket_sync.testing import loop as loop_module
from owlsocket_sync.testing.loop import Loop, ProxyClosed

NOWHERE = [(socket.AF_INET, ("127.0.0.1", 1))]


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop in front of nothing."""
    loop = Loop(NOWHERE)
    yield loop
    assert loop.stop()


def test_a_command_that_is_not_obeyed_in_time_is_never_obeyed(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gave it learns that; the thread goes on."""
    held, holds, obeyed = threading.Event(), threading.Event(), []
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(loop.do, lambda: (holds.set(), held.wait(scaled(10)))[1])
        assert holds.wait(scaled(5))
        monkeypatch.setattr(loop_module, "COMMAND_SECONDS", 0.05)
        with pytest.raises(TimeoutError, match=r"did not obey within 0\.05 s"):
            loop.do(lambda: obeyed.append(1))
        monkeypatch.undo()
        held.set()
        assert holding.result(scaled(5)) is True
    assert loop.do(lambda: list(obeyed)) == []


def test_what_was_not_obeyed_when_it_ends_is_refused(loop: Loop) -> None:
    """Nobody is left waiting."""
    held, holds = threading.Event(), threading.Event()

    def hold() -> None:
        holds.set()
        held.wait(scaled(10))

    with ThreadPoolExecutor(3) as pool:
        holding = pool.submit(loop.do, hold)
        assert holds.wait(scaled(5))
        late = pool.submit(loop.do, lambda: None)
        eventually(lambda: len(loop._commands) == 1)
        ending = pool.submit(loop.stop)
        eventually(lambda: loop._stopping)
        held.set()
        assert ending.result(scaled(5)) is True
        holding.result(scaled(5))
        assert isinstance(late.exception(scaled(5)), ProxyClosed)


def test_what_goes_wrong_is_told_to_who_asked(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a port that another process took; who is connected is served as before."""

    def taken(port: int) -> NoReturn:
        raise OSError(f"{port} is taken")

    monkeypatch.setattr(door, "_bound", taken)
    with pytest.raises(OSError, match="is taken"):
        ends.proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        ends.join()
    ends.client.send(b"hello")
    assert ends.server.read(5) == b"hello"


def test_what_is_due_in_a_thousand_years_is_waited_for(ends: Ends) -> None:
    """The system waits no longer than some weeks at a time."""
    ends.proxy.delay(3e10)
    ends.client.send(b"patience")
    ends.proxy.throttle(1e-300)
    assert holds_back(ends.server)
    ends.proxy.clear()
    assert ends.server.read(8) == b"patience"
