"""What to do when no connection comes about: one sentence for each cause that people meet."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

_ENCRYPTED_ANSWER = "\x15\x03"
_HUNG_UP = "was lost"
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
_BY_STATUS = {
    401: "give a token that is valid now, with --token-env or --token-file; owlsocket login prints one",
    403: "the server knows who speaks and does not want it; another token, or another path of the URL, may help",
    404: "there is nothing at this path; look at the part of the URL behind the host",
    407: "the proxy wants a user and a password: --proxy http://user:password@host:port",
    429: "the server has had enough for now; try again later",
    502: "what stands in front of the server does not reach it; is the server running?",
    503: "the server is there and not ready; try again later",
    504: "what stands in front of the server does not reach it in time; is the server running?",
}
_BY_ERROR: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, "nobody listens there: is the server running, and is the port right?"),
    (TimeoutError, "nothing answers: a firewall may be in between, or the server hangs; --timeout waits longer"),
    (ConnectionResetError, "the server, or what is in between, hung up; its log may tell why"),
)


def advise(error: BaseException, url: str) -> str:
    """What to do about it, empty where nothing is known."""
    status = getattr(error, "status", None)
    secure = url.startswith("wss:")
    if status == 400 and not secure:
        return "it may want to be spoken to encrypted: try wss://"
    if status is not None and 300 <= status < 400:
        return "use the URL that it leads to, with wss:// for https://"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None or _is_no_websocket(error):
        return _advise_on_upgrade(error, secure)
    for cause in causes(error):
        if found := _advise_on(cause, url):
            return found
    return ""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_no_websocket(error: BaseException) -> bool:
    return "no WebSocket handshake" in str(error)


def _advise_on_upgrade(error: BaseException, secure: bool) -> str:
    if not secure and _ENCRYPTED_ANSWER in str(error):
        return "the server speaks TLS there: try wss://"
    if _HUNG_UP in str(error):
        return "the server hung up, its log may tell why" + ("" if secure else "; where it speaks TLS, try wss://")
    return "the server speaks, but no WebSocket at this URL; look at its port and path"


def _advise_on(cause: BaseException, url: str) -> str:
    if type(cause).__name__ == "gaierror":
        return f"look at the spelling of {urlsplit(url).hostname}, and at the network of this machine"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "--ca PATH trusts an authority of your own; --insecure checks nothing, for a look only"
    if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
        return "the server does not speak TLS on this port: try ws://, or another port"
    if isinstance(cause, ssl.SSLError):
        return "--cert and --key show a certificate of ours, where the server wants one"
    return next((words for kind, words in _BY_ERROR if isinstance(cause, kind)), "")
