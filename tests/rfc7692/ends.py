"""Either end of a link with compression, and a raw peer that speaks frames with it."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from owlsocket_sync import Connection, Deflate, EventMessage, connect
from owlsocket_sync.server import Request, serve
from owlsocket_sync.transport.deflate import inflate
from support.helpers import Collector, eventually, scaled
from support.sockets import CLOSE, PING, TEXT, ByteServer, Frame, RawPeer, header_of, knock, mask

CLIENT, SERVER = "client", "server"
AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
LIMIT = 16 * 1024 * 1024
SMALL = Deflate(min_size=200)


class Raw(RawPeer):
    """A raw peer that notes which messages came deflated."""

    masked: bool

    @classmethod
    def of(cls, peer: RawPeer, masked: bool) -> Raw:
        """The same socket, with what was read from it."""
        raw = cls(peer.sock)
        raw._seen = peer._seen
        raw.masked = masked
        return raw

    def read_message(self) -> tuple[bool, str]:
        """Whether the next message came deflated, and its text; control frames are passed over."""
        while True:
            first, came = self.read_any()
            if came.opcode == TEXT:
                payload = came.payload
                return bool(first & 0x40), (inflate(payload, LIMIT) if first & 0x40 else payload).decode()

    def read_code(self) -> int:
        """The code of the close frame that comes, past whatever comes before it."""
        while (came := self.read_any()[1]).opcode != CLOSE:
            pass
        return came.code

    def read_any(self) -> tuple[int, Frame]:
        """The first byte of the next frame, and the frame."""
        first, second = self._exactly(2)
        assert first & 0xB0 == 0x80, "neither fragments nor other reserved bits are sent"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
        key = self._exactly(4) if self.masked else b"\0\0\0\0"
        return first, Frame(first & 0x0F, mask(self._exactly(size), key))


class Ends(NamedTuple):
    """Our end of a link, and the raw one.

    Attributes:
        conn: ours.
        peer: the raw one.
        events: what our end observes.
        errors: what it reports.
        frame_options: of the frames that the raw end sends.
    """

    conn: Connection
    peer: Raw
    events: Collector
    errors: Collector
    frame_options: dict[str, Any]


@contextmanager
def ends(side: str, compression: Deflate | str | None = SMALL, agree: bool = True, **options: Any) -> Iterator[Ends]:
    """Our end, as a client or as a server, and a raw peer that agreed to the compression, or did not."""
    events, errors = Collector(), Collector()

    def attend(conn: Connection, request: Request | None = None) -> None:
        conn.observe("*", lambda message: events(payload_of(message)))
        conn.on_error(lambda error, context: errors(str(error)))
        conn.perform("echo", lambda value: value)

    if side == SERVER:
        with serve(attend, compression=compression, **options) as server:
            peer, answer = knock(server.port, headers=OFFER if agree else "")
            assert header_of(answer, "Sec-WebSocket-Extensions") == (AGREED if agree and compression else "")
            with peer.sock:
                eventually(lambda: server.connections)
                (conn,) = server.connections
                conn.wait_open(scaled(5))
                yield Ends(conn, Raw.of(peer, False), events, errors, {"masked": True})
        return
    peers: queue.Queue[RawPeer] = queue.Queue()
    over = threading.Event()

    def script(peer: RawPeer) -> None:
        peer.upgrade(f"Sec-WebSocket-Extensions: {AGREED}" if agree else "")
        peers.put(peer)
        over.wait()

    with ByteServer(script) as byte_server, contextlib.ExitStack() as stack:
        stack.callback(over.set)
        conn = connect(byte_server.url, compression=compression, setup=attend, **{"reconnect": None, **options})
        stack.callback(conn.close, timeout=0.0)
        yield Ends(conn, Raw.of(peers.get(timeout=scaled(5)), True), events, errors, {})


def payload_of(message: EventMessage) -> Any:
    """What a test wants to know of an event."""
    return message.payload


def refusing(extra: str) -> Callable[[RawPeer], None]:
    """The script of a server that grants the upgrade with these headers."""

    def script(peer: RawPeer) -> None:
        peer.upgrade(extra)
        peer.at_end()

    return script


__all__ = ["AGREED", "CLIENT", "LIMIT", "OFFER", "PING", "SERVER", "SMALL", "Ends", "Raw", "ends", "refusing"]
