"""The TLS handshake, and what it means when TLS fails: whose fault it is, and whether another attempt may help."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from ..errors import SocketConnectionError

_NOT_YET_VALID, _EXPIRED = 9, 10
_WRONG_NAME, _WRONG_ADDRESS = 62, 64

_CLOCK = "have it renewed, or set the clock of this machine right"
_NAME = "connect by a name that it is for"
_TRUST = "hand over an ssl_context= that trusts its issuer"

_HINTS = {_NOT_YET_VALID: _CLOCK, _EXPIRED: _CLOCK, _WRONG_NAME: _NAME, _WRONG_ADDRESS: _NAME}

_VERSION = "it speaks no version of TLS that we speak; 1.2 or newer is needed"
_CIPHER = "it shares no way to encrypt with us, or wants a client certificate; see ssl_context="
_OURS = "it does not take our client certificate; hand over an ssl_context= with one that it trusts"
_ABSENT = "it wants a client certificate; hand over an ssl_context= with one"

# The names that OpenSSL has for alerts (RFC 8446, section 6.2) and failures which the next attempt meets again.
_LASTING = {
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "NO_PROTOCOLS_AVAILABLE": _VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "NO_SHARED_CIPHER": _CIPHER,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _CIPHER,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _CIPHER,
    "SSLV3_ALERT_BAD_CERTIFICATE": _OURS,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _OURS,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _OURS,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _OURS,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _OURS,
    "TLSV1_ALERT_UNKNOWN_CA": _OURS,
    "TLSV1_ALERT_ACCESS_DENIED": _OURS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _ABSENT,
    "TLSV1_UNRECOGNIZED_NAME": "it knows no host of this name",
}
_OLD = "legacy sigalg disallowed"  # a server of TLS 1.1, as some builds of OpenSSL see it; it has no name in Python


def shake_hands(secure: ssl.SSLSocket, wait: Callable[[list[socket.socket], list[socket.socket]], None]) -> None:
    """Do the TLS handshake on a socket that does not block; ``wait`` waits until it can be read, or written."""
    while True:
        try:
            return secure.do_handshake()
        except ssl.SSLWantReadError:
            wait([secure], [])
        except ssl.SSLWantWriteError:
            wait([], [secure])


def tls_failure(error: OSError, host: str) -> SocketConnectionError:
    """The error to raise in place of this one; not ``retryable`` where no other attempt would end otherwise."""
    lasting = _LASTING.get(getattr(error, "reason", None) or "") or (_VERSION if _OLD in str(error) else None)
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = _HINTS.get(error.verify_code, _TRUST)
        failure = SocketConnectionError(f"the certificate of {host} does not hold: {error.verify_message} ({hint})")
    elif lasting is not None:
        failure = SocketConnectionError(f"TLS with {host} failed: {lasting} ({error})")
    else:
        return SocketConnectionError(f"TLS with {host} failed: {error}")
    failure.retryable = False
    return failure
