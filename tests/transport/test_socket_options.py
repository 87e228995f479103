"""TCP options: the same on both ends, so that no small message waits and no dead peer is kept."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from owlsocket_sync import connect
from owlsocket_sync.server import serve
from owlsocket_sync.transport import stream as module
from owlsocket_sync.transport.socket_options import USER_TIMEOUT_MS, set_options
from support.handlers import echo

EXPECTED = {
    "TCP_NODELAY": 1,
    "SO_KEEPALIVE": 1,
    "TCP_KEEPIDLE": 30,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": USER_TIMEOUT_MS,
}


def options_of(sock: socket.socket) -> dict[str, int]:
    """Return those of the options that the system has."""
    found = {}
    for name in EXPECTED:
        if hasattr(socket, name):
            level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
            found[name] = sock.getsockopt(level, getattr(socket, name))
    return found


def test_both_ends_have_the_same_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accepted socket as well as a connected one."""
    socks: list[socket.socket] = []
    plain = module.DuplexStream.__init__

    def watched(stream: Any, sock: socket.socket, *rest: Any) -> None:
        socks.append(sock)
        plain(stream, sock, *rest)

    monkeypatch.setattr(module.DuplexStream, "__init__", watched)
    with serve(echo) as server, connect(server.url) as conn:
        conn.call("echo", 1)
        assert len(socks) == 2
        for sock in socks:
            assert options_of(sock) == {name: EXPECTED[name] for name in options_of(sock)}


def test_a_socket_without_these_options_is_left_as_it_is() -> None:
    """Such as the Unix socket of a web server behind a proxy."""
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        set_options(left)
        left.send(b"x")
        assert right.recv(1) == b"x"
