"""What a server reads, from outside: requests for the upgrade, and frames of clients."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fuzz.complaints import EXPECTED, watched
from fuzz.oracle import ENDED, Verdict, read_frames
from fuzz.target import Run, Target
from fuzz.tokens import ISSUER, SERVICE, STEPS
from fuzz.wires import FRAME_WORDS, HEADER_WORDS, LIMIT, traffic
from owlsocket_sync import Connection, ErrorContext, Limits, connect
from owlsocket_sync.auth import Guard
from owlsocket_sync.server import Request, Server, serve
from support.handlers import echo
from support.helpers import scaled
from support.sockets import UPGRADE, knock

SENT_AT_MOST = 50_000
BETWEEN_CALLS = 200
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
CLIENTS_FAULT = frozenset([*range(400, 500), 505])


def _greet(conn: Connection, request: Request) -> None:
    echo(conn, request)
    conn.on_error(_report)
    conn.observe("*", lambda message: None)
    conn.acknowledge(lambda id, payload: conn.reply(id, payload) is None)


def _report(error: Exception, context: ErrorContext) -> None:
    """What a client sent is the client's fault; the rest is told where it is seen."""
    if not isinstance(error, EXPECTED):
        logging.getLogger("owlsocket_sync").error("%s", context, exc_info=error)


@contextmanager
def _served(read: Run, server: Server, complaints: list[str]) -> Iterator[Run]:
    """Read each input by a server that goes on serving others, and says nothing of faults of its own."""
    runs = 0

    def run(data: bytes) -> None:
        nonlocal runs
        runs += 1
        read(data[:SENT_AT_MOST])
        if runs % BETWEEN_CALLS == 0:
            _serves(server)
        assert not complaints, complaints

    yield run
    _serves(server)
    assert not complaints, complaints


def _serves(server: Server) -> None:
    with connect(server.url, token=STEPS["3 bearer"]) as conn:
        assert conn.call("echo", 1, timeout=scaled(5)) == 1


def _tell(sock: socket.socket, data: bytes, *, done: Callable[[bytes], bool]) -> tuple[bytes, bool]:
    """Say it, and nothing more once that is done; all that comes back, and whether the link was reset."""
    answer = b""
    ended = False
    try:
        sock.sendall(data)
        while True:
            if not ended and done(answer):
                sock.shutdown(socket.SHUT_WR)
                ended = True
            chunk = sock.recv(65_536)
            if not chunk:
                return answer, False
            answer += chunk
    except TimeoutError:
        raise AssertionError(f"the server waits, and said {answer!r}") from None
    except OSError:
        return answer, True


@contextmanager
def open_frames() -> Iterator[Run]:
    """Frames of a client whose upgrade was granted: the right close code, and nobody else suffers."""
    with watched() as complaints, serve(_greet, limits=Limits(message_size=LIMIT)) as server:

        def read(data: bytes) -> None:
            peer, answer = knock(server.port)
            with peer.sock:
                assert answer.startswith("HTTP/1.1 101 ")
                verdict = read_frames(data, LIMIT, masked=True)
                innocent = ENDED in verdict.codes
                output, reset = _tell(peer.sock, data, done=lambda output: innocent or bool(_farewells(output)))
            if not reset:
                _check_frames(output, verdict)

        with _served(read, server, complaints) as run:
            yield run


def _farewells(output: bytes) -> list[int]:
    """The codes of the close frames in what the server says."""
    events = read_frames(output, 1_000_000).events
    return [int(detail[0]) for kind, detail in events if kind == "close" and isinstance(detail, tuple)]


def _check_frames(output: bytes, verdict: Verdict) -> None:
    """The server's frames are sound, and its last word is what the client's breach deserves."""
    assert read_frames(output, 1_000_000).codes == {ENDED}, f"the server breaks the protocol itself: {output!r}"
    if ENDED in verdict.codes or verdict.doubtful is not None:
        return  # whoever is gone need not be told
    allowed = verdict.codes | {1002, 1007, 1009}  # of several breaches, the server may be struck by another one first
    assert set(_farewells(output)) & allowed, f"it said {output!r}, where {verdict.codes} is due"


@contextmanager
def open_requests() -> Iterator[Run]:
    """Bytes in the place of a request: granted, refused as the client's fault, or not answered."""
    guard = Guard([ISSUER.public, SERVICE.public], required=False)
    with watched() as complaints, serve(_greet, authenticate=guard, origins=["https://a.example"]) as server:

        def read(data: bytes) -> None:
            with socket.create_connection(("127.0.0.1", server.port), scaled(5)) as sock:
                output, _ = _tell(sock, data, done=lambda output: True)
            status = STATUS.match(output)
            if status is None:
                assert not output, f"no HTTP: {output[:200]!r}"
                return
            code = int(status[1])
            assert code == 101 or code in CLIENTS_FAULT, output[:500]
            body = output.partition(b"\r\n\r\n")[2]
            if code == 101:
                assert read_frames(body, 1_000_000).codes == {ENDED}
            assert b"Traceback" not in output

        with _served(read, server, complaints) as run:
            yield run


# -- what to begin with ----------------------------------------------------------------------------------------------


def _requests() -> list[bytes]:
    bearer = STEPS["3 bearer"]
    line, rest = UPGRADE.split("\r\n", 1)
    more = (
        f"Authorization: {bearer}\r\n",
        "Origin: https://a.example\r\n",
        "Origin: https://b.example\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: x, y\r\n",
        "Content-Length: 4\r\n",
    )
    query = f"GET /ws?token={bearer.split()[1]}&a=%00 HTTP/1.1\r\n{rest}"
    requests = [UPGRADE, query, *(f"{line}\r\n{header}{rest}" for header in more), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"]
    return [request.encode() for request in requests]


REQUEST_WORDS = (
    *HEADER_WORDS,
    b"GET ",
    b"POST ",
    b"/%ff?token=",
    b"?token=A",
    b"token",
    b"Authorization: ED25519-BASIC-TOKEN ",
    b"Origin: ",
    b"//",
    b"Sec-WebSocket-Key: ",
    b"Sec-WebSocket-Version: 12\r\n",
    b"Upgrade: h2c\r\n",
    b"Host: \r\n",
    b"*",
    b"\xc3\xa4",
    b"%",
)

TARGETS: tuple[Target, ...] = (
    Target("server-frames", open_frames, lambda: traffic(masked=True), FRAME_WORDS),
    Target("server-upgrade", open_requests, _requests, REQUEST_WORDS),
)
