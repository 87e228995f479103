"""Advice about a connection that cannot be opened: one sentence for each cause, for programs and commands alike.

The error of `owlsocket_sync.connect` ends with it. Commands show the same sentences, with the names of their options.
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from .errors import SocketConnectionError, SocketError


class OptionWords(NamedTuple):
    """The phrases that name options, which differ between a call and a command.

    Attributes:
        token: how to pass a token.
        proxy: how to log in to a proxy.
        patience: how to wait longer.
        trust: how to trust a certificate.
        certificate: how to pass a certificate of the client.
    """

    token: str
    proxy: str
    patience: str
    trust: str
    certificate: str


OF_CONNECT = OptionWords(
    token="pass a valid token with token= or auth=",
    proxy="the proxy requires a user and a password: proxy='http://user:password@host:port'",
    patience="timeout= waits longer",
    trust="pass an ssl_context= that trusts its issuer",
    certificate="if the server requires a client certificate, pass an ssl_context= with one",
)

_TLS_ALERT = "a TLS alert"
_UNRESOLVED = r"cannot resolve (?:the proxy )?host '([^']*)'"
"""The error of a name without an address: that of a proxy, where there is one, and not that of the URL."""

_HUNG_UP = ("was lost", "closed during")
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
"""The names that OpenSSL has for a first record that is not TLS."""
# EAI_AGAIN of Linux, of macOS and BSD, and of Windows: `socket`, which has the name, belongs to the transport.
_NO_RESOLVER = frozenset({-3, 2, 11002})
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

_BY_STATUS = {
    403: "the server knows who you are and denies access: try another token, or another path of the URL",
    404: "nothing is served at this path: check the part of the URL after the host",
    429: "the server limits the rate of connections: try again later",
    502: "the reverse proxy cannot reach the server: is the server running?",
    503: "the server is not ready: try again later",
    504: "the reverse proxy gets no answer from the server in time: is the server running?",
}
NOT_TLS = "try ws://, or another port"


def advice_for(error: BaseException, url: str, words: OptionWords = OF_CONNECT) -> str:
    """Return what to do about an error while connecting.

    Args:
        error: the error that was raised.
        url: the URL that was connected to.
        words: name the options.

    Returns:
        One sentence; empty where the error says nothing about its cause.
    """
    status = getattr(error, "status", None)
    secure = url.startswith("wss:")
    if status == 400 and not secure:
        return "the server may require TLS: try wss://"
    if status is not None and 300 <= status < 400:
        return "use the URL of the redirect, with wss:// for https://"
    if status in (401, 407):
        return words.token if status == 401 else words.proxy
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None or _is_invalid_handshake(error):
        return _for_handshake(error, secure)
    # The outermost error names the phase; the cause of the operating system, further in, names what to do.
    found = (_for_cause(cause, url, str(error), words) for cause in causes(error))
    return next(filter(None, found), "")


def advise(error: SocketError, url: str) -> None:
    """Have the message of an error of `connect` end with advice, unless it has some in parentheses already."""
    if not (error.remote or error.advice or error.plain_message.endswith(")") or _has_reason(error)):
        error.advice = advice_for(error, url)


def _has_reason(error: SocketError) -> bool:
    """Return whether a server gave its own reason for a refusal that may have several: its words say what it wants."""
    status = getattr(error, "status", None)
    if status not in (400, 401, 403) or error.plain_message.endswith(f"HTTP {status}"):
        return False
    return "https" not in error.plain_message.lower()  # such as nginx, on a port with TLS


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the chain of its causes."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_invalid_handshake(error: BaseException) -> bool:
    # By its text: the transport raises the same class for every failure, and a timeout is another class.
    return isinstance(error, SocketConnectionError) and "WebSocket handshake" in str(error)


def _for_handshake(error: BaseException, secure: bool) -> str:
    text = str(error)
    if not secure and _TLS_ALERT in text:
        return "the server speaks TLS on this port: try wss://"
    if any(words in text for words in _HUNG_UP):
        return "the server closed the connection: check its log" + (
            "" if secure or "wss://" in text else "; if it requires TLS, try wss://"
        )
    return "the server does not speak WebSocket at this URL: check the port and the path"


def _for_cause(cause: BaseException, url: str, text: str, words: OptionWords) -> str:
    # By name: `socket` belongs to the transport, and its gaierror has no other home.
    if type(cause).__name__ == "gaierror":
        begin = ""
        if getattr(cause, "errno", None) in _NO_RESOLVER:
            begin = "the name server of this machine does not answer: "
        unresolved = re.search(_UNRESOLVED, text)
        host = unresolved[1] if unresolved else urlsplit(url).hostname
        return f"{begin}check the spelling of {host}, and the network of this machine"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return words.trust
    if isinstance(cause, ssl.SSLError):
        return NOT_TLS if cause.reason in _NO_TLS else words.certificate
    if isinstance(cause, TimeoutError):
        return f"no answer: a firewall may drop the packets, or the server hangs; {words.patience}"
    if isinstance(cause, OSError) and cause.errno in _NO_DESCRIPTORS:
        return "this process has no file descriptor left: close what it does not need, or raise its limit (ulimit -n)"
    if isinstance(cause, ConnectionRefusedError):
        return "nothing listens there: is the server running, and is the port right?"
    if isinstance(cause, ConnectionResetError):
        return "the server, or a proxy in between, closed the connection: check its log"
    return ""
