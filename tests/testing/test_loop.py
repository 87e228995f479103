"""The event loop of a proxy: commands that time out or fail, and wakeups in the far future."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest

from owlsocket_sync.testing import listener
from owlsocket_sync.testing import loop as loop_module
from owlsocket_sync.testing.loop import Loop, ProxyClosed
from support.ends import Ends, holds_back
from support.helpers import eventually, scaled

NOWHERE = [(socket.AF_INET, ("127.0.0.1", 1))]


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop whose target does not listen."""
    loop = Loop(NOWHERE)
    yield loop
    assert loop.stop()


def test_a_command_that_timed_out_never_runs(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller gets `TimeoutError`; the loop goes on."""
    held, holds, obeyed = threading.Event(), threading.Event(), []
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(loop.run_in_loop, lambda: (holds.set(), held.wait(scaled(10)))[1])
        assert holds.wait(scaled(5))
        monkeypatch.setattr(loop_module, "COMMAND_TIMEOUT", 0.05)
        with pytest.raises(TimeoutError, match=r"did not respond within 0\.05 s"):
            loop.run_in_loop(lambda: obeyed.append(1))
        monkeypatch.undo()
        held.set()
        assert holding.result(scaled(5)) is True
    assert loop.run_in_loop(lambda: list(obeyed)) == []


def test_commands_that_are_queued_at_the_end_fail(loop: Loop) -> None:
    """No caller is left waiting."""
    held, holds = threading.Event(), threading.Event()

    def hold() -> None:
        holds.set()
        held.wait(scaled(10))

    with ThreadPoolExecutor(3) as pool:
        holding = pool.submit(loop.run_in_loop, hold)
        assert holds.wait(scaled(5))
        late = pool.submit(loop.run_in_loop, lambda: None)
        eventually(lambda: len(loop._commands) == 1)
        ending = pool.submit(loop.stop)
        eventually(lambda: loop._stopping)
        held.set()
        assert ending.result(scaled(5)) is True
        holding.result(scaled(5))
        assert isinstance(late.exception(scaled(5)), ProxyClosed)


def test_an_error_of_a_command_reaches_its_caller(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a port that another process took; live connections are served as before."""

    def taken(port: int) -> NoReturn:
        raise OSError(f"{port} is taken")

    monkeypatch.setattr(listener, "_bind", taken)
    with pytest.raises(OSError, match="is taken"):
        ends.proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        ends.join()
    ends.client.send(b"hello")
    assert ends.server.read(5) == b"hello"


def test_a_wakeup_in_the_far_future_does_not_fail(ends: Ends) -> None:
    """A selector accepts no timeout of more than a few weeks."""
    ends.proxy.delay(3e10)
    ends.client.send(b"patience")
    ends.proxy.throttle(1e-300)
    assert holds_back(ends.server)
    ends.proxy.clear()
    assert ends.server.read(8) == b"patience"
