"""A SOCKS proxy on this machine, byte by byte (RFC 1928, RFC 1929, and the memos of SOCKS4 and SOCKS4a)."""

from __future__ import annotations

import ipaddress
import socket
import threading

from support.helpers import scaled
from support.sockets import PATIENCE, ByteServer, RawPeer, pour

SUCCEEDED = 0
ADDRESS = b"\x01\x7f\0\0\1\0\1"
"""The address of the proxy's own socket, in a reply: some address of IPv4."""


class SocksProxy(ByteServer):
    """A proxy that leads each client to one port of this machine; remembers what it was asked.

    Attributes:
        requests: the version, the host and the port of each request.
    """

    def __init__(self, target_port: int, login: tuple[str, str] | None = None, reply: int = SUCCEEDED) -> None:
        self.requests: list[tuple[int, str, int]] = []
        self._target_port = target_port
        self._login = login
        self._reply = reply
        super().__init__(self._serve)

    def url_of(self, scheme: str, login: str = "") -> str:
        """Where it is, for a client of this scheme."""
        return f"{scheme}://{login}127.0.0.1:{self.port}"

    def _serve(self, peer: RawPeer) -> None:
        version = peer.read(1)
        if not version:  # the client went away
            return
        if not (self._answers_5(peer) if version == b"\x05" else self._answers_4(peer)):
            return
        with socket.create_connection(("127.0.0.1", self._target_port), scaled(PATIENCE)) as far:
            back = threading.Thread(target=pour, args=(far, peer.sock), daemon=True)
            back.start()
            pour(peer.sock, far)
            back.join(scaled(PATIENCE))

    def _answers_5(self, peer: RawPeer) -> bool:
        methods = peer.read(peer.read(1)[0])
        method = 0 if self._login is None else 2
        if method not in methods:
            peer.send(b"\x05\xff")
            return False
        peer.send(bytes([5, method]))
        if self._login is not None:
            assert peer.read(1) == b"\x01"
            found = tuple(peer.read(peer.read(1)[0]).decode() for _ in range(2))
            peer.send(bytes([1, found != self._login]))
            if found != self._login:
                return False
        request = peer.read(4)
        if not request:
            return False
        kind = request[3]
        if kind == 3:
            host = peer.read(peer.read(1)[0]).decode()
        else:
            host = str(ipaddress.ip_address(peer.read(4 if kind == 1 else 16)))
        self.requests.append((5, host, int.from_bytes(peer.read(2), "big")))
        peer.send(bytes([5, self._reply, 0]) + ADDRESS)
        return self._reply == SUCCEEDED

    def _answers_4(self, peer: RawPeer) -> bool:
        assert peer.read(1) == b"\x01"
        port, address = int.from_bytes(peer.read(2), "big"), peer.read(4)
        user = _text_to_zero(peer)
        # 0.0.0.x stands for a name that follows (SOCKS4a).
        host = _text_to_zero(peer) if address[:3] == b"\0\0\0" else str(ipaddress.ip_address(address))
        self.requests.append((4, host, port))
        refused = 0x5D if self._login is not None and self._login[0] != user else 0x5B if self._reply else 0
        peer.send(bytes([0, refused or 0x5A]) + bytes(6))
        return not refused


def _text_to_zero(peer: RawPeer) -> str:
    text = b""
    while (byte := peer.read(1)) not in (b"\0", b""):
        text += byte
    return text.decode()
