"""Ends of a TLS connection that do what `ssl.SSLSocket` cannot: hold records back, and change keys under way."""

from __future__ import annotations

import _ssl
import ctypes
import ctypes.util
import socket
import ssl
import struct
from functools import cache
from pathlib import Path
from typing import Any, cast

from support.helpers import scaled
from support.sockets import PATIENCE, RawPeer

READ_SIZE = 65_536


class RecordSocket:
    """A server's end whose records can be had as bytes before they are sent; its handshake is done once it is there.

    Attributes:
        raw: the socket underneath.
    """

    def __init__(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        self.raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._exchange()
        raw.sendall(self._outgoing.read())

    def _exchange(self) -> None:
        self.raw.sendall(self._outgoing.read())
        data = self.raw.recv(READ_SIZE)
        self._incoming.write(data) if data else self._incoming.write_eof()

    def seal(self, data: bytes) -> bytes:
        """The records that say this; to be sent through `raw`, in whatever pieces."""
        self._tls.write(data)
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """The record that says that nothing more comes (close_notify)."""
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # the other end's goodbye is not waited for
        return self._outgoing.read()

    def sendall(self, data: bytes) -> None:
        """Send it, encrypted."""
        self.raw.sendall(self.seal(data))

    def recv(self, size: int) -> bytes:
        """What comes, decrypted."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._exchange()

    def settimeout(self, seconds: float) -> None:
        """Of the socket underneath."""
        self.raw.settimeout(seconds)


def record_peer(peer: RawPeer, context: ssl.SSLContext) -> tuple[RawPeer, RecordSocket]:
    """Do the TLS handshake with a client that came in the clear."""
    records = RecordSocket(peer.sock, context)
    return RawPeer(cast(socket.socket, records)), records


# -- straight on OpenSSL -----------------------------------------------------------------------------------------------

_SSL_FILETYPE_PEM = 1
_SSL_KEY_UPDATE_REQUESTED = 1
_SSL_ERROR_ZERO_RETURN = 6
_SSL_CTRL_SET_MAX_PROTO_VERSION = 124
_TLS1_2 = 0x0303


@cache
def openssl() -> Any:
    """The library that `ssl` itself uses: its symbols are found through the extension module that links to it."""
    library = ctypes.CDLL(_ssl.__file__)
    if not hasattr(library, "SSL_key_update"):
        library = ctypes.CDLL(ctypes.util.find_library("ssl"))
    for function in ("TLS_method", "SSL_CTX_new", "SSL_new"):
        getattr(library, function).restype = ctypes.c_void_p
    return library


class NativeTLS:
    """One end of a TLS connection, straight on OpenSSL, which can do what `ssl` has no words for; it blocks.

    Args:
        sock: connected.
        certificate: makes it the server's end.
        newest: whether TLS 1.3 may be spoken.
    """

    def __init__(self, sock: socket.socket, certificate: Path | None = None, *, newest: bool = True) -> None:
        self._library = library = openssl()
        sock.setblocking(True)
        patience = struct.pack("ll", int(scaled(PATIENCE)), 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self.sock = sock
        self._context = ctypes.c_void_p(library.SSL_CTX_new(ctypes.c_void_p(library.TLS_method())))
        if not newest:
            library.SSL_CTX_ctrl(self._context, _SSL_CTRL_SET_MAX_PROTO_VERSION, ctypes.c_long(_TLS1_2), None)
        if certificate is not None:
            path = str(certificate).encode()
            self._done(library.SSL_CTX_use_certificate_file(self._context, path, _SSL_FILETYPE_PEM))
            self._done(library.SSL_CTX_use_PrivateKey_file(self._context, path, _SSL_FILETYPE_PEM))
        self._ssl = ctypes.c_void_p(library.SSL_new(self._context))
        self._done(library.SSL_set_fd(self._ssl, sock.fileno()))
        self._done((library.SSL_connect if certificate is None else library.SSL_accept)(self._ssl))

    def _done(self, result: int) -> int:
        if result > 0:
            return result
        code = self._library.SSL_get_error(self._ssl, result) if hasattr(self, "_ssl") else 0
        self._library.ERR_clear_error()
        if code == _SSL_ERROR_ZERO_RETURN:
            return 0
        raise OSError(f"TLS failed: {code}")

    def recv(self, size: int) -> bytes:
        """What comes, decrypted."""
        buffer = ctypes.create_string_buffer(size)
        count = self._done(self._library.SSL_read(self._ssl, buffer, size))
        return buffer.raw[:count]

    def sendall(self, data: bytes) -> None:
        """Send it, encrypted."""
        if data:
            self._done(self._library.SSL_write(self._ssl, bytes(data), len(data)))

    def update_keys(self) -> None:
        """Take a new key to write with, and ask the other end to do so too (RFC 8446, section 4.6.3)."""
        self._done(self._library.SSL_key_update(self._ssl, _SSL_KEY_UPDATE_REQUESTED))
        self._done(self._library.SSL_do_handshake(self._ssl))

    def renegotiate(self) -> None:
        """Ask for another handshake (TLS 1.2)."""
        self._done(self._library.SSL_renegotiate(self._ssl))
        self._done(self._library.SSL_do_handshake(self._ssl))

    def settimeout(self, seconds: float) -> None:
        """Nothing: the system keeps the time of a blocking socket."""

    def close(self) -> None:
        """Free what OpenSSL holds; the socket stays."""
        self._library.SSL_free(self._ssl)
        self._library.SSL_CTX_free(self._context)
