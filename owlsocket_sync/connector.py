"""Attempts to connect: each one leads to where the URL points, with the token that is valid, at that moment.

Threads: the reader connects. Callables of the user, and logins, run on threads of their own, so that they can neither
keep a connection from closing nor take longer than an attempt may.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from .advice import advise
from .client_options import ClientOptions, ShouldContinue, StrOrCallable
from .clock import monotonic
from .deadline import Deadline
from .errors import InsecureTransportWarning, ResilientError, SocketConnectionError, SocketError, SocketTimeout
from .handshake_fields import NO_ANSWER, ResponseHeaders, UpgradeAnswer
from .protocol.carrier import CarrierEvents
from .runtime.link import Link
from .runtime.run_with_deadline import DeadlineRunner
from .transport.client_handshake import ClientHandshake
from .transport.dial import default_context, dial
from .transport.framing import ClientFraming
from .transport.proxies import proxy_for
from .urls import Target, redact

if TYPE_CHECKING:
    from .transport.cookies import StickyCookies

REFRESH_HEADER = "auth-token-refresh"
UNAUTHORIZED = 401


class Connector:
    """Makes one link after the other.

    Args:
        options: those of the connection.

    Attributes:
        display_url: the URL of the latest attempt, without secrets.
        answer: the response to the latest upgrade that succeeded.
    """

    __slots__ = ("_cookies", "_login", "_options", "_runner", "_ssl_context", "answer", "display_url")

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._login = options.login
        self._runner: DeadlineRunner | None = None  # made for the first callable
        self._ssl_context = options.ssl_context
        self.display_url = options._display_url
        self.answer: UpgradeAnswer = NO_ANSWER
        self._cookies: StickyCookies | None = None  # made for the first cookie

    def __call__(self, deadline: Deadline, should_continue: ShouldContinue, number: int, events: CarrierEvents) -> Link:
        """Connect once, and return link ``number``; on the reader.

        Raises:
            SocketTimeout: no link within the deadline.
            SocketUnauthorized: the server refuses the token, and the login has no other one.
            SocketConnectionError: the server cannot be reached, or refuses.
        """
        run_timers = events.run_timers

        def still_wanted() -> bool:
            # Calls that wait for a link time out meanwhile; no other thread looks at the clock during an attempt.
            run_timers(monotonic())
            return should_continue()

        url = self._resolve(self._options.url, "url", deadline, still_wanted)
        token = self._get_token(deadline, still_wanted)
        try:
            return self._make_link(url, token, deadline, still_wanted, number, events)
        except ResilientError as error:
            if isinstance(error, SocketError):
                advise(error, self.display_url)
            if token is None or self._login is None or getattr(error, "status", None) != UNAUTHORIZED:
                raise
            if not self._login.refused(token):
                raise
        # The login's token had expired early, or was revoked: one more try with a fresh one, within the same deadline.
        token = self._get_token(deadline, still_wanted)
        return self._make_link(url, token, deadline, still_wanted, number, events)

    def _get_token(self, deadline: Deadline, should_continue: ShouldContinue) -> str | None:
        if self._login is not None:
            return _checked("token of auth", self._login.token(deadline.remaining(), should_continue))
        token = self._options.token
        return None if token is None else self._resolve(token, "token", deadline, should_continue)

    def _resolve(self, text: StrOrCallable, label: str, deadline: Deadline, should_continue: ShouldContinue) -> str:
        """Return the text, or what its callable returns."""
        if not callable(text):
            return text
        self._runner = self._runner or DeadlineRunner()
        return _checked(label, self._runner.run(text, deadline, label=label, should_continue=should_continue))

    def _make_link(
        self,
        url: str,
        token: str | None,
        deadline: Deadline,
        should_continue: ShouldContinue,
        number: int,
        events: CarrierEvents,
    ) -> Link:
        """Open a stream, and turn it into a WebSocket link by the upgrade."""
        options = self._options
        target, headers = options.target(url, token), options._request_headers(token)
        self.display_url = redact(target.url)
        if self._cookies is not None:
            headers = self._cookies.add_to(headers, target)
        if not options._is_static:
            warn_cleartext(target, token, stacklevel=2)
        if target.secure and self._ssl_context is None:
            self._ssl_context = default_context()
        stream = dial(target, deadline, self._ssl_context, proxy_for(target, options.proxy), should_continue)
        framing = ClientFraming(stream, options.limits.message_size)
        handshake = ClientHandshake(framing, options.deflate, options.subprotocols)
        try:
            handshake.upgrade(target, headers, deadline.at, should_continue)
            self._keep(handshake, target)
        except TimeoutError as error:
            stream.close()
            raise SocketTimeout(
                f"WebSocket handshake with {self.display_url} timed out after {deadline.seconds:g} s"
            ) from error
        except OSError as error:
            stream.close()
            if isinstance(error, SocketConnectionError):
                raise
            # A TLS server resets a connection that begins with an HTTP request.
            hint = "" if target.secure else " (use wss:// if the server expects TLS)"
            raise SocketConnectionError(
                f"connection closed during the WebSocket handshake with {self.display_url}: {error}{hint}"
            ) from error
        except BaseException:
            stream.close()
            raise
        framing.recv_buffer.give_back()  # the response
        newer = handshake.response_header(REFRESH_HEADER)
        # A server that did not get the token does not replace it either.
        if newer and self._login is not None and options.token_in:
            self._login.refresh(newer)
        return Link(framing, number, events, options.heartbeat)

    def _keep(self, handshake: ClientHandshake, target: Target) -> None:
        """Keep the response to the upgrade, and its cookies for the next attempt."""
        self.answer = handshake.answer
        if handshake.response_header("set-cookie"):
            if self._cookies is None:
                from .transport.cookies import StickyCookies  # loads http.cookiejar, which most servers do not need

                self._cookies = StickyCookies()
            self._cookies.keep(target, ResponseHeaders(self.answer.head))


def warn_cleartext(target: Target, token: str | None, stacklevel: int) -> None:
    """Warn where a token would travel unencrypted to another machine."""
    if token is not None and not target.secure and not target.loopback:
        warnings.warn(
            f"the token travels in the clear to {target.host}; use wss://",
            InsecureTransportWarning,
            stacklevel=stacklevel + 1,
        )


def _checked(label: str, text: object) -> str:
    """Return what a callable of the user's returned, if it is a text."""
    if not isinstance(text, str):
        # Final: each attempt would end like this one.
        raise ValueError(f"the {label} must be text, not {type(text).__name__}")
    return text
