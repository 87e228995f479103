"""HTML cards of connections, messages, errors and statistics."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from html.parser import HTMLParser
from typing import Any

import pytest

from owlsocket_sync import (
    AuthMessage,
    CallMessage,
    Connection,
    EventMessage,
    Message,
    MessageType,
    ResilientError,
    SocketConnectionError,
    SocketTimeout,
)
from owlsocket_sync.errors import AuthError
from owlsocket_sync.server import Server
from support.helpers import eventually

NASTY = '<script>alert(1)</script><img src=x onerror="go()"> & \' \u202eevil\x1b[31m\ud800'
VOID = {"img", "br", "hr", "input", "meta", "link"}


class Card(HTMLParser):
    """A parsed card: its tags, attributes and text; every opened tag must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        self.text = "".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def card(value: Any) -> Card:
    """The card of a value, which is harmless, whatever the value is."""
    html = value._repr_html_()
    assert html.encode()
    shown = Card(html)
    assert set(shown.tags) <= set("div span table tr th td bdi pre details summary svg polyline".split())
    assert {name for name, _ in shown.attributes} <= {"style", "role", "aria-label", "aria-hidden", "scope"}
    assert not re.search(r"url\(|https?://(?!api)", " ".join(value or "" for name, value in shown.attributes))
    return shown


def test_a_connection_tells_how_it_does(owlsocket_connection: Connection) -> None:
    """Its state in words, where it leads, what waits, and what it counted behind a fold; its repr stays short."""
    conn = owlsocket_connection
    conn.call("echo", 1)
    conn.ping(5)
    shown = card(conn)
    for words in (conn.name, "(open)", conn.url, "Latency", " ms", "Pending calls", "Queued", "Reconnects", "Counters"):
        assert words in shown.text
    assert "details" in shown.tags
    assert "th" in shown.tags
    assert len(repr(conn)) < 120


def test_a_connection_that_ended_tells_why(owlsocket_connection: Connection, owlsocket_server: Server) -> None:
    """In its first row."""
    owlsocket_connection.close()
    shown = card(owlsocket_connection)
    assert "(closed)" in shown.text
    assert "Ended" in shown.text


def test_a_card_of_a_connection_shows_no_token(owlsocket_server: Server) -> None:
    """As nothing else does."""
    from owlsocket_sync import connect

    with connect(owlsocket_server.url, token="sesame-open", query={"token2": "x"}) as conn:
        assert "sesame" not in conn._repr_html_()


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message(MessageType.MESSAGE, {"a": [1]}, "m1", dt=0.5), ["Message: message", "m1", '"a"', "1970-01-01 00:00"]),
        (EventMessage(payload=None, event="tick"), ["Message: event", "tick", "null"]),
        (CallMessage(payload=[1, 2], id=7, method="add"), ["Message: call", "add", "7"]),
        (Message("odd", b"bytes", sender="Ada", recipient="Bob"), ["Message: odd", "Ada", "Bob", "b'bytes'"]),
        (Message(payload="x", dt=1e99), ["1e+99"]),
        (Message(payload="x" * 100_000), ["characters more"]),
    ],
)
def test_a_message_tells_what_it_carries(message: Message, words: list[str]) -> None:
    """And who sent it when; what is long is cut."""
    shown = card(message)
    assert [word for word in words if word not in shown.text] == []
    assert len(shown.text) < 3000


def test_a_step_of_authentication_does_not_show_what_it_carries() -> None:
    """It may be a secret."""
    shown = card(AuthMessage(payload="sesame", stage="init"))
    assert "sesame" not in shown.text
    assert "init" in shown.text


def test_a_card_takes_little_memory_whatever_the_message() -> None:
    """Indented as a whole, this payload of 200 KiB would take 180 MiB."""
    payload: list[Any] = [1] * 100_000
    for _ in range(900):
        payload = [payload]
    tracemalloc.start()
    shown = card(Message(payload=payload))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "… (more)" in shown.text
    assert peak < 4 * 1024 * 1024


def test_a_deeply_nested_message_has_a_text_too() -> None:
    """A notebook asks for it beside the card."""
    payload: list[Any] = []
    for _ in range(200_000):
        payload = [payload]
    assert "payload=<deeply nested list>" in repr(Message(payload=payload))
    while payload:
        (payload,) = payload


@pytest.mark.slow
def test_what_is_nested_too_deep_for_json_is_shown_all_the_same() -> None:
    """Cut, like anything that is too much."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "… (more)" in card(Message(payload=deep)).text
    while deep:
        (deep,) = deep


@pytest.mark.parametrize("where", ["payload", "key", "event", "id", "sender"])
def test_whatever_a_peer_writes_is_text(where: str) -> None:
    """In each of its places: no tag of its own, no control character, nothing that turns the direction of reading."""
    message = EventMessage(payload={"a": 1}, event="e")
    if where == "payload":
        message.payload = [NASTY]
    elif where == "key":
        message.payload = {NASTY: 1}
    else:
        setattr(message, where, NASTY)
    shown = card(message)
    assert "<script>alert(1)</script>" in shown.text
    assert not set(shown.text) & {"\u202e", "\x1b", "\ud800"}


def test_an_error_tells_what_to_do_and_folds_the_stack_of_the_peer() -> None:
    """Whatever the peer wrote, in each of its three parts."""
    error = ResilientError.unmarshal(f"{NASTY}|||{NASTY}|||{NASTY}\n    at main")
    shown = card(error)
    assert shown.tags.count("details") == 1
    assert "Stack of the peer" in shown.text
    assert "the peer failed" in shown.text.lower()
    assert "ERROR" in shown.text
    assert "\x1b" not in shown.text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SocketTimeout("call 'x' was not answered"), ["SocketErrorTimeout", "may help", "this end", "timeout="]),
        (SocketConnectionError("gone"), ["CONNECTION_LOST", "may help", "retry=True"]),
        (AuthError("no"), ["AUTH_FAILED", "does not help"]),
    ],
)  # fmt: skip
def test_each_kind_of_error_has_advice_of_its_own(error: ResilientError, words: list[str]) -> None:
    """By its code."""
    shown = card(error)
    assert [word for word in words if word not in shown.text] == []
    assert "details" not in shown.tags


def test_a_step_of_a_login_and_its_status_are_told() -> None:
    """Where they are known."""
    error = AuthError("no")
    error.step, error.status = "/authentication/init", 403
    shown = card(error)
    assert "/authentication/init" in shown.text
    assert "403" in shown.text


def test_statistics_are_a_table(owlsocket_connection: Connection) -> None:
    """Under labels that people read."""
    owlsocket_connection.call("echo", "x" * 2000)
    eventually(lambda: owlsocket_connection.stats.messages_in == 1)
    shown = card(owlsocket_connection.stats)
    for words in ("Messages in", "Bytes out", "2,0", "not measured yet"):
        assert words in shown.text


def test_cards_cost_nothing_where_no_notebook_asks_for_them() -> None:
    """Neither them nor any library of notebooks is loaded by a client; and cards need no such library."""
    script = (
        "import sys\nfrom owlsocket_sync import connect, Connection, ResilientError\nprint(*sys.modules)\n"
        "ResilientError()._repr_html_()\nprint(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    before, after = (set(line.split()) for line in ran.stdout.splitlines())
    libraries = {"IPython", "ipywidgets", "pandas", "matplotlib", "tqdm", "asyncio"}
    assert not before & {"owlsocket_sync.html_repr", "html", *libraries}
    assert "owlsocket_sync.html_repr" in after
    assert not after & libraries
