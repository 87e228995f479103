"""What both ends agree on in the handshake, and what travels then."""

from __future__ import annotations

from typing import Any

import pytest

from owlsocket_sync import Deflate, SocketConnectionError, connect
from owlsocket_sync.server import serve
from rfc7692.ends import AGREED, CLIENT, OFFER, SERVER, SMALL, ends, refusing
from support.deflating import deflated_frame, json_rows
from support.handlers import echo
from support.helpers import Collector, eventually, scaled
from support.sockets import TEXT, ByteServer, RawPeer, frame, header_of, knock

both_sides = pytest.mark.parametrize("side", [CLIENT, SERVER])
ROWS = json_rows(5000).decode()


def event(payload: str = '"news"') -> str:
    """An event, as it is written."""
    return f'{{"type":"event","event":"e","payload":{payload}}}'


@pytest.mark.parametrize(
    ("compression", "offered"),
    [
        (None, ""),
        (
            "deflate",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits",
        ),
        (
            Deflate(window_bits=12),
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits=12",
        ),
    ],
    ids=["none", "deflate", "a window of its own"],
)
def test_what_a_client_offers(compression: Any, offered: str) -> None:
    """Nothing, unless it was asked for."""
    requests = Collector()

    def script(peer: RawPeer) -> None:
        requests(peer.upgrade())
        peer.at_end()

    with ByteServer(script) as server:
        connect(server.url, compression=compression, reconnect=None).close(timeout=0.0)
    (request,) = requests.wait(1)
    assert header_of(request, "Sec-WebSocket-Extensions") == offered
    assert request.count("Sec-WebSocket-Extensions") == bool(offered)


@both_sides
def test_both_ends_agree(side: str) -> None:
    """Then messages of a certain size are deflated in both directions, and others may come as they are."""
    with ends(side) as (conn, peer, events, _, options):
        conn.notify("large", ROWS)
        conn.notify("small")
        is_deflated, text = peer.read_message()
        assert (is_deflated, ROWS[:20] in text.replace("\\", "")) == (True, True)
        assert peer.read_message()[0] is False
        peer.send(deflated_frame(event(ROWS), **options) + frame(TEXT, event().encode(), **options))
        payloads = events.wait(2)
        assert len(payloads[0]) > 10
        assert payloads[1] == "news"
        assert conn.stats.malformed == 0


@both_sides
@pytest.mark.parametrize("compression", [SMALL, None], ids=["configured", "none"])
def test_the_peer_does_not_agree(side: str, compression: Deflate | None) -> None:
    """It gets plain frames, and must not send others."""
    with ends(side, compression, agree=False) as (conn, peer, events, errors, options):
        conn.notify("large", ROWS)
        assert peer.read_message()[0] is False
        peer.send(frame(TEXT, event().encode(), **options))
        assert events.wait(1) == ["news"]
        peer.send(deflated_frame(event(), **options))
        assert peer.read_code() == 1002
        assert "reserved bits" in errors.wait(1)[0]


def test_a_server_without_compression_ignores_the_offer() -> None:
    """It answers as it always did."""
    with serve(echo) as server:
        peer, answer = knock(server.port, headers=OFFER)
        with peer.sock:
            assert "xtensions" not in answer


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        (["permessage-deflate; server_max_window_bits=8"], ""),
        (["permessage-deflate; client_no_context_takeover; client_no_context_takeover"], ""),
        (["permessage-deflate; strength=9"], ""),
        (["x-webkit-deflate-frame"], ""),
        (['"'], ""),
        ([";;;,,="], ""),
        (["permessage-deflate; server_max_window_bits=8", "permessage-deflate; server_max_window_bits=9"], "9"),
        (["foo, permessage-deflate; server_max_window_bits=11", "permessage-deflate"], "11"),
    ],
)
def test_offers_of_strangers(offers: list[str], answer: str) -> None:
    """The first one that can be used is; a client without any is served without compression."""
    with serve(echo, compression=SMALL) as server:
        headers = "\r\n".join(f"Sec-WebSocket-Extensions: {offer}" for offer in offers)
        peer, response = knock(server.port, headers=headers)
        with peer.sock:
            assert response.startswith("HTTP/1.1 101 ")
            expected = f"{AGREED}; server_max_window_bits={answer}" if answer else ""
            assert header_of(response, "Sec-WebSocket-Extensions") == expected
            eventually(lambda: server.connections)
            server.connections[0].notify("large", ROWS)
            assert (peer.read(1)[0] & 0x40 > 0) is bool(answer)


WRONG = {
    "context takeover": ("permessage-deflate", "keeps its compression from message to message"),
    "not offered": ("permessage-bzip2", "selected other extensions than the one that was offered"),
    "twice": (f"{AGREED}, {AGREED}", "selected other extensions"),
    "in two lines": (f"{AGREED}\r\nSec-WebSocket-Extensions: foo", "selected other extensions"),
    "window": (f"{AGREED}; server_max_window_bits=16", "selected server_max_window_bits with the value '16'"),
    "parameter": (f"{AGREED}; x=1", "selected the unknown parameter 'x'"),
    "duplicate": (f"{AGREED}; server_no_context_takeover", "selected server_no_context_takeover more than once"),
    "junk": ("permessage-deflate; =", "sent a list of extensions that does not conform to RFC 6455"),
}


@pytest.mark.parametrize(("answer", "fault"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_fails_the_handshake(answer: str, fault: str) -> None:
    """With an error that says what happened, and what to do."""
    with (
        ByteServer(refusing(f"Sec-WebSocket-Extensions: {answer}")) as server,
        pytest.raises(SocketConnectionError) as caught,
    ):
        connect(server.url, compression="deflate", reconnect=None, timeout=scaled(5))
    message = str(caught.value)
    assert message.startswith("invalid WebSocket handshake response: the server answered the offer of compression with")
    assert fault in message
    assert "; connect with compression=None, or configure the server for permessage-deflate without" in message


@pytest.mark.parametrize(
    ("compression", "text", "hint"),
    [
        ("deflate", "Unacceptable Sec-WebSocket-Extensions header", r" \(.*compression=None\)"),
        (None, "Unacceptable Sec-WebSocket-Extensions header", ""),
        ("deflate", "bad headers", ""),
    ],
)
def test_a_server_that_refuses_the_offer_is_explained(compression: str | None, text: str, hint: str) -> None:
    """It insists on context takeover, and so refuses the request."""

    def refuse(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())

    with (
        ByteServer(refuse) as server,
        pytest.raises(SocketConnectionError, match=rf"HTTP 400: {text}{hint}\Z"),
    ):
        connect(server.url, compression=compression, reconnect=None, timeout=scaled(5))


@pytest.mark.parametrize("extra", [AGREED, f"{AGREED}\r\nSec-WebSocket-Extensions:"], ids=["one", "two lines"])
def test_an_answer_without_an_offer_fails_the_handshake(extra: str) -> None:
    """Also in the first one of two lines."""
    with (
        ByteServer(refusing(f"Sec-WebSocket-Extensions: {extra}")) as server,
        pytest.raises(SocketConnectionError, match="which was not offered"),
    ):
        connect(server.url, reconnect=None, timeout=scaled(5))


def test_a_long_answer_is_shown_in_part() -> None:
    """A server does not choose how long an error is, and no secret is in it."""
    answer = f"Sec-WebSocket-Extensions: permessage-deflate; {'x' * 3000}=hunter2hunter2"
    with ByteServer(refusing(answer)) as server, pytest.raises(SocketConnectionError) as caught:
        connect(server.url, token="hunter2hunter2", compression="deflate", reconnect=None, timeout=scaled(5))
    assert len(str(caught.value)) < 800
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("compression", "message"),
    [
        ("gzip", "compression must be 'deflate', a Deflate or None, not 'gzip'"),
        (True, "compression must be 'deflate', a Deflate or None, not True"),
        (Deflate, "compression must be 'deflate', a Deflate or None, not the class Deflate"),
    ],
)
def test_an_invalid_compression_is_named(compression: Any, message: str) -> None:
    """By both ends."""
    with pytest.raises(ValueError, match=message):
        connect("ws://127.0.0.1:1", compression=compression)
    with pytest.raises(ValueError, match=message):
        serve(echo, compression=compression)
