"""Hints: the advice about a connection that cannot be opened, with the names of the options of a command.

`owlsocket doctor` shows the hint of the step that failed; every other command shows it after the error.
"""

from __future__ import annotations

from ..advice import OptionWords, advice_for
from ..contrib.exit_codes import NotConnected, error_text

_TOKEN = "pass a valid token with --token-env or --token-file; owlsocket login prints one"
_WORDS = OptionWords(
    token=_TOKEN,
    proxy="the proxy requires a user and a password: --proxy http://user:password@host:port",
    patience="--timeout waits longer",
    trust="--ca PATH trusts your own certificate authority; --insecure skips verification, for debugging only",
    certificate="if the server requires a client certificate, pass one with --cert and --key",
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
    return advice_for(error, url, _WORDS) or _BY_STEP.get(step, "")


def bare_text(error: BaseException) -> str:
    """Return the text of an error without the advice of `connect`, whose place a hint takes."""
    reason = error.reason if isinstance(error, NotConnected) else error
    advice = getattr(reason, "advice", "")
    return error_text(error).replace(f" ({advice})", "", 1) if advice else error_text(error)


def with_hint(error: BaseException) -> str:
    """Return the text of an error, followed by its hint where the connection could not be opened."""
    hint = hint_for(error.reason, error.url) if isinstance(error, NotConnected) else ""
    return f"{bare_text(error)} ({hint})" if hint else error_text(error)
