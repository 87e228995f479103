"""How websocket-client finds a server, row by row, and how we do: every address, under one deadline."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import websocket

from owlsocket_sync import SocketTimeout, connect
from support.figures import Figure
from support.helpers import scaled
from support.sockets import RawPeer, full_port
from support.upstream import connect_upstream, granting


def _stay(peer: RawPeer) -> None:
    peer.at_end()


def _addresses(*ports: int) -> list[tuple[object, ...]]:
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)) for port in ports]


@pytest.mark.slow
@pytest.mark.timing
def test_row_d16_an_address_that_swallows_everything(monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    """Upstream gives up at the first address that does not answer; ours goes on to the next in half of its time."""
    with granting(_stay) as server, full_port() as dead:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: _addresses(dead, server.port))
        with pytest.raises((TimeoutError, websocket.WebSocketTimeoutException)):
            connect_upstream("ws://two.example/", timeout=0.2)
        began = time.monotonic()
        connection = connect("ws://two.example/", timeout=1.0)
        figure("past a dead address, of 1 s", time.monotonic() - began, 0.5 + scaled(0.2), "s")
        connection.close(timeout=0.1)
        monkeypatch.undo()  # the server is stopped by its real address


def test_row_d16_a_port_that_is_closed_is_passed_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is the one failure after which upstream tries the next address as well."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with granting(_stay) as server:
            found = _addresses(unused.getsockname()[1], server.port)
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            connect_upstream("ws://two.example/").shutdown()
            connect("ws://two.example/", timeout=scaled(5)).close(timeout=0.1)
            monkeypatch.undo()


@pytest.mark.slow
def test_row_d16_a_name_that_is_never_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream waits for DNS as long as that takes, whatever its timeout; whoever calls us is told in time."""
    answered = threading.Event()

    def find(*_: object, **__: object) -> list[tuple[object, ...]]:
        answered.wait(1.0)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", find)
    began = time.monotonic()
    with pytest.raises(websocket.WebSocketAddressException):
        connect_upstream("ws://slow.example/", timeout=0.1)
    assert time.monotonic() - began >= 1.0
    began = time.monotonic()
    with pytest.raises(SocketTimeout, match=r"0\.1 s"):
        connect("ws://slow.example/", timeout=0.1)
    assert time.monotonic() - began < 0.1 + scaled(0.5)
    answered.set()
