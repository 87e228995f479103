"""Options of a client connection: one frozen value, validated once, that `connect` and the frameworks build."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from .deadline import check_timeout
from .handshake_fields import USER_AGENT, Query, check_headers, check_query, check_subprotocols
from .options import (
    Backoff,
    Deflate,
    Heartbeat,
    Limits,
    check_callable,
    check_compression,
    check_queue,
    check_type,
    check_workers,
)
from .protocol.messages import CALL_TIMEOUT
from .transport.proxies import parse_proxy
from .urls import Target, parse, redact, strip_token_scheme, with_token_scheme
from .values import FieldwiseEq, Secret

if TYPE_CHECKING:
    from .connection import Connection
    from .stores.queue import Queue

StrOrCallable = str | Callable[[], str]
ShouldContinue = Callable[[], bool]
BOTH_PLACES = frozenset(("query", "header"))


@runtime_checkable
class TokenSource(Protocol):
    """Supplies a token for each new link; `owlsocket_sync.auth.Login` is one."""

    def token(self, timeout: float, should_continue: ShouldContinue) -> str:
        """Return a token within ``timeout`` seconds; give up as soon as ``should_continue()`` is false."""
        ...

    def refused(self, token: str) -> bool:
        """Note that a server refused this token; return whether another token may help."""
        ...

    def refresh(self, token: str) -> None:
        """Note that a server sent a newer token."""
        ...


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ClientOptions(FieldwiseEq):
    """Options of `owlsocket_sync.connect`, which describes each of them.

    Raises:
        ValueError: an option cannot be used; the message names the option and shows no secret.
    """

    url: StrOrCallable
    token: StrOrCallable | None = None
    query: Query | None = None
    headers: Mapping[str, str] | None = None
    auth: Callable[[Connection], object] | TokenSource | None = None
    timeout: float = 10.0
    call_timeout: float = CALL_TIMEOUT
    heartbeat: Heartbeat | None = Heartbeat()
    reconnect: Backoff | None = Backoff()
    limits: Limits = Limits()
    workers: int = 4
    ssl_context: ssl.SSLContext | None = None
    proxy: str | None = None
    token_in: Collection[str] = ("query", "header")
    sender: str | None = None
    name: str | None = None
    replace: bool = False
    wait: bool = True
    setup: Callable[[Connection], object] | None = None
    compression: Deflate | str | None = None
    inbox: Queue | None = None
    outbox: Queue | None = None
    subprotocols: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_type("heartbeat", self.heartbeat, Heartbeat, optional=True)
        check_type("reconnect", self.reconnect, Backoff, optional=True)
        check_type("limits", self.limits, Limits)
        for option in ("sender", "name", "proxy"):
            check_type(option, getattr(self, option), str, optional=True)
        for option in ("replace", "wait"):
            check_type(option, getattr(self, option), bool)
        check_type("ssl_context", self.ssl_context, ssl.SSLContext, optional=True)
        if not (self.token is None or isinstance(self.token, str) or callable(self.token)):
            raise ValueError(f"token must be text or a callable, not {type(self.token).__name__}")
        check_callable("setup", self.setup, "conn")
        for option in ("inbox", "outbox"):
            check_queue(option, getattr(self, option))
        for option in ("url", "token"):
            if callable(getattr(self, option)):
                check_callable(option, getattr(self, option), "")
        check_workers(self.workers)
        _check_auth(self.auth, self.token)
        if isinstance(self.token, str):
            object.__setattr__(self, "token", Secret(self.token))
        # A frozen dataclass is set through `object`; only here, before anybody else sees the value.
        object.__setattr__(self, "timeout", check_timeout(self.timeout, default=ClientOptions.timeout))
        object.__setattr__(self, "call_timeout", check_timeout(self.call_timeout, "call_timeout", CALL_TIMEOUT))
        if self.replace and not self.name:
            raise ValueError("replace needs a name: that of the connection that is to be replaced")
        if not isinstance(self.token_in, Collection) or not all(
            place in ("query", "header") for place in self.token_in
        ):
            raise ValueError(f"token_in must hold 'query', 'header' or both, not {self.token_in!r}")
        # One set for all connections that do not choose.
        places = frozenset(self.token_in)
        object.__setattr__(self, "token_in", BOTH_PLACES if places == BOTH_PLACES else places)
        if self.proxy is not None and self.proxy != "env":
            parse_proxy(self.proxy)
        object.__setattr__(self, "compression", check_compression(self.compression))
        object.__setattr__(self, "subprotocols", check_subprotocols(self.subprotocols))
        object.__setattr__(self, "query", check_query(self.query))
        object.__setattr__(self, "headers", check_headers({} if self.headers is None else self.headers))
        if not callable(self.url):
            self.target(self.url, self.token if self._is_static and isinstance(self.token, str) else None)

    def __repr__(self) -> str:
        # Tokens, headers, queries and a proxy's password are secrets: a repr ends up in logs.
        return f"ClientOptions(url={self._display_url!r}, name={self.name!r})"

    @property
    def _is_static(self) -> bool:
        """Return whether URL and token are the same for each attempt: neither is a callable or a login's."""
        return not callable(self.url) and not callable(self.token) and self.login is None

    @property
    def deflate(self) -> Deflate | None:
        """Return the compression that is offered to servers."""
        # Checked above, which replaces a name.
        return self.compression if isinstance(self.compression, Deflate) else None

    @property
    def _display_url(self) -> str:
        """Return the URL without secrets; ``"?"`` while only a callable knows it."""
        return "?" if callable(self.url) else redact(self.target(self.url, None).url)

    @cached_property
    def login(self) -> TokenSource | None:
        """Return what supplies a token for each link, where ``auth`` is a login."""
        return self.auth if self.auth is not None and isinstance(self.auth, TokenSource) else None

    @property
    def authenticate(self) -> Callable[[Connection], object] | None:
        """Return what speaks first on each new link, where ``auth`` is a callable."""
        return self.auth if self.login is None else None  # type: ignore[return-value]

    def target(self, url: str, token: str | None) -> Target:
        """Return where an attempt leads: the URL with the query, and the bare token where it travels there.

        Raises:
            ValueError: the URL cannot be used.
        """
        # Each connect() asks several times for the same: when it checks, shows, warns and connects.
        asked, known = (url, token), self.__dict__.get("_latest_target")
        if known is not None and known[0] == asked:
            return cast(Target, known[1])
        in_query = token is not None and "query" in self.token_in
        target = parse(url, self.query, strip_token_scheme(token) if token is not None and in_query else None)
        self.__dict__["_latest_target"] = asked, target
        return target

    def _request_headers(self, token: str | None) -> dict[str, str]:
        """Return the headers of an upgrade request; a header of the user's wins over one of ours."""
        headers = dict(self.headers or {})
        names = {name.lower() for name in headers}
        if "user-agent" not in names:
            headers["User-Agent"] = USER_AGENT
        if token is None or "authorization" in names or "header" not in self.token_in:
            return headers
        return {**check_headers({"Authorization": with_token_scheme(token)}, "token"), **headers}


def _check_auth(auth: object, token: object) -> None:
    if auth is None:
        return
    if isinstance(auth, type) or (not callable(auth) and not isinstance(auth, TokenSource)):
        what = f"the class {auth.__name__}" if isinstance(auth, type) else type(auth).__name__
        raise ValueError(f"auth must be callable or a login, not {what}")
    if not isinstance(auth, TokenSource):
        check_callable("auth", auth, "conn")
    if isinstance(auth, TokenSource) and token is not None:
        raise ValueError("token must be left out where auth is a login: the login gives the tokens")
