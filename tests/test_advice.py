"""Advice: an error of `connect` ends with what to do about it, by the sentences that the commands show."""

from __future__ import annotations

import errno
import os
import re
import socket
from typing import Any

import pytest

from owlsocket_sync import Backoff, ResilientError, SocketConnectionError, SocketTimeout, connect
from owlsocket_sync.advice import advice_for, advise
from owlsocket_sync.cli.hints import bare_text, hint_for, with_hint
from owlsocket_sync.contrib.exit_codes import NotConnected
from owlsocket_sync.server import serve
from support.handlers import echo
from support.helpers import scaled
from support.sockets import ByteServer, free_port, full_port, server_context

QUICK = Backoff(initial=0.02, factor=1.0, cap=0.02, jitter="none", healthy_after=0.0)


def failure(url: str, **options: Any) -> str:
    """The text of the error of `connect`."""
    with pytest.raises((SocketConnectionError, SocketTimeout)) as caught:
        connect(url, **{"reconnect": None, "timeout": scaled(5), **options})
    return str(caught.value)


def answering(text: str) -> ByteServer:
    """A server that gives this answer to each request."""
    return ByteServer(lambda peer: (peer.read_header(), peer.send(text.encode())))


def test_a_closed_port() -> None:
    """The usual mistake of the first minute."""
    text = failure(f"ws://127.0.0.1:{free_port()}")
    assert text.endswith("refused (nothing listens there: is the server running, and is the port right?)")


def test_a_port_that_does_not_answer() -> None:
    """By the name of the option of `connect`."""
    with full_port() as port:
        assert "firewall" in (text := failure(f"ws://127.0.0.1:{port}", timeout=0.3, wait=True))
    assert "timeout= waits longer" in text


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (socket.EAI_NONAME, r"\(check the spelling of far\.example, and the network of this machine\)\Z"),
        (
            socket.EAI_AGAIN,
            r"\(the name server of this machine does not answer: check the spelling of far\.example, and",
        ),
    ],
)
def test_a_name_that_is_not_found(code: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a resolver that is dead is named as such."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "some words of the C library")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert re.search(words, failure("ws://far.example"))


@pytest.mark.parametrize("health", [None, "/health"])
def test_tls_on_one_side_alone(health: str | None) -> None:
    """In both directions, by what the other end sends or does not send."""
    with serve(echo, health=health) as server:
        text = failure(server.url.replace("ws:", "wss:"))
        assert "does not speak TLS on this port" in text
        assert text.endswith("(try ws://, or another port)")
    with serve(echo, ssl_context=server_context()) as server:
        assert "wss://" in failure(server.url.replace("wss:", "ws:"))
    with answering("\x15\x03\x01\0\x02\x02\x46") as server:
        assert failure(server.url).endswith("(the server speaks TLS on this port: try wss://)")
    with answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as server:
        assert failure(server.url).endswith("(the server may require TLS: try wss://)")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "pass a valid token with token= or auth="),
        (403, "try another token"),
        (404, "check the part of the URL after the host"),
        (429, "try again later"),
        (502, "is the server running?"),
        (503, "try again later"),
        (504, "is the server running?"),
        (200, "does not speak WebSocket at this URL"),
    ],
)
def test_a_refusal_of_a_server(status: int, words: str) -> None:
    """By its status."""
    with answering(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n") as server:
        assert words in failure(server.url)


def test_a_server_that_speaks_something_else() -> None:
    """Such as one for mail."""
    with answering("220 mail ready\r\n") as server:
        assert "does not speak WebSocket at this URL" in failure(server.url)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_server_that_gives_its_reason_is_not_talked_over(status: int) -> None:
    """Except where that reason is its TLS."""
    with answering(f"HTTP/1.1 {status} No\r\nContent-Length: 8\r\n\r\ntoo late") as server:
        assert failure(server.url).endswith(f"HTTP {status}: too late")
    page = "<title>400 The plain HTTP request was sent to HTTPS port</title>"
    with answering(f"HTTP/1.1 400 No\r\nContent-Length: {len(page)}\r\n\r\n{page}") as server:
        assert failure(server.url).endswith("sent to HTTPS port (the server may require TLS: try wss://)")


def test_what_a_peer_has_marshalled_stays_as_it_is() -> None:
    """Its own words say what it wants."""
    error = SocketConnectionError("closed for today")
    error.remote, error.status = True, 503
    advise(error, "ws://far.example")
    assert str(error) == "closed for today"


def test_advice_is_not_sent_to_a_peer() -> None:
    """It is for the people at this end."""
    error = SocketConnectionError("no link")
    error.advice = "try harder"
    assert str(error) == "no link (try harder)"
    assert str(ResilientError.unmarshal(error.marshal())) == "no link"


def test_a_command_names_its_own_options() -> None:
    """In the place of those of `connect`, once."""
    reason = SocketConnectionError("the server rejected the WebSocket handshake with HTTP 401")
    reason.status = 401
    advise(reason, "ws://far.example")
    assert "token=" in str(reason)
    text = with_hint(NotConnected(reason, "ws://far.example"))
    assert text.count("(") == 1
    assert "--token-env" in text
    assert "token=" not in text
    assert bare_text(reason) == reason.plain_message
    assert hint_for(reason, "ws://far.example") != advice_for(reason, "ws://far.example")
    assert with_hint(ValueError("other")) == "other"


def _no_socket(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_process_without_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is one of `connect`, with that of the system as its cause; and the next attempt is made."""
    with serve(echo) as server:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", _no_socket)
            with pytest.raises(SocketConnectionError, match=r"raise its limit \(ulimit -n\)") as caught:
                connect(server.url, reconnect=None)
            conn = connect(server.url, reconnect=QUICK, wait=False)
            with pytest.raises(SocketTimeout, match="ulimit"):
                conn.wait_open(0.2)
        assert caught.value.retryable
        assert isinstance(caught.value.__cause__, OSError)
        with conn:
            assert conn.call("echo", 1, timeout=scaled(5)) == 1


def test_descriptors_that_run_out_after_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by another thread of the process."""

    def fail(_: object) -> None:
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

    monkeypatch.setattr("owlsocket_sync.transport.dial.DuplexStream", fail)
    with serve(echo) as server:
        text = failure(server.url)
    assert f"connecting to 127.0.0.1:{server.port} failed: " in text
    assert "ulimit -n" in text


def test_a_reset_by_the_server() -> None:
    """As a server with TLS may treat a request in clear text."""
    with ByteServer(lambda peer: (peer.read_header(), peer.reset())) as server:
        assert "use wss:// if the server expects TLS" in failure(server.url)
