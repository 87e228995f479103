"""What is logged: one line for each change of the state, with its facts as fields, and no secrets."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from handlers import drop_link, echo
from helpers import eventually, scaled
from pair import make_pair

from owlsocket_sync import Backoff, Connection, ConnectionState, Ending, EventMessage, StateChange, connect
from owlsocket_sync.server import Request, serve
from owlsocket_sync.testing import FaultProxy

FIELDS = "connection url state previous code reason links error".split()


def lines(caplog: pytest.LogCaptureFixture, name: str, level: int = logging.INFO) -> list[dict[str, Any]]:
    """The fields of what was logged of a connection, at this level or above."""
    return [
        {"level": record.levelname, "text": record.getMessage(), **fields_of(record)}
        for record in caplog.records
        if record.levelno >= level and fields_of(record).get("connection") == name
    ]


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of ours."""
    return {key[len("owlsocket_") :]: value for key, value in vars(record).items() if key.startswith("owlsocket_")}


def test_each_change_of_the_state_is_one_line_with_its_facts(caplog: pytest.LogCaptureFixture) -> None:
    """And there is nothing else at INFO, however much is called."""
    caplog.set_level(logging.INFO, "owlsocket_sync")

    def handler(conn: Connection, request: Request) -> None:
        echo(conn, request)
        conn.perform("drop", lambda: drop_link(conn))

    with serve(handler) as server:
        with connect(f"{server.url}/?token=hush", name="till") as conn:
            for number in range(5):
                assert conn.call("echo", number) == number
            conn.notify("news")
            conn.submit("drop")
            eventually(lambda: conn.stats.reconnects == 1 and conn.state is ConnectionState.OPEN)
            url = conn.url
        told = lines(caplog, "till")
    assert [(one["state"], one["previous"], one["links"]) for one in told] == [
        ("open", "connecting", 1),
        ("reconnecting", "open", 1),
        ("open", "reconnecting", 2),
        ("closing", "open", 2),
        ("closed", "closing", 2),
    ]
    assert all([key for key in one if key not in ("level", "text")] == FIELDS for one in told)
    assert {one["url"] for one in told} == {url}
    assert [one["level"] for one in told] == ["INFO", "WARNING", "INFO", "INFO", "INFO"]
    assert told[1]["code"] == 1006
    assert told[1]["error"] == "EOFError"
    assert told[1]["reason"] in told[1]["text"]
    assert told[4]["code"] == 1000
    assert told[0]["code"] is told[0]["error"] is None
    assert "hush" not in caplog.text + repr([vars(record) for record in caplog.records])
    json.dumps(told)  # plain values, for any formatter


def test_an_outage_is_two_warnings(caplog: pytest.LogCaptureFixture) -> None:
    """The loss, and the first attempt that failed; the others are told at DEBUG, with their number."""
    caplog.set_level(logging.DEBUG, "owlsocket_sync")
    with serve(echo) as server, FaultProxy("127.0.0.1", server.port) as proxy:
        with connect(proxy.url(), name="till", reconnect=Backoff(initial=0.02, cap=0.02)) as conn:
            proxy.refuse(True)
            proxy.cut()
            eventually(lambda: sum("attempt" in one for one in lines(caplog, "till", logging.DEBUG)) >= 4)
            proxy.refuse(False)
            conn.wait_open(scaled(10))
        warned = [one for one in lines(caplog, "till") if one["level"] == "WARNING"]
        attempts = [one for one in lines(caplog, "till", logging.DEBUG) if "attempt" in one]
    assert [one.get("state", "an attempt") for one in warned] == ["reconnecting", "an attempt"]
    assert [one["attempt"] for one in attempts[:4]] == [1, 2, 3, 4]
    assert [one["level"] for one in attempts[:4]] == ["DEBUG", "WARNING", "DEBUG", "DEBUG"]
    assert warned[1]["error"] == attempts[2]["error"]
    assert warned[1]["delay"] <= 0.02
    assert "next attempt in" in warned[1]["text"]


def test_a_server_that_cannot_be_reached_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Though the state does not change: who does not wait for the connection hears of it."""
    caplog.set_level(logging.INFO, "owlsocket_sync")
    with serve(echo) as server:
        url = server.url
    with connect(url, name="till", wait=False, reconnect=Backoff(initial=0.02, cap=0.02)):
        eventually(lambda: lines(caplog, "till"))
        [told] = lines(caplog, "till")
    assert (told["level"], told["attempt"], told["error"]) == ("WARNING", 1, "SocketConnectionError")
    assert told["url"].startswith(url)


def test_what_a_peer_gives_as_its_reason_stays_on_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """It cannot forge lines of its own."""
    caplog.set_level(logging.INFO, "owlsocket_sync")
    left, *_ = make_pair()
    left._tell_state(
        StateChange(ConnectionState.CLOSED, ConnectionState.OPEN, 4000, "bye\nERROR root: all is lost\x1b[2J")
    )
    [record] = caplog.records
    assert record.getMessage() == r"left: closed (bye\nERROR root: all is lost\x1b[2J)"
    assert vars(record)["owlsocket_reason"] == "bye\nERROR root: all is lost\x1b[2J"


def test_an_error_that_nobody_handles_is_logged_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    """The verb, the name and the class as fields."""
    left, right, *_ = make_pair()
    right.observe("news", lambda message: 1 / 0)
    left.notify("news")
    [record] = caplog.records
    assert fields_of(record) == {
        "connection": "right",
        "source": "observe",
        "name": "news",
        "error": "ZeroDivisionError",
    }
    assert record.exc_info is not None


def test_what_a_peer_says_stays_on_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """The name of an event and the text of an error can neither forge lines nor steer a terminal."""
    left, right, *_ = make_pair()

    def observer(message: EventMessage) -> None:
        raise ValueError(message.payload)

    right.observe("*", observer)
    left.notify("news\nERROR forged", "\x1b[31m red")
    [record] = caplog.records
    assert record.getMessage() == r"right: observe news\nERROR forged: \x1b[31m red"
    assert vars(record)["owlsocket_name"] == "news\nERROR forged"


def test_what_is_not_logged_is_not_made(caplog: pytest.LogCaptureFixture) -> None:
    """Below its level nothing is put together, the URL not even asked for."""
    caplog.set_level(logging.ERROR, "owlsocket_sync")
    left, _, carrier, _ = make_pair()

    class Unasked(type(carrier)):  # type: ignore[misc]
        @property
        def url(self) -> str:
            raise AssertionError("asked")

    carrier.__class__ = Unasked
    left._tell_state(StateChange(ConnectionState.OPEN, ConnectionState.CONNECTING))
    carrier.close(1000, "", None)  # type: ignore[arg-type]
    assert caplog.records == []
    assert left._carrier.wait_closed(None) == Ending(1000, "")  # type: ignore[arg-type]
