"""Hints: what to do about a connection that cannot be opened, one sentence for each cause.

`owlsocket doctor` shows the hint of the step that failed; every other command shows it after the error.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from .. import SocketConnectionError
from ..contrib.exit_codes import NotConnected

_TLS_ALERT = "\x15\x03"
"""A TLS record of type alert (RFC 8446, section 5.1), as a TLS server answers a request in clear text."""

_UNRESOLVED = re.compile(r"cannot resolve (?:the proxy )?host '([^']*)'")
"""The error of a name without an address: that of a proxy, where there is one, and not that of the URL."""

_HUNG_UP = ("was lost", "closed during")
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
"""The names that OpenSSL has for a first record that is not TLS."""

_TOKEN = "pass a valid token with --token-env or --token-file; owlsocket login prints one"
_BY_STATUS = {
    401: _TOKEN,
    403: "the server knows who you are and denies access: try another token, or another path of the URL",
    404: "nothing is served at this path: check the part of the URL after the host",
    407: "the proxy requires a user and a password: --proxy http://user:password@host:port",
    429: "the server limits the rate of connections: try again later",
    502: "the reverse proxy cannot reach the server: is the server running?",
    503: "the server is not ready: try again later",
    504: "the reverse proxy gets no answer from the server in time: is the server running?",
}
_BY_CLASS: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, "nothing listens there: is the server running, and is the port right?"),
    (TimeoutError, "no answer: a firewall may drop the packets, or the server hangs; --timeout waits longer"),
    (ConnectionResetError, "the server, or a proxy in between, closed the connection: check its log"),
)
_BY_STEP = {
    "dns": "check the spelling of the host, and the network of this machine",
    "tcp": "check the port, the firewalls in between, and whether the server is running",
    "proxy": "check the address of the proxy, and whether it may connect to that host and port",
    "tls": "check whether the server speaks TLS 1.2 or newer on this port; use ws:// for a server without TLS",
    "upgrade": "check the path of the URL, the reverse proxy in front of the server, and the log of the server",
    "auth": _TOKEN,
    "round trip": "the server accepted the connection and closed it, or hangs: check its log",
}


def hint_for(error: BaseException, url: str, step: str = "") -> str:
    """Return what to do about an error while connecting.

    Args:
        error: what was raised.
        url: the URL that was connected to.
        step: the step of ``owlsocket doctor`` that failed, for a hint where the error itself gives none.

    Returns:
        One sentence; empty where neither the error nor the step has a hint.
    """
    status = getattr(error, "status", None)
    secure = url.startswith("wss:")
    if status == 400 and not secure:
        return "the server may require TLS: try wss://"
    if status is not None and 300 <= status < 400:
        return "use the URL of the redirect, with wss:// for https://"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None or _is_invalid_handshake(error):
        return _hint_for_handshake(error, secure)
    # The outermost error names the phase; the cause of the operating system, further in, names what to do.
    hints = (_hint_for_cause(cause, url, str(error)) for cause in causes(error))
    return next(filter(None, hints), _BY_STEP.get(step, ""))


def with_hint(text: str, error: BaseException) -> str:
    """Return the text of an error, followed by its hint where the connection could not be opened."""
    hint = hint_for(error.reason, error.url) if isinstance(error, NotConnected) else ""
    return f"{text} ({hint})" if hint else text


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the chain of its causes."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_invalid_handshake(error: BaseException) -> bool:
    # By its text: the transport raises the same class for every failure, and a timeout is another class.
    return isinstance(error, SocketConnectionError) and "WebSocket handshake" in str(error)


def _hint_for_handshake(error: BaseException, secure: bool) -> str:
    text = str(error)
    if not secure and _TLS_ALERT in text:
        return "the server speaks TLS on this port: try wss://"
    if any(words in text for words in _HUNG_UP):
        return "the server closed the connection: check its log" + (
            "" if secure or "wss://" in text else "; if it requires TLS, try wss://"
        )
    return "the server does not speak WebSocket at this URL: check the port and the path"


def _hint_for_cause(cause: BaseException, url: str, text: str) -> str:
    # By name: `socket` belongs to the transport, and its gaierror has no other home.
    if type(cause).__name__ == "gaierror":
        unresolved = _UNRESOLVED.search(text)
        host = unresolved[1] if unresolved else urlsplit(url).hostname
        return f"check the spelling of {host}, and the network of this machine"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "--ca PATH trusts your own certificate authority; --insecure skips verification, for debugging only"
    if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
        return "try ws://, or another port"
    if isinstance(cause, ssl.SSLError):
        return "if the server requires a client certificate, pass one with --cert and --key"
    return next((hint for kind, hint in _BY_CLASS if isinstance(cause, kind)), "")
