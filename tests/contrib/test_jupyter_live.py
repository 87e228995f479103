"""Live views: what they show, how often they are drawn, what they keep, and that they stop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from helpers import eventually, scaled

from owlsocket_sync import Backoff, Connection, ConnectionState, connect
from owlsocket_sync.contrib.jupyter import Health, View, Watch, health, watch
from owlsocket_sync.contrib.jupyter.live import Later, _views
from owlsocket_sync.server import Request, Server

ipywidgets = pytest.importorskip("ipywidgets")


@pytest.fixture
def owlsocket_handler() -> Callable[[Connection, Request], object]:
    """Sends so many events."""

    def handler(conn: Connection, request: Request) -> None:
        def burst(count: int, payload: Any = None) -> None:
            for number in range(count):
                conn.notify("tick", number if payload is None else payload)

        conn.perform("burst", burst)

    return handler


def page(view: View) -> str:
    """What the page of a view shows, by the state of its widget."""
    return str(view.widget.children[0].get_state()["value"])


def press(view: View) -> None:
    """Press its button, by the message that a browser sends."""
    pressed = {"method": "custom", "content": {"event": "click"}}
    view.widget.children[1]._handle_msg({"content": {"data": pressed}, "buffers": []})


def drawings(view: View) -> list[str]:
    """What is drawn from now on."""
    drawn: list[str] = []
    view.widget.children[0].observe(lambda change: drawn.append(change["new"]), "value")
    return drawn


def test_the_latest_events_are_shown_and_no_more_are_kept(owlsocket_connection: Connection) -> None:
    """The latest first; of each, a line."""
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


def test_a_flood_is_drawn_as_often_as_was_asked(owlsocket_connection: Connection) -> None:
    """The first one at once, and what there is at the end; nothing is left out of the count."""
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
    """Where one runs, as in a kernel between two cells."""
    conn = owlsocket_connection

    async def look() -> None:
        with watch(conn, "tick", rate=20) as view:
            await asyncio.to_thread(conn.call, "burst", 50)
            while "of 50 events" not in page(view):
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(look(), scaled(10)))


def test_a_loop_that_is_over_is_not_asked(owlsocket_connection: Connection) -> None:
    """A view outlives the one it was made in."""

    async def make() -> tuple[Later, Watch]:
        return Later(), watch(owlsocket_connection, "tick", rate=0.001)

    later, view = asyncio.run(make())
    assert later.call(0.0, lambda: None) is False
    owlsocket_connection.call("burst", 3)
    eventually(lambda: view.count == 3)
    view.close()


def test_what_a_peer_sends_is_text(owlsocket_connection: Connection) -> None:
    """And cut where it is long."""
    conn = owlsocket_connection
    with watch(conn, "*") as view:
        conn.call("burst", 1, "<script>alert(1)</script>" + "x" * 100_000)
        eventually(lambda: view.count == 1)
    assert "&lt;script&gt;" in page(view)
    assert "<script" not in page(view)
    assert len(page(view)) < 3000


def test_a_payload_keeps_its_order_and_is_cut_where_it_is_large(owlsocket_connection: Connection) -> None:
    """At a cost that does not grow with it."""
    payload = {"z": 1, "a": {"b": {"c": {"d": 1}}}, **{f"k{number}": number for number in range(9)}}
    with watch(owlsocket_connection, "*") as view:
        owlsocket_connection.call("burst", 1, payload)
        eventually(lambda: view.count == 1)
    assert "{'z': 1, 'a': {'b': {'c': {...}}}, 'k0': 0, 'k1': 1, 'k2': 2" in unescape(page(view))
    assert "..." in page(view)
    assert "k8" not in page(view)


def test_the_button_ends_the_subscription(owlsocket_connection: Connection) -> None:
    """Nothing is shown afterwards; the button says so."""
    conn = owlsocket_connection
    view = watch(conn, "tick")
    assert not view.closed
    press(view)
    assert view.closed
    assert not conn._observers
    assert not conn._state_handlers
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
    assert not owlsocket_connection._observers


def test_a_cell_that_runs_twice_leaves_one_view(owlsocket_connection: Connection) -> None:
    """The one before stops; one of another event, or of health, does not."""
    conn = owlsocket_connection
    first, other, well = watch(conn, "tick"), watch(conn, "tock"), health(conn)
    second = watch(conn, "tick")
    assert [one.closed for one in (first, other, well, second)] == [True, False, False, False]
    for one in (other, well, second):
        one.close()
    assert not conn._observers


def test_a_view_ends_with_its_connection(owlsocket_connection: Connection) -> None:
    """And one of a connection that has ended begins so."""
    views: list[View] = [watch(owlsocket_connection, "tick"), health(owlsocket_connection)]
    owlsocket_connection.close()
    eventually(lambda: all(view.closed for view in views))
    assert "(closed)" in page(views[1])
    assert health(owlsocket_connection).closed


def test_health_shows_how_a_connection_does(owlsocket_connection: Connection) -> None:
    """Its state and counters, and a line once a round trip was measured."""
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
        eventually(lambda: any("(reconnecting)" in one for one in drawn))
        assert conn.state is ConnectionState.RECONNECTING


def test_health_looks_again_by_the_loop(owlsocket_connection: Connection) -> None:
    """And no more once it is closed."""
    conn = owlsocket_connection

    async def look() -> None:
        with health(conn, every=0.01) as view:
            await asyncio.to_thread(conn.call, "burst", 100)
            while not re.search(r"Messages in/s.*?<bdi>[1-9]", page(view)):
                await asyncio.sleep(0.01)
        before = page(view)
        conn.ping(scaled(5))
        await asyncio.sleep(0.05)
        assert page(view) == before

    asyncio.run(asyncio.wait_for(look(), scaled(10)))


def test_a_view_is_shown_by_the_cell_that_makes_it(owlsocket_connection: Connection) -> None:
    """As a widget, with words for those who have none."""
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
        (lambda conn: health(conn, every=-1), "every"),
        (lambda conn: health(conn, points=True), "points"),
        (lambda conn: health(conn, every=float("nan")), "every"),
    ],
)
def test_an_option_that_is_none_is_named(owlsocket_connection: Connection, make: Any, name: str) -> None:
    """Before anything is subscribed to."""
    with pytest.raises(ValueError, match=name):
        make(owlsocket_connection)
    assert not owlsocket_connection._observers
