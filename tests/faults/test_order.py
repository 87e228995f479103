"""The order in which handlers are started: that in which messages came on one link, whatever their kinds."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from owlsocket_sync import AuthenticationStage, Connection
from support.helpers import Collector, scaled, whole
from support.loads import both_ends

both_sides = pytest.mark.parametrize("side", ["client", "server"])


def _register(performer: Connection, started: Collector) -> None:
    """Handlers of every kind that note their start."""

    def authenticate(stage: Any, payload: Any) -> tuple[Any, Any]:
        started("auth")
        return stage, payload

    def acknowledge(id: Any, payload: Any) -> bool:
        started("request")
        return True

    performer.observe("first", lambda message: started("event"))
    performer.observe("other", lambda message: started("other event"))
    performer.perform("call", partial(started, "call"))
    performer.acknowledge(acknowledge)
    performer.authenticate = authenticate


def _send(asker: Connection) -> None:
    """One message of each kind, in one write."""
    with asker.batch():
        asker.notify("first")
        asker.submit("call")
        asker.request(None)
        asker.notify("other")
        asker.auth(AuthenticationStage.AUTHENTICATE, None, timeout=scaled(5))  # sends what was gathered, and waits


@pytest.fixture
def slow_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that starts another one is held up, so that the other one is there first."""
    start, never = threading.Thread.start, threading.Event()

    def start_slowly(thread: threading.Thread) -> None:
        start(thread)
        if threading.current_thread().name.endswith("-worker"):
            never.wait(scaled(0.2))

    monkeypatch.setattr(threading.Thread, "start", start_slowly)


@both_sides
@pytest.mark.usefixtures("slow_starts")
def test_handlers_are_started_in_the_order_of_their_messages(side: str) -> None:
    """Events, calls, requests and authentication in turn, also while workers are being started."""
    started = Collector()
    with both_ends(side, workers=4) as (asker, performer):
        _register(performer, started)
        _send(asker)
        assert started.wait(5) == ["event", "call", "request", "other event", "auth"]


@both_sides
def test_a_handler_that_lasts_holds_up_no_other_kind(side: str) -> None:
    """What came behind it is started while it lasts, in order; its own event waits."""
    started, go = Collector(), threading.Event()

    def hang(_: object) -> None:
        started("hangs")
        assert go.wait(scaled(10))

    with both_ends(side, workers=4) as (asker, performer):
        performer.observe("slow", hang)
        _register(performer, started)
        asker.notify("slow")
        asker.notify("slow")
        _send(asker)
        assert started.wait(6) == ["hangs", "event", "call", "request", "other event", "auth"]
        go.set()
        assert started.wait(7)[-1] == "hangs"


@pytest.mark.slow
@pytest.mark.stress
@both_sides
def test_a_call_finds_what_the_event_before_it_has_set(side: str) -> None:
    """A program that notifies, and then calls, never gets an answer from before the event."""
    rounds, clients = whole(1500, 20_000), whole(2, 4)
    stale: list[tuple[int, int]] = []

    def ask() -> None:
        with both_ends(side, workers=4) as (asker, performer):
            state = [0]
            performer.observe("set", lambda message: state.__setitem__(0, message.payload))
            performer.perform("get", lambda: state[0])
            for number in range(1, rounds + 1):
                asker.notify("set", number)
                found = asker.call("get", timeout=scaled(10))
                if found != number:
                    stale.append((number, found))

    askers = [threading.Thread(target=ask) for _ in range(clients)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert stale == []
