"""Two raw ends with a proxy that makes a network misbehave between them."""

from __future__ import annotations

import contextlib
import socket

import pytest

from owlsocket_sync.testing import FaultProxy
from support.helpers import scaled
from support.sockets import RawPeer

UP, DOWN = "upstream", "downstream"
TEXT = bytes(range(256)) * 40

both_ways = pytest.mark.parametrize("direction", [UP, DOWN])


class Ends:
    """A proxy, and both ends of what passes through it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(scaled(5))
        self.proxy = FaultProxy("127.0.0.1", self.listener.getsockname()[1])
        self._stack = contextlib.ExitStack()
        self.client = self.join()
        self.server = self.accept()

    def join(self) -> RawPeer:
        """A client of the proxy."""
        sock = socket.create_connection(("127.0.0.1", self.proxy.port), scaled(5))
        return RawPeer(self._stack.enter_context(sock))

    def accept(self) -> RawPeer:
        """The target's end of the next connection."""
        return RawPeer(self._stack.enter_context(self.listener.accept()[0]))

    def along(self, direction: str) -> tuple[RawPeer, RawPeer]:
        """Who sends and who receives in a direction."""
        return (self.client, self.server) if direction == UP else (self.server, self.client)

    def close(self) -> None:
        """End everything."""
        self.proxy.close()
        self._stack.close()
        self.listener.close()


def was_reset(peer: RawPeer) -> bool:
    """Wait for a reset, past what came before it."""
    with pytest.raises(ConnectionResetError):
        while peer.sock.recv(65_536):
            pass
    return True


def holds_back(peer: RawPeer) -> bool:
    """Whether nothing comes, for as long as a proxy that let it pass would need many times over."""
    before, patience = peer.sock.gettimeout(), 0.1
    peer.sock.settimeout(patience)
    try:
        peer.sock.recv(1)
    except TimeoutError:
        return True
    finally:
        peer.sock.settimeout(before)
    return False
