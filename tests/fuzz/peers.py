"""Raw servers and clients that send what they please, and the connection of ours at the other end."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from owlsocket_sync import Backoff, Connection, ErrorContext, connect
from owlsocket_sync.server import Request, serve
from support.handlers import echo
from support.helpers import Collector, scaled
from support.sockets import CLOSE, PING, PONG, TEXT, ByteServer, RawPeer, frame, knock

AT_ONCE = Backoff(initial=0.0, cap=0.0)


class Talker:
    """The raw side of one link: sends what it is given, and answers calls of `echo` meanwhile.

    Attributes:
        goodbye: the code of the close frame that came, ``None`` before.
    """

    def __init__(self, peer: RawPeer, *, masked: bool) -> None:
        self._peer = peer
        self._masked = masked
        self._sending = threading.Lock()
        self.goodbye: int | None = None

    def send(self, data: bytes) -> None:
        """Send bytes whole, whatever they are."""
        with self._sending:
            self._peer.send(data)

    def say(self, payload: bytes) -> None:
        """Send a text frame with these bytes."""
        self.send(frame(TEXT, payload, masked=self._masked))

    def serve(self) -> None:
        """Answer calls of `echo` until the other end says goodbye, then end the stream."""
        with contextlib.suppress(EOFError, OSError):
            while (came := self._peer.read_frame(masked=not self._masked)).opcode != CLOSE:
                if came.opcode == PING:
                    self.send(frame(PONG, came.payload, masked=self._masked))
                elif came.opcode == TEXT and b'"echo"' in came.payload:
                    asked = json.loads(came.payload)
                    answer = {"type": "result", "id": asked["id"], "payload": asked["payload"][0]}
                    self.say(json.dumps(answer).encode())
            self.goodbye = came.code
            self._peer.sock.shutdown(socket.SHUT_RDWR)


class Victim:
    """A connection of ours that gets what a raw peer sends.

    Attributes:
        conn: the connection.
        talker: the peer.
        errors: what `on_error` was told.
        listened: what listeners were told.
    """

    def __init__(self, conn: Connection, talker: Talker) -> None:
        self.conn = conn
        self.talker = talker
        self.errors = Collector()
        self.listened = Collector()
        conn.on_error(lambda error, context: self.errors((error, context)))
        conn.listen(lambda message: self.listened(message))
        conn.perform("echo", lambda *values: values[0] if values else None)
        self._marks = 0

    def settle(self) -> None:
        """Wait until all that was said so far has been taken in."""
        self._marks += 1
        mark = f"mark-{self._marks}"
        with self.conn.events(mark, limit=1, timeout=scaled(60)) as marks:
            self.talker.say(json.dumps({"type": "event", "event": mark}).encode())
            assert len(list(marks)) == 1

    def told(self) -> list[tuple[Exception, ErrorContext]]:
        """What `on_error` was told since this was asked last."""
        reported, self.errors.items = self.errors.items, []
        return reported


@contextmanager
def client_victim(**options: Any) -> Iterator[Victim]:
    """A client, and a raw server that answers its calls."""
    talkers = Collector()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        talker = Talker(peer, masked=False)
        talkers(talker)
        talker.serve()

    with ByteServer(script) as server, connect(server.url, reconnect=None, **options) as conn:
        yield Victim(conn, talkers.wait(1)[0])


@contextmanager
def server_victim(**options: Any) -> Iterator[Victim]:
    """The server's connection to a raw client that answers its calls."""
    conns = Collector()

    def handler(conn: Connection, request: Request) -> None:
        echo(conn, request)
        conns(conn)

    with serve(handler, **options) as server:
        peer, answer = knock(server.port)
        assert answer.startswith("HTTP/1.1 101 ")
        talker = Talker(peer, masked=True)
        thread = threading.Thread(target=talker.serve)
        thread.start()
        try:
            yield Victim(conns.wait(1)[0], talker)
        finally:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
            thread.join(scaled(5))
            peer.sock.close()
