"""Django handlers: discovered in the apps, run on workers with database connections of their own; and the signals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from owlsocket_sync import AuthenticationStage, Connection, SocketUnauthorized, SocketUnsupported
from owlsocket_sync.server import Request, Server, serve
from support import django_project
from support.helpers import Collector, eventually

django_project.set_up()

from django.db import connections  # noqa: E402
from django.dispatch import Signal  # noqa: E402

from contrib.project.shop.models import Order  # noqa: E402
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
from owlsocket_sync.contrib.django.registry import handler_entries  # noqa: E402


class Backend:
    """A handler of the server that records connections and messages."""

    def __init__(self) -> None:
        self.heard = Collector()
        self._ends: dict[str, Connection] = {}

    def __call__(self, conn: Connection, request: Request) -> None:
        self._ends[request.path] = conn
        conn.observe("*", lambda message: self.heard((message.event, message.payload)))
        conn.on_error(lambda error, context: None)

    def end(self, using: str = "default") -> Connection:
        """The server's end of the connection of an alias, which is connected if necessary."""
        clients[using].ping()
        return self._ends[f"/{using}"]


@pytest.fixture
def backend() -> Backend:
    """The records of the server."""
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
    """Handlers that a test registers are removed afterwards."""
    before = handler_entries[:]
    yield
    handler_entries[:] = before


def test_an_app_handles_an_event(backend: Backend) -> None:
    """The handler writes to the database on its own thread, and leaves no database connection open."""
    backend.end().notify("order.paid", {"order": 7})
    assert backend.heard.wait(1) == [("order.noted", 7)]
    assert Order.objects.get().state == "paid"


def test_an_app_performs_a_call(backend: Backend) -> None:
    """Each alias has handlers of its own."""
    Order.objects.create(number=1)
    assert backend.end().call("countOrders", "open") == 1
    assert backend.end("stock").call("shelf", "lamp") == "shelf of lamp"
    with pytest.raises(SocketUnsupported):
        backend.end().call("shelf", "lamp")


def test_a_late_handler_is_registered_on_the_connection(backend: Backend) -> None:
    """A handler is registered once on the existing connection, and on later ones."""
    end, calls = backend.end(), Collector()

    @perform("late")
    def late() -> str:
        return "better than never"

    observe("late")(calls)
    assert end.call("late") == "better than never"
    end.notify("late", 1)
    assert [event.payload for event in calls.wait(1)] == [1]
    client.close()
    backend.end().notify("late", 2)
    assert [event.payload for event in calls.wait(2)] == [1, 2]


def test_a_handler_may_require_a_stage(backend: Backend) -> None:
    """A caller that has not reached the stage is rejected."""

    @perform("secret", stage=AuthenticationStage.AUTHENTICATED)
    def secret() -> int:
        return 42

    with pytest.raises(SocketUnauthorized):
        backend.end().call("secret")
    with pytest.raises(ValueError, match="stage must be a reachable stage of authentication"):
        perform("secret", stage=AuthenticationStage.ERROR)


def test_a_decorator_without_a_name_raises() -> None:
    """Missing parentheses raise at the decoration."""
    with pytest.raises(TypeError, match=r'@observe needs a name, as in @observe\("name"\), not function'):
        observe(lambda message: None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the handler of 'x' must be callable, not int"):
        perform("x")(5)  # type: ignore[type-var]


def test_a_handler_has_its_own_database_connection_and_closes_it(backend: Backend) -> None:
    """An expired connection is closed after the handler, as after a request."""
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
def signalled() -> Iterator[Collector]:
    """The arguments of the three signals."""
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


def test_signals_report_links_and_events(backend: Backend, signalled: Collector) -> None:
    """Each signal has the client as an argument."""
    end = backend.end("stock")
    end.notify("hoot", {"at": "night"})
    came = signalled.wait(2)
    assert [signal["name"] for signal in came] == ["connected", "event"]
    assert came[0]["client"] is clients["stock"]
    assert (came[1]["message"].event, came[1]["message"].payload) == ("hoot", {"at": "night"})
    end.close(1001, "going")
    end = signalled.wait(4)[2]
    assert (end["name"], end["code"], end["reason"]) == ("disconnected", 1001, "going")
    assert signalled.items[3]["name"] == "connected"


def test_closing_sends_one_disconnected(backend: Backend, signalled: Collector) -> None:
    """A closed connection sends one ``disconnected``."""
    client.ping()
    signalled.wait(1)
    client.close()
    assert [signal["name"] for signal in signalled.wait(2)] == ["connected", "disconnected"]
    client.ping()
    assert [signal["name"] for signal in signalled.wait(3)] == ["connected", "disconnected", "connected"]


def test_a_failing_receiver_is_logged_and_others_still_run(
    backend: Backend, signalled: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Signals are sent robustly."""

    def fail(**_: Any) -> None:
        raise RuntimeError("a receiver fell over")

    event_received.connect(fail)
    try:
        backend.end().notify("hoot")
        signalled.wait(2)
        eventually(lambda: "a receiver fell over" in caplog.text)
    finally:
        event_received.disconnect(fail)
