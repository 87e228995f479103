"""Django's handlers: found in the apps, run on workers with database connections of their own; and the signals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import django_project
import pytest
from helpers import Collector, eventually

from owlsocket_sync import AuthenticationStage, Connection, SocketUnauthorized, SocketUnsupported
from owlsocket_sync.server import Request, Server, serve

django_project.set_up()

from contrib.project.shop.models import Order  # noqa: E402
from django.db import connections  # noqa: E402
from django.dispatch import Signal  # noqa: E402

from owlsocket_sync.contrib.django import (  # noqa: E402
    Client,
    client,
    clients,
    connected,
    disconnected,
    event_received,
    observe,
    perform,
)
from owlsocket_sync.contrib.django.registry import entries  # noqa: E402


class Backend:
    """A server's handler that keeps its end of each connection, and what came on it."""

    def __init__(self) -> None:
        self.heard = Collector()
        self._ends: dict[str, Connection] = {}

    def __call__(self, conn: Connection, request: Request) -> None:
        self._ends[request.path] = conn
        conn.observe("*", lambda message: self.heard((message.event, message.payload)))
        conn.on_error(lambda error, context: None)

    def end(self, using: str = "default") -> Connection:
        """The server's end of the connection of an alias, which is connected where it was not yet."""
        clients[using].ping()
        return self._ends[f"/{using}"]


@pytest.fixture
def backend() -> Backend:
    """What is behind the server."""
    return Backend()


@pytest.fixture(autouse=True)
def server(backend: Backend) -> Iterator[Server]:
    """The server of both aliases."""
    with serve(backend) as server:
        entries = {alias: {"URL": f"{server.url}/{alias}"} for alias in ("default", "stock")}
        with django_project.owlsocket(**entries):
            yield server


@pytest.fixture(autouse=True)
def only_those_of_the_apps() -> Iterator[None]:
    """What a test registers is forgotten."""
    before = entries[:]
    yield
    entries[:] = before


def test_an_event_reaches_the_handler_of_an_app(backend: Backend) -> None:
    """Which writes to the database, on a thread of its own, and leaves no database connection open."""
    backend.end().notify("order.paid", {"order": 7})
    assert backend.heard.wait(1) == [("order.noted", 7)]
    assert Order.objects.get().state == "paid"


def test_a_call_is_answered_by_the_handler_of_an_app(backend: Backend) -> None:
    """Each alias has handlers of its own."""
    Order.objects.create(number=1)
    assert backend.end().call("countOrders", "open") == 1
    assert backend.end("stock").call("shelf", "lamp") == "shelf of lamp"
    with pytest.raises(SocketUnsupported):
        backend.end().call("shelf", "lamp")


def test_a_handler_that_comes_late_is_registered_all_the_same(backend: Backend) -> None:
    """Once, on the connection that is there, and on the ones to come."""
    end, calls = backend.end(), Collector()

    @perform("late")
    def late() -> str:
        return "better than never"

    observe("late")(calls)
    assert end.call("late") == "better than never"
    end.notify("late", 1)
    assert [one.payload for one in calls.wait(1)] == [1]
    client.close()
    backend.end().notify("late", 2)
    assert [one.payload for one in calls.wait(2)] == [1, 2]


def test_a_stage_can_be_asked_for(backend: Backend) -> None:
    """Who has not come so far is refused."""

    @perform("secret", stage=AuthenticationStage.AUTHENTICATED)
    def secret() -> int:
        return 42

    with pytest.raises(SocketUnauthorized):
        backend.end().call("secret")
    with pytest.raises(ValueError, match="stage must be a stage of authentication that can be reached"):
        perform("secret", stage=AuthenticationStage.ERROR)


def test_a_decorator_without_a_name_says_how_it_is_written() -> None:
    """Whoever forgets the parentheses learns at once."""
    with pytest.raises(TypeError, match=r'@observe needs a name, as in @observe\("name"\), not function'):
        observe(lambda message: None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the handler of 'x' must be callable, not int"):
        perform("x")(5)  # type: ignore[type-var]


def test_a_handler_gets_a_database_connection_of_its_own_and_leaves_none(backend: Backend) -> None:
    """As a request does: it is closed as soon as the handler returned."""
    seen: list[Any] = []

    @perform("look")
    def look() -> list[Any]:
        database = connections["default"]
        database.ensure_connection()
        seen.append(database)
        return [threading.get_ident(), database.connection is not None]

    thread, open_within = backend.end().call("look")
    assert (thread != threading.get_ident(), open_within) == (True, True)
    eventually(lambda: seen[0].connection is None)


# -- signals -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def told() -> Iterator[Collector]:
    """What the three signals told."""
    collector = Collector()
    receivers: list[tuple[Signal, Callable[..., Any]]] = []
    for name, signal in (("connected", connected), ("disconnected", disconnected), ("event", event_received)):

        def receive(name: str = name, **news: Any) -> None:
            collector({"name": name, **news})

        signal.connect(receive, sender=Client)
        receivers.append((signal, receive))
    yield collector
    for signal, receive in receivers:
        signal.disconnect(receive, sender=Client)


def test_signals_tell_of_links_and_events(backend: Backend, told: Collector) -> None:
    """With the client that it is about."""
    end = backend.end("stock")
    end.notify("hoot", {"at": "night"})
    came = told.wait(2)
    assert [one["name"] for one in came] == ["connected", "event"]
    assert came[0]["client"] is clients["stock"]
    assert (came[1]["message"].event, came[1]["message"].payload) == ("hoot", {"at": "night"})
    end.close(1001, "going")
    end = told.wait(4)[2]
    assert (end["name"], end["code"], end["reason"]) == ("disconnected", 1001, "going")
    assert told.items[3]["name"] == "connected"


def test_closing_is_told_once(backend: Backend, told: Collector) -> None:
    """A connection that is closed for good is disconnected."""
    client.ping()
    told.wait(1)
    client.close()
    assert [one["name"] for one in told.wait(2)] == ["connected", "disconnected"]
    client.ping()
    assert [one["name"] for one in told.wait(3)] == ["connected", "disconnected", "connected"]


def test_a_receiver_that_fails_is_logged_and_keeps_nobody_from_hearing(
    backend: Backend, told: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Signals are sent robustly."""

    def fail(**_: Any) -> None:
        raise RuntimeError("a receiver fell over")

    event_received.connect(fail)
    try:
        backend.end().notify("hoot")
        told.wait(2)
        eventually(lambda: "a receiver fell over" in caplog.text)
    finally:
        event_received.disconnect(fail)
