"""Live views: their content, how often they are drawn, their memory, and how they stop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

from owlsocket_sync import Backoff, Connection, ConnectionState, connect
from owlsocket_sync.contrib.jupyter import Health, View, Watch, health, watch
from owlsocket_sync.contrib.jupyter.live import Debouncer, _views
from owlsocket_sync.server import Request, Server
from support.helpers import eventually, scaled

ipywidgets = pytest.importorskip("ipywidgets")


@pytest.fixture
def owlsocket_handler() -> Callable[[Connection, Request], object]:
    """Send a number of events."""

    def handler(conn: Connection, request: Request) -> None:
        def burst(count: int, payload: Any = None) -> None:
            for number in range(count):
                conn.notify("tick", number if payload is None else payload)

        conn.perform("burst", burst)

    return handler


def page(view: View) -> str:
    """Return the content of a view, from the state of its widget."""
    return str(view.widget.children[0].get_state()["value"])


def press(view: View) -> None:
    """Press the button of a view, with the message that a browser sends."""
    pressed = {"method": "custom", "content": {"event": "click"}}
    view.widget.children[1]._handle_msg({"content": {"data": pressed}, "buffers": []})


def drawings(view: View) -> list[str]:
    """Record all drawings from now on."""
    drawn: list[str] = []
    view.widget.children[0].observe(lambda change: drawn.append(change["new"]), "value")
    return drawn


def test_only_the_latest_events_are_kept_and_shown(owlsocket_connection: Connection) -> None:
    """The latest event first, one line for each."""
    conn = owlsocket_connection
    with watch(conn, "tick", limit=3, rate=1000) as view:
        assert isinstance(view, Watch)
        conn.call("burst", 100)
        eventually(lambda: view.count == 100)
        view.draw()
        assert "the last 3 of 100 events 'tick' (live)" in unescape(page(view))
        assert re.findall(r">(\d+)</bdi>", page(view)) == ["100", "99", "99", "98", "98", "97"]
        assert len(view._rows) == 3
    assert "(stopped)" in page(view)


def test_a_flood_is_drawn_at_the_configured_rate(owlsocket_connection: Connection) -> None:
    """The first event is drawn at once, and the state at the end; all events are counted."""
    conn = owlsocket_connection
    view = watch(conn, "tick", rate=0.001)
    drawn = drawings(view)
    conn.call("burst", 500)
    eventually(lambda: view.count == 500)
    assert len(drawn) == 1
    view.close()
    assert len(drawn) == 2
    assert "of 500 events" in drawn[-1]


def test_the_last_of_a_burst_is_drawn_by_the_loop(owlsocket_connection: Connection) -> None:
    """With an event loop, as in a kernel between two cells."""
    conn = owlsocket_connection

    async def look() -> None:
        with watch(conn, "tick", rate=20) as view:
            await asyncio.to_thread(conn.call, "burst", 50)
            while "of 50 events" not in page(view):
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(look(), scaled(10)))


def test_a_closed_event_loop_is_not_used(owlsocket_connection: Connection) -> None:
    """A view may outlive its event loop."""

    async def make() -> tuple[Debouncer, Watch]:
        return Debouncer(), watch(owlsocket_connection, "tick", rate=0.001)

    later, view = asyncio.run(make())
    assert later.call_later(0.0, lambda: None) is False
    owlsocket_connection.call("burst", 3)
    eventually(lambda: view.count == 3)
    view.close()


def test_what_a_peer_sends_is_text(owlsocket_connection: Connection) -> None:
    """Long payloads are cut."""
    conn = owlsocket_connection
    with watch(conn, "*") as view:
        conn.call("burst", 1, "<script>alert(1)</script>" + "x" * 100_000)
        eventually(lambda: view.count == 1)
    assert "&lt;script&gt;" in page(view)
    assert "<script" not in page(view)
    assert len(page(view)) < 3000


def test_a_payload_keeps_its_order_and_is_truncated(owlsocket_connection: Connection) -> None:
    """At a cost that does not depend on its size."""
    payload = {"z": 1, "a": {"b": {"c": {"d": 1}}}, **{f"k{number}": number for number in range(9)}}
    with watch(owlsocket_connection, "*") as view:
        owlsocket_connection.call("burst", 1, payload)
        eventually(lambda: view.count == 1)
    assert "{'z': 1, 'a': {'b': {'c': {...}}}, 'k0': 0, 'k1': 1, 'k2': 2" in unescape(page(view))
    assert "..." in page(view)
    assert "k8" not in page(view)


def test_the_button_ends_the_subscription(owlsocket_connection: Connection) -> None:
    """Nothing is drawn afterwards, and the button is disabled."""
    conn = owlsocket_connection
    view = watch(conn, "tick")
    assert not view.closed
    press(view)
    assert view.closed
    assert not conn._core.registrations.observers
    assert not conn._core.registrations.state_handlers
    assert _views.get(conn) == {}
    state = view.widget.children[1].get_state()
    assert (state["description"], state["disabled"]) == ("Stopped", True)
    conn.call("burst", 2)
    assert view.count == 0
    assert "stopped" in repr(view)
    view.close()


def test_a_widget_that_is_closed_ends_the_subscription(owlsocket_connection: Connection) -> None:
    """As when a page is cleared."""
    view = watch(owlsocket_connection, "tick")
    view.widget.close()
    assert view.closed
    assert not owlsocket_connection._core.registrations.observers


def test_a_cell_that_runs_twice_leaves_one_view(owlsocket_connection: Connection) -> None:
    """The former view stops; views of another event, or of health, do not."""
    conn = owlsocket_connection
    first, other, well = watch(conn, "tick"), watch(conn, "tock"), health(conn)
    second = watch(conn, "tick")
    assert [view.closed for view in (first, other, well, second)] == [True, False, False, False]
    for view in (other, well, second):
        view.close()
    assert not conn._core.registrations.observers


def test_a_view_ends_with_its_connection(owlsocket_connection: Connection) -> None:
    """A view of a closed connection starts stopped."""
    views: list[View] = [watch(owlsocket_connection, "tick"), health(owlsocket_connection)]
    owlsocket_connection.close()
    eventually(lambda: all(view.closed for view in views))
    assert "(closed)" in page(views[1])
    assert health(owlsocket_connection).closed


def test_health_shows_state_and_counters(owlsocket_connection: Connection) -> None:
    """State and counters, and a chart after the first round trip."""
    conn = owlsocket_connection
    with health(conn) as view:
        assert isinstance(view, Health)
        for words in (conn.name, "(open)", conn.url, "Messages in/s", "Reconnects"):
            assert words in page(view)
        assert "<svg" not in page(view)
        conn.ping(scaled(5))
        view.draw()
        assert "<svg" in page(view)
        assert len(view.latencies) == 1


def test_health_changes_with_the_state(owlsocket_server: Server) -> None:
    """At once, on a worker."""
    with connect(owlsocket_server.url, reconnect=Backoff(60, cap=60, jitter="none")) as conn, health(conn) as view:
        drawn = drawings(view)
        owlsocket_server.connections[0].close(4000)
        eventually(lambda: any("(reconnecting)" in html for html in drawn))
        assert conn.state is ConnectionState.RECONNECTING


@pytest.mark.slow
def test_health_is_refreshed_by_the_event_loop(owlsocket_connection: Connection) -> None:
    """And not after it is closed."""
    conn = owlsocket_connection

    async def look() -> None:
        with health(conn, interval=0.01) as view:
            await asyncio.to_thread(conn.call, "burst", 100)
            while not re.search(r"Messages in/s.*?<bdi>[1-9]", page(view)):
                await asyncio.sleep(0.01)
        before = page(view)
        conn.ping(scaled(5))
        await asyncio.sleep(0.05)
        assert page(view) == before

    asyncio.run(asyncio.wait_for(look(), scaled(10)))


def test_a_view_is_shown_by_the_cell_that_makes_it(owlsocket_connection: Connection) -> None:
    """As a widget, with text for other frontends."""
    with watch(owlsocket_connection, "tick") as view:
        shown = view._repr_mimebundle_()
        assert shown["application/vnd.jupyter.widget-view+json"]["model_id"] == view.widget.model_id
        assert shown["text/plain"] == f"<Watch of event tick on {owlsocket_connection.name!r}, live>"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda conn: watch(conn, limit=0), "limit"),
        (lambda conn: watch(conn, limit=True), "limit"),
        (lambda conn: watch(conn, rate=0), "rate"),
        (lambda conn: health(conn, interval=-1), "interval"),
        (lambda conn: health(conn, points=True), "points"),
        (lambda conn: health(conn, interval=float("nan")), "interval"),
    ],
)
def test_an_invalid_option_is_named(owlsocket_connection: Connection, make: Any, name: str) -> None:
    """Before any subscription."""
    with pytest.raises(ValueError, match=name):
        make(owlsocket_connection)
    assert not owlsocket_connection._core.registrations.observers
