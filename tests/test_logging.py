"""What is logged: one line for each change of the state, with its facts as fields, and no secrets."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from owlsocket_sync import (
    Backoff,
    CloseInfo,
    Connection,
    ConnectionState,
    EventMessage,
    Instrument,
    ResilientError,
    SocketUnsupported,
    StateChange,
    connect,
)
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.protocol.hooks import Operation
from owlsocket_sync.server import Request, serve
from owlsocket_sync.testing import FaultProxy
from support.handlers import drop_link, echo
from support.helpers import eventually, scaled
from support.pair import make_pair

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
        logged = lines(caplog, "till")
    assert [(line["state"], line["previous"], line["links"]) for line in logged] == [
        ("open", "connecting", 1),
        ("reconnecting", "open", 1),
        ("open", "reconnecting", 2),
        ("closing", "open", 2),
        ("closed", "closing", 2),
    ]
    assert all([key for key in line if key not in ("level", "text")] == FIELDS for line in logged)
    assert {line["url"] for line in logged} == {url}
    assert [line["level"] for line in logged] == ["INFO", "WARNING", "INFO", "INFO", "INFO"]
    assert logged[1]["code"] == 1006
    assert logged[1]["error"] == "EOFError"
    assert logged[1]["reason"] in logged[1]["text"]
    assert logged[4]["code"] == 1000
    assert logged[0]["code"] is logged[0]["error"] is None
    assert "hush" not in caplog.text + repr([vars(record) for record in caplog.records])
    json.dumps(logged)  # plain values, for any formatter


def test_an_outage_is_two_warnings(caplog: pytest.LogCaptureFixture) -> None:
    """The loss, and the first attempt that failed; the others are told at DEBUG, with their number."""
    caplog.set_level(logging.DEBUG, "owlsocket_sync")
    with serve(echo) as server, FaultProxy("127.0.0.1", server.port) as proxy:
        with connect(proxy.url(), name="till", reconnect=Backoff(initial=0.02, cap=0.02)) as conn:
            proxy.refuse(True)
            proxy.cut()
            eventually(lambda: sum("attempt" in line for line in lines(caplog, "till", logging.DEBUG)) >= 4)
            proxy.refuse(False)
            conn.wait_open(scaled(10))
        warned = [line for line in lines(caplog, "till") if line["level"] == "WARNING"]
        attempts = [line for line in lines(caplog, "till", logging.DEBUG) if "attempt" in line]
    assert [line.get("state", "an attempt") for line in warned] == ["reconnecting", "an attempt"]
    assert [line["attempt"] for line in attempts[:4]] == [1, 2, 3, 4]
    assert [line["level"] for line in attempts[:4]] == ["DEBUG", "WARNING", "DEBUG", "DEBUG"]
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
        [logged] = lines(caplog, "till")
    assert (logged["level"], logged["attempt"], logged["error"]) == ("WARNING", 1, "SocketConnectionError")
    assert logged["url"].startswith(url)


def test_what_a_peer_gives_as_its_reason_stays_on_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """It cannot forge lines of its own."""
    caplog.set_level(logging.INFO, "owlsocket_sync")
    left, *_ = make_pair()
    left._core.state_changed(
        StateChange(ConnectionState.CLOSED, ConnectionState.OPEN, 4000, "bye\nERROR root: all is lost\x1b[2J"), 1
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


def test_errors_of_one_kind_are_one_record_a_second_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    """A peer that sends garbage all day must not fill the disk; what was left out is told, at the latest at the end."""
    _, right, *_ = make_pair()
    for _ in range(1_000):
        right.receive("garbage")
    right.receive('{"type":"zzz"}')
    assert len(caplog.records) == 2
    right.close()
    assert len(caplog.records) == 3
    assert caplog.records[-1].getMessage() == "right: receive  SocketMessageMalformed (999 more like this)"


def test_a_malformed_message_shows_its_beginning_but_no_token(caplog: pytest.LogCaptureFixture) -> None:
    """Developers need the former; an auth message is hidden, however it is broken."""
    _, right, *_ = make_pair()
    right.receive('{"type":"foo","payload":"seen\\n' + 1_000 * "x" + '"}')
    right.receive('{"type":"auth","stage":5,"payload":"hush"}')
    right.receive('{"type":"auth","payload":"hush')
    assert "seen" in caplog.text
    assert "hush" not in caplog.text
    assert len(caplog.records[0].getMessage()) < 300


def test_the_names_of_a_peer_do_not_make_a_log_grow(caplog: pytest.LogCaptureFixture) -> None:
    """Names are cut at 200 characters, and no more than a few hundred of them are told apart."""
    left, right, *_ = make_pair()
    operations: list[str] = []

    class Watch(Instrument):
        def on_observe_start(self, event: Operation) -> None:
            operations.append(event.name)

    right.instrument(Watch())
    long = "\x1b" * 1_000_000
    with pytest.raises(SocketUnsupported) as refused:
        left.call(long)
    assert len(str(refused.value)) < 2_000
    right.observe(long, lambda message: 1 / 0)
    left.notify(long)
    assert [len(name) for name in operations] == [201]
    right.observe("*", lambda message: 1 / 0)
    for number in range(2_000):
        left.notify(f"name {number}")
    assert len(caplog.records) < 300
    assert max(len(record.getMessage()) for record in caplog.records) < 10_000
    assert max(len(fields_of(record)["name"]) for record in caplog.records) == 201


def test_the_error_that_a_failing_error_handler_handled_is_logged_with_it(caplog: pytest.LogCaptureFixture) -> None:
    """Both are in the record and in its traceback, also where the handler hid what it handled."""
    left, right, *_ = make_pair()

    def fail(error: Exception, context: Any) -> None:
        raise KeyError("second") from None

    right.on_error(fail)
    right.perform("first", lambda: 1 / 0)
    with pytest.raises(ResilientError):
        left.call("first")
    [record] = caplog.records
    assert "KeyError" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "second" in record.getMessage()
    assert "division by zero" in record.getMessage()


def test_each_kind_of_error_that_a_failing_error_handler_handled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The failure is the same each time; the errors of two handlers are not, and neither hides the other."""
    left, right, *_ = make_pair()

    def fail(error: Exception, context: Any) -> None:
        raise TypeError("cannot handle it")

    right.on_error(fail)
    right.perform("first", lambda: 1 / 0)
    right.perform("second", lambda: [][0])
    right.observe("third", lambda message: {"a": 1}["no key"])
    for _ in range(3):
        for method in ("first", "second"):
            with pytest.raises(ResilientError):
                left.call(method)
        left.notify("third")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    for message, words in zip(messages, ("division by zero", "list index out of range", "no key"), strict=True):
        assert "cannot handle it" in message
        assert words in message


def test_what_is_not_logged_is_not_made(caplog: pytest.LogCaptureFixture) -> None:
    """Below its level nothing is put together, the URL not even asked for."""
    caplog.set_level(logging.ERROR, "owlsocket_sync")
    left, _, carrier, _ = make_pair()

    class Unasked(type(carrier)):  # type: ignore[misc]
        @property
        def url(self) -> str:
            raise AssertionError("asked")

    carrier.__class__ = Unasked
    left._core.state_changed(StateChange(ConnectionState.OPEN, ConnectionState.CONNECTING), 1)
    carrier.close(1000, "", None)  # type: ignore[arg-type]
    assert caplog.records == []
    assert left._core.carrier.wait_closed(Deadline(0)) == CloseInfo(1000, "")
