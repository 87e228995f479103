"""TLS on a socket: the handshake, reading and writing, and failures as connection errors with a cause and a hint.

Threads: ``_tls_lock`` serializes the calls into one TLS object; a leaf. No thread waits while it holds the lock.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from ..advice import NOT_TLS
from ..clock import monotonic
from ..errors import SocketConnectionError
from ..reentrant import make_lock
from .waiting import POLL_INTERVAL, wait_ready

TLS_RECORD_SIZE = 16_384

# Codes of X509_verify_cert (x509_vfy.h), which Python passes on as numbers.
_NOT_YET_VALID, _EXPIRED = 9, 10
_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH = 62, 64

_CLOCK_HINT = "renew the certificate, or correct the clock of this machine"
_NAME_HINT = "connect with a host name that the certificate is issued for"
_TRUST_HINT = "pass an ssl_context= that trusts its issuer"

_HINTS = {
    _NOT_YET_VALID: _CLOCK_HINT,
    _EXPIRED: _CLOCK_HINT,
    _HOSTNAME_MISMATCH: _NAME_HINT,
    _IP_ADDRESS_MISMATCH: _NAME_HINT,
}

_VERSION = "the server supports no TLS version that this client allows; TLS 1.2 or newer is required"
_CIPHER = "no common cipher suite, or the server requires a client certificate; see ssl_context="
_CLIENT_CERTIFICATE = "the server rejected the client certificate; pass an ssl_context= with one that it trusts"
_NO_CLIENT_CERTIFICATE = "the server requires a client certificate; pass an ssl_context= with one"

# OpenSSL's names of alerts (RFC 8446, section 6.2) and failures that the next attempt would meet again.
_PERMANENT = {
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "NO_PROTOCOLS_AVAILABLE": _VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "NO_SHARED_CIPHER": _CIPHER,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _CIPHER,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _CIPHER,
    "SSLV3_ALERT_BAD_CERTIFICATE": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _CLIENT_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _CLIENT_CERTIFICATE,
    "TLSV1_ALERT_ACCESS_DENIED": _CLIENT_CERTIFICATE,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _NO_CLIENT_CERTIFICATE,
    "TLSV1_UNRECOGNIZED_NAME": "the server does not know this host name",
}
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
"""OpenSSL's names for a first record that is not TLS."""
_CLOSED = "the server closed the connection; it may not speak TLS on this port, or require another client certificate"

# How some builds of OpenSSL report a server of TLS 1.1; Python has no name for this reason.
_LEGACY_SIGALG = "legacy sigalg disallowed"


def do_handshake(sock: ssl.SSLSocket, wait: Callable[[list[socket.socket], list[socket.socket]], None]) -> None:
    """Complete the TLS handshake on a non-blocking socket.

    Args:
        sock: the wrapped socket.
        wait: waits until one of the first list is readable, or one of the second writable; may raise.
    """
    while True:
        try:
            return sock.do_handshake()
        except ssl.SSLWantReadError:
            wait([sock], [])
        except ssl.SSLWantWriteError:
            wait([], [sock])


def linger_after_alert(sock: ssl.SSLSocket, seconds: float) -> None:
    """End the stream of a handshake that failed, and discard what the client sends, for so long or until it closes.

    A socket that is closed with unread bytes, such as the rest of the client's handshake, is reset: many clients then
    report the reset, and not the alert that says why.
    """
    until = monotonic() + seconds
    with contextlib.suppress(OSError):
        # The methods of the plain socket: TLS reads and writes nothing any more.
        socket.socket.shutdown(sock, socket.SHUT_WR)
        while True:
            wait_ready([sock], [], until)
            if not socket.socket.recv(sock, TLS_RECORD_SIZE):
                return


class TlsChannel:
    """Reads and writes one TLS object, as a non-blocking socket does.

    Args:
        sock: non-blocking, after its handshake.

    Attributes:
        wants_write: TLS had to write before it could read; its reader sets it back.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        # OpenSSL forbids concurrent calls into one TLS object, and CPython does not serialize them.
        # Reentrant: a signal handler may read or write on the thread that it interrupted under this lock.
        self._tls_lock = make_lock()
        # The methods of SSLSocket are Python functions, which an interrupt can leave between the read and its result.
        # The inner object of a TLS socket reads and writes in one builtin call: see `DuplexStream.recv_available`.
        inner: Any = sock._sslobj  # type: ignore[attr-defined]
        self._recv: Callable[[int], bytes] = inner.read
        self._send: Callable[[bytes | memoryview], int] = inner.write
        self.wants_write = False

    @property
    def lock(self) -> threading.RLock:
        """The lock of the TLS object."""
        return self._tls_lock

    def recv_into(self, chunks: list[bytes], size: int, patience: float) -> None:
        """Receive up to ``size`` bytes, and append them to ``chunks`` in the same step; ``b""`` at the end.

        Args:
            chunks: a list.
            size: the greatest number of bytes.
            patience: how many seconds to wait for a peer that accepts no bytes, where TLS has to write before it reads.

        Raises:
            BlockingIOError: there is nothing to receive now.
            OSError: the connection broke.
        """
        try:
            with self._tls_lock:
                chunks.extend(map(self._recv, (size,)))
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLWantWriteError:
            # TLS has to write before it can read (a key update): let the socket drain, and try again.
            self.wants_write = True
            with contextlib.suppress(TimeoutError):
                wait_ready([], [self._sock], monotonic() + patience)
            raise BlockingIOError from None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError, BrokenPipeError):
            # OpenSSL 3.6 answers an end without close_notify by an alert, which a socket that was shut down refuses.
            chunks.append(b"")
        except ssl.SSLError as error:
            raise self._connection_error(error) from error

    def send_from(self, record: bytes | memoryview, sent: list[int], until: float) -> None:
        """Send one record, and append the number of its bytes to ``sent`` in the same step.

        Args:
            record: up to `TLS_RECORD_SIZE` bytes; after a call that raised, the same bytes as before.
            sent: a list, which receives the number of bytes.
            until: when to stop waiting for bytes of the peer that TLS has to read before it can write.

        Raises:
            BlockingIOError: the peer accepts no bytes now.
            TimeoutError: TLS could not write in time.
            OSError: the connection broke.
        """
        while True:
            try:
                attempt = map(self._send, (record,))
                with self._tls_lock:
                    # No call, and so no interrupt, between this look and the attempt.
                    if not sent:
                        sent.extend(attempt)
                return
            except ssl.SSLWantWriteError:
                raise BlockingIOError from None
            except ssl.SSLWantReadError:
                self._wait_readable_briefly(until)

    def _wait_readable_briefly(self, until: float) -> None:
        """Wait for the bytes that TLS has to read before it can write."""
        # The reader may receive those bytes first, so that this socket never becomes readable here: try again soon.
        soon = monotonic() + POLL_INTERVAL
        try:
            wait_ready([self._sock], [], min(until, soon))
        except TimeoutError:
            if until <= soon:
                raise

    def has_decrypted(self) -> bool:
        """Return whether there are decrypted bytes, which polling the socket does not show."""
        with self._tls_lock:
            return self._sock.pending() > 0

    def raise_alert(self) -> None:
        """Raise the alert that the peer sent before it closed the stream, if there is one."""
        # TLS 1.3 verifies a client certificate after our side completed the handshake, so that its rejection arrives
        # while we write (RFC 8446, section 4.4.2.4).
        try:
            with self._tls_lock:
                self._sock.recv(TLS_RECORD_SIZE)
        except (ssl.SSLWantReadError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return
        except ssl.SSLError as error:
            raise self._connection_error(error) from error
        except OSError:
            return  # closed without an alert: the error of the write stands

    def _connection_error(self, error: ssl.SSLError) -> OSError:
        host = self._sock.server_hostname
        return OSError(*error.args) if host is None else tls_error(error, host)


def tls_error(error: OSError, host: str) -> SocketConnectionError:
    """Return the connection error for a failure of TLS; not ``retryable`` if every attempt would fail like this one."""
    permanent = _PERMANENT.get(getattr(error, "reason", None) or "")
    if permanent is None and _LEGACY_SIGALG in str(error):
        permanent = _VERSION
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = _HINTS.get(error.verify_code, _TRUST_HINT)
        failure = SocketConnectionError(
            f"TLS certificate verification failed for {host}: {error.verify_message} ({hint})"
        )
    elif permanent is not None:
        failure = SocketConnectionError(f"TLS connection to {host} failed: {permanent} ({error})")
    else:
        reason: object = error
        if getattr(error, "reason", None) in _NOT_TLS:
            reason = f"the server does not speak TLS on this port ({error})"
        elif isinstance(error, (ssl.SSLEOFError, ConnectionResetError)):
            reason = f"{_CLOSED} ({error})"
        failure = SocketConnectionError(f"TLS connection to {host} failed: {reason}")
        failure.advice = NOT_TLS if getattr(error, "reason", None) in _NOT_TLS else ""
        return failure
    failure.retryable = False
    return failure
