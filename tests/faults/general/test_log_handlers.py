"""A logging handler that raises, sleeps or calls, at each record of a scenario: nothing hangs, and no link is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from owlsocket_sync import connections
from support.everything import Everything, package_threads
from support.helpers import eventually, scaled, whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOGGER = logging.getLogger("owlsocket_sync")


class Misbehaving(logging.Handler):
    """Does something at one record, or at each.

    Args:
        act: what it does.
        at: the number of the record, ``None`` for each.
    """

    def __init__(self, act: Callable[[], object], at: int | None) -> None:
        super().__init__()
        self._act = act
        self._at = at
        self._within = threading.local()
        self.count = 0

    def handle(self, record: logging.LogRecord) -> bool:
        """Take no lock: what it does may log, on another thread that is waited for."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        number, self.count = self.count, self.count + 1
        if getattr(self._within, "acts", False) or self._at not in (None, number):
            return
        self._within.acts = True
        try:
            self._act()
        finally:
            self._within.acts = False


@contextmanager
def misbehaving(act: Callable[[], object], at: int | None = None) -> Iterator[Misbehaving]:
    """Add such a handler, to records of each level."""
    handler, level = Misbehaving(act, at), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def fail() -> None:
    """Raise, as a handler does whose disk is full and which does not ask `logging.Handler.handleError`."""
    raise OSError(28, "No space left on device")


def rest() -> None:
    """Take a while, as a handler that sends over a network."""
    threading.Event().wait(0.05)


def talk() -> None:
    """Use the connections of the process, as a handler that sends records over one of them."""
    for conn in connections():
        for verb in (lambda conn=conn: conn.notify("log", 1), lambda conn=conn: conn.call("echo", 1, timeout=0.1)):
            try:
                verb()  # type: ignore[no-untyped-call]
            except Exception:
                pass  # such as that of a connection that is closing


ACTS = {"raises": fail, "sleeps": rest, "calls": talk}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_handler_that_misbehaves_at_each_record(act: Callable[[], None]) -> None:
    """The scenario is completed without an error."""
    with misbehaving(act) as handler:
        Everything(lambda name: None).run()
    assert handler.count > 5
    eventually(lambda: not package_threads(), 10)


@pytest.mark.stress
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_handler_that_misbehaves_at_one_record(act: Callable[[], None]) -> None:
    """At each of them, one after the other."""
    with misbehaving(lambda: None) as handler:
        Everything(lambda name: None).run()
    for at in range(0, handler.count, whole(4, 1)):
        with misbehaving(act, at):
            Everything(lambda name: None).run()


def test_closing_keeps_its_deadline_whatever_a_handler_does() -> None:
    """A handler that stands still for longer than the timeout holds up its own thread alone."""
    going_on = threading.Event()
    with Everything(lambda name: None).serve() as server:
        conn = Everything(lambda name: None).connect(server)
        with misbehaving(lambda: going_on.wait(scaled(20))):
            closer = threading.Thread(target=conn.close, kwargs={"timeout": 0.2}, name="test-closer")
            closer.start()
            eventually(lambda: conn._core.carrier.state.value in ("closing", "closed"))
            going_on.set()
        closer.join(scaled(10))
        assert not closer.is_alive()
