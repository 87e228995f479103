"""Makes links: to wherever the URL leads, and with whatever token there is, at that moment.

Threads: the reader dials. Callables of the user, and logins, run on threads of their own, so that they can neither keep
a connection from closing nor take longer than an attempt may.
"""

from __future__ import annotations

import ssl
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Protocol, runtime_checkable

from .connection import Connection
from .deadline import Deadline
from .errors import InsecureTransportWarning, ResilientError, SocketConnectionError, SocketTimeout
from .options import Heartbeat, Limits
from .runtime.aside import run_aside
from .runtime.link import Link
from .transport.client_wire import ClientWire
from .transport.dial import default_context, dial, parse_proxy, proxy_for
from .urls import Target, bare_token, check_headers, parse, redact, whole_token

REFRESH_HEADER = "auth-token-refresh"
UNAUTHORIZED = 401

Text = str | Callable[[], str]
Wanted = Callable[[], bool]


@runtime_checkable
class TokenSource(Protocol):
    """Gives each new link its token; `owlsocket_sync.auth.Login` is one."""

    def token(self, timeout: float, wanted: Wanted) -> str:
        """A token, within so many seconds; ``wanted`` is asked now and then, false gives up."""
        ...

    def refused(self, token: str) -> bool:
        """A server refused this token; whether another one may help."""
        ...

    def refresh(self, token: str) -> None:
        """A server sent a newer token."""
        ...


class Dialler:
    """Makes one link after the other; the arguments are those of `owlsocket_sync.connect`."""

    connection: Connection

    def __init__(
        self,
        url: Text,
        token: Text | None,
        login: TokenSource | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        ssl_context: ssl.SSLContext | None,
        proxy: str | None,
        token_in: Collection[str],
        heartbeat: Heartbeat | None,
        limits: Limits,
    ) -> None:
        if isinstance(token_in, str) or not set(token_in) <= {"query", "header"}:
            raise ValueError(f"token_in must hold 'query', 'header' or both, not {token_in!r}")
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise ValueError(f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}")
        if proxy is not None and proxy != "env":
            parse_proxy(proxy)
        self._url = url
        self._token = token
        self._login = login
        self._query = {str(key): str(value) for key, value in (query or {}).items()}
        self._headers = check_headers(headers or {})
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._token_in = frozenset(token_in)
        self._heartbeat = heartbeat
        self._limits = limits
        self.shown = "?" if callable(url) else redact(self._target(url, None).url)
        self._known = not callable(url) and not callable(token) and login is None
        if not callable(url) and not callable(token):
            _warn_of_clear_text(self._target(url, token), token, stacklevel=4)

    def __call__(self, deadline: Deadline, wanted: Wanted, number: int) -> Link:
        """One attempt."""
        self.connection._remember()
        expire = self.connection.expire

        def still_wanted() -> bool:
            expire(time.monotonic())
            return wanted()

        url = _read(self._url, "url", deadline, still_wanted)
        token = self._get_token(deadline, still_wanted)
        try:
            return self._link(url, token, deadline, still_wanted, number)
        except ResilientError as error:
            if token is None or self._login is None or getattr(error, "status", None) != UNAUTHORIZED:
                raise
            if not self._login.refused(token):
                raise
        return self._link(url, self._get_token(deadline, still_wanted), deadline, still_wanted, number)

    def _get_token(self, deadline: Deadline, wanted: Wanted) -> str | None:
        if self._login is not None:
            return self._login.token(deadline.remaining(), wanted)
        return None if self._token is None else _read(self._token, "token", deadline, wanted)

    def _link(self, url: str, token: str | None, deadline: Deadline, wanted: Wanted, number: int) -> Link:
        """Dial, and ask for the upgrade."""
        target, headers = self._target(url, token), self._all_headers(token)
        self.shown = redact(target.url)
        if not self._known:
            _warn_of_clear_text(target, token, stacklevel=2)
        if target.secure and self._ssl_context is None:
            self._ssl_context = default_context()
        stream = dial(target, deadline, self._ssl_context, proxy_for(target, self._proxy), wanted)
        wire = ClientWire(stream, self._limits.message_size)
        try:
            wire.upgrade(target, headers, deadline.at, wanted)
        except TimeoutError as error:
            stream.close()
            raise SocketTimeout(f"{self.shown} did not answer the upgrade within {deadline.seconds:g} s") from error
        except OSError as error:
            stream.close()
            if isinstance(error, SocketConnectionError):
                raise
            raise SocketConnectionError(f"{self.shown} broke off during the upgrade: {error}") from error
        except BaseException:
            stream.close()
            raise
        newer = wire.response_header(REFRESH_HEADER)
        if newer and self._login is not None:
            self._login.refresh(newer)
        return self._watched(wire, number)

    def _watched(self, wire: ClientWire, number: int) -> Link:
        receive = self.connection.receive
        return Link(
            wire,
            deliver=lambda text: receive(text, number),
            answer=self.connection._take_answer,
            has_room=self.connection._has_room,
            tick=self.connection.expire,
            heartbeat=self._heartbeat,
        )

    def _target(self, url: str, token: str | None) -> Target:
        if token is None or "query" not in self._token_in:
            return parse(url, self._query)
        return parse(url, self._query, bare_token(token))

    def _all_headers(self, token: str | None) -> dict[str, str]:
        if token is None or "header" not in self._token_in:
            return self._headers
        return {**check_headers({"Authorization": whole_token(token)}, "token"), **self._headers}


def _warn_of_clear_text(target: Target, token: str | None, stacklevel: int) -> None:
    if token is not None and not target.secure and not target.loopback:
        warnings.warn(
            f"the token travels in the clear to {target.host}; use wss://",
            InsecureTransportWarning,
            stacklevel=stacklevel,
        )


def _read(text: Text, name: str, deadline: Deadline, wanted: Wanted) -> str:
    """The text, which a callable may give."""
    return run_aside(text, deadline, what=name, wanted=wanted) if callable(text) else text
