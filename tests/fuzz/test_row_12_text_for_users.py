"""Text that is no UTF-8: users get errors of ours, the peer gets 1007, and nobody sees a `UnicodeDecodeError`."""

from __future__ import annotations

import pytest

from fuzz.peers import client_victim, server_victim
from owlsocket_sync import Backoff, SocketConnectionError, StateChange, connect
from support.helpers import Collector, eventually, scaled
from support.sockets import CLOSE, CONTINUATION, TEXT, ByteServer, RawPeer, frame

BROKEN = [
    [(b"a\xffb", True)],
    [(b"\xe2\x82", True)],
    [(b"\xed\xa0\x80", True)],
    [(b"a\xe2", False), (b"x", True)],
    [(b"\xf0\x9f", False), (b"\x98", True)],
]
IDS = ["mid", "tail", "surrogate", "fragments", "fragments end"]


def _frames(parts: list[tuple[bytes, bool]], *, masked: bool) -> bytes:
    opcodes = [TEXT, *[CONTINUATION] * len(parts)]
    return b"".join(
        frame(opcode, data, fin=fin, masked=masked) for opcode, (data, fin) in zip(opcodes, parts, strict=False)
    )


@pytest.mark.slow
@pytest.mark.parametrize("parts", BROKEN, ids=IDS)
@pytest.mark.parametrize("side", ["client", "server"])
def test_row_12_malformed_text_as_users_see_it(side: str, parts: list[tuple[bytes, bool]]) -> None:
    """A call in flight fails with an error of ours, so does an iterator's end and the state."""
    states = Collector()
    with client_victim() if side == "client" else server_victim() as victim:
        conn = victim.conn
        conn.on_state(states)
        with conn.events("never") as events:
            future = conn.submit("hold", 1, timeout=30)
            victim.talker.send(_frames(parts, masked=side == "server"))
            error = future.exception(scaled(5))
            assert list(events) == []
        assert isinstance(error, SocketConnectionError)
        assert error.code == "CONNECTION_LOST"
        eventually(lambda: conn.state.name == "CLOSED")
        with pytest.raises(SocketConnectionError) as caught:
            conn.call("echo", 1)
        assert not isinstance(caught.value, UnicodeError)
        eventually(lambda: victim.talker.goodbye == 1007)
        change: StateChange = states.wait(1)[0]
        assert not isinstance(change.error, UnicodeError)
        assert side == "server" or change.code == 1007
        assert not any(isinstance(error, UnicodeError) for error, _ in victim.told())


@pytest.mark.slow
@pytest.mark.parametrize("parts", BROKEN, ids=IDS)
def test_row_12_the_peer_gets_the_close_code_and_the_client_reconnects(parts: list[tuple[bytes, bool]]) -> None:
    """Broken text right behind the upgrade, and on every link: 1007 each time, and the last link stays."""
    codes = Collector()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        if len(codes.items) < 3:
            peer.send(_frames(parts, masked=False))
        came = peer.read_frame()
        codes(came.code if came.opcode == CLOSE else came)
        while came.opcode != CLOSE:
            came = peer.read_frame()

    with ByteServer(script) as server, connect(server.url, reconnect=Backoff(initial=0.0), wait=False) as conn:
        assert codes.wait(3) == [1007, 1007, 1007]
        eventually(lambda: conn.stats.malformed == 3)
        conn.wait_open(scaled(5))
