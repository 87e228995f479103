"""The table, played by a server to the link of a client."""

from __future__ import annotations

import pytest

from owlsocket_sync import SocketConnectionError, SocketMessageError, connect
from rfc6455.case import INVALID_DATA, LIMIT, Case, Sent, close, first, last, text
from rfc6455.cases import INVALID_TEXT, LARGE, ORDINARY
from rfc6455.player import check_delivered, play
from support.figures import Figure
from support.helpers import Collector, scaled
from support.linked import Run
from support.sockets import ByteServer, RawPeer

ABNORMAL = 1006


@pytest.mark.parametrize("case", ORDINARY, ids=str)
def test_row_32_a_client_conforms_to_rfc_6455(case: Case) -> None:
    """Whole messages are delivered, pings answered, and the link ends with the code that is due."""
    play_to_a_client(case)


@pytest.mark.parametrize("case", INVALID_TEXT, ids=str)
def test_row_12_row_32_a_client_refuses_invalid_utf8(case: Case) -> None:
    """With 1007, and nothing of it is delivered."""
    play_to_a_client(case)


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_row_32_a_client_accepts_large_messages(case: Case) -> None:
    """Up to the limit and no byte more, in whatever pieces they come."""
    play_to_a_client(case)


@pytest.mark.parametrize(
    "sends",
    [
        pytest.param([text(b"in the \xff middle")], id="in-the-middle"),
        pytest.param([text(b'{"type":"result","payload":"' + b"x" * 100_000 + b'\xff"}')], id="in-a-large-answer"),
        pytest.param([text("a truncated tail ä".encode()[:-1])], id="a-truncated-tail"),
        pytest.param([first(b"over fragments \xc3"), last(b"\xc3\xa4")], id="over-fragments"),
        pytest.param([text(b"surrogates \xed\xa0\x80\xed\xb0\x80")], id="surrogates"),
        pytest.param([close(1000, b"a reason \xff")], id="in-the-reason-of-a-close-frame"),
    ],
)
def test_row_12_a_user_never_gets_a_decoding_error(sends: list[Sent], figure: Figure) -> None:
    """A waiting call raises what any lost connection raises; the state, and one report, tell of 1007 like the peer."""
    codes = Collector()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        peer.read_frame()
        for step in sends:
            peer.send(step.encode(masked=False))
        codes(peer.read_frame().code)
        peer.at_end()

    changes, errors = Collector(), Collector()
    with ByteServer(script) as server, connect(server.url, reconnect=None) as conn:
        conn.on_state(changes)
        conn.on_error(errors)
        with pytest.raises(SocketConnectionError) as caught:
            conn.call("whatever", timeout=scaled(5))
        figure("errors of decoding raised", isinstance(caught.value, ValueError), 0, "errors")
        assert codes.wait(1) == [INVALID_DATA]
        assert changes.wait(1)[0].code == INVALID_DATA
        error, _ = errors.wait(1)[0]
    assert len(errors.items) == 1
    assert isinstance(error, SocketMessageError)
    assert not isinstance(error, ValueError)


def play_to_a_client(case: Case) -> None:
    """Play a case, and see what the link delivers and how it ends."""
    run = Run(limit=LIMIT)
    try:
        play(case, run.peer, masked=False)
        ending = run.ended()
        check_delivered(run.got.items, [message.message() for message in case.delivers])
        assert ending.code == (ABNORMAL if case.code is None else case.code)
    finally:
        run.stop()
